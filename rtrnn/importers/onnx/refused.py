"""Operators that are refused by name, each with what would make the network load."""

from __future__ import annotations

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.onnx.registry import OPS, Call

__all__ = ["REFUSED"]

_LOOP = (
    "it runs over the sequence itself; export the network for one timestep, with its state as inputs and outputs, or with the "
    "recurrent layers as RNN, GRU or LSTM nodes"
)
_CHOICE = "what it gives depends on the order of values; export the network without it, and choose outside the network"
_QUANTISED = "it computes with integers; load the float network that this one was made from"
_RANDOM = "it gives random numbers; export the network for inference, or give them as an input"
_SEQUENCE = "a sequence of tensors; export the network with tensors alone"
_ATTENTION = "it attends over the timesteps of the sequence, of which a stream has one; only recurrent networks are stepped"

#: Operator -> why it cannot be run and what to do.
REFUSED: dict[str, str] = {
    **dict.fromkeys(("Loop", "Scan", "SequenceMap"), _LOOP),
    **dict.fromkeys(("TopK", "Unique", "NonMaxSuppression"), _CHOICE),
    **dict.fromkeys(
        (
            "QuantizeLinear",
            "DynamicQuantizeLinear",
            "MatMulInteger",
            "ConvInteger",
            "QLinearMatMul",
            "QLinearConv",
            "com.microsoft::DynamicQuantizeLSTM",
            "com.microsoft::DynamicQuantizeMatMul",
            "com.microsoft::MatMulIntegerToFloat",
            "com.microsoft::MatMulNBits",
            "com.microsoft::QAttention",
            "com.microsoft::QGemm",
        ),
        _QUANTISED,
    ),
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _RANDOM),
    **dict.fromkeys(("Bernoulli", "Multinomial"), _RANDOM),
    **dict.fromkeys(("SequenceConstruct", "SequenceAt", "SequenceInsert", "SplitToSequence", "ConcatFromSequence"), _SEQUENCE),
    **dict.fromkeys(("Attention", "com.microsoft::Attention", "com.microsoft::MultiHeadAttention"), _ATTENTION),
    **dict.fromkeys(
        ("DFT", "STFT"),
        "the Graph has no Fourier transform; export the transform as a convolution with a constant basis, or compute it outside "
        "the network",
    ),
}


def _refuse(call: Call) -> Sym:
    raise UnsupportedError(REFUSED[call.op_type])


OPS.update(dict.fromkeys(REFUSED, _refuse))
