"""Helpers of the ONNX importer's tests: small models, and runs of them side by side with onnxruntime."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import reference
from onnx import TensorProto, helper, numpy_helper

from rtrnn.importers.draft import Draft
from rtrnn.importers.onnx import load_onnx

Shape = Sequence[int | str]

#: The newest operator set that the installed onnxruntime runs.
NEWEST = 24


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Mapping[str, Shape | None],
    weights: Mapping[str, Any] | None = None,
    *,
    opset: int = 18,
    producer: str = "test",
) -> onnx.ModelProto:
    """A float model; a size given as text is a free axis."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in inputs.items()],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, None if s is None else list(s))
            for n, s in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (weights or {}).items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, producer_name=producer
    )


def session(proto: onnx.ModelProto | str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Optimised, it computes products with weights of 8 bits in fewer bits than float32 has.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = proto if isinstance(proto, str) else proto.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def steppers(draft: Draft) -> list[Any]:
    """Everything that steps a Draft: the evaluator, and the engine where it is built."""
    found: list[Any] = [reference.Evaluator(draft)]
    try:
        from rtrnn import Model
    except ImportError:
        return found

    class Engine:
        def __init__(self) -> None:
            self.stream = Model(draft.build()).stream()

        def step(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
            given = {k: np.asarray(v, np.float32).reshape(draft.inputs[k]) for k, v in inputs.items()}
            return {k: np.array(v) for k, v in self.stream.step(given).items()}

    return [*found, Engine()]


def compare_steps(
    draft: Draft,
    proto: onnx.ModelProto | str,
    shapes: Mapping[str, Sequence[int]],
    *,
    pairs: Mapping[str, str] | None = None,
    initial: Mapping[str, np.ndarray] | None = None,
    steps: int = 8,
    tolerance: float = 2e-6,
    scale: float = 1.0,
) -> None:
    """Steps the Draft and onnxruntime with the same data and compares every output that the Draft has.

    `shapes` are those of the data inputs as onnxruntime wants them; `pairs` are the states, input -> output.
    """
    rng = np.random.default_rng(7)
    pairs = pairs or {}
    runtime = session(proto)
    carried = {
        name: np.zeros([d if isinstance(d, int) else 1 for d in i.shape], np.float32)
        for i in runtime.get_inputs()
        if (name := i.name) in pairs
    }
    carried.update({k: np.asarray(v, np.float32) for k, v in (initial or {}).items()})
    runners = steppers(draft)
    for step in range(steps):
        data = {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
        names = [o.name for o in runtime.get_outputs()]
        expected = dict(zip(names, runtime.run(None, {**data, **carried}), strict=True))
        carried = {i: expected[o] for i, o in pairs.items()}
        for runner in runners:
            found = runner.step(data)
            assert found, "the Draft has no output"
            for name, value in found.items():
                want = expected[name]
                np.testing.assert_allclose(
                    np.ravel(value),
                    want.ravel(),
                    rtol=tolerance,
                    atol=tolerance * max(1.0, scale),
                    err_msg=f"{name} at step {step} by {type(runner).__name__}",
                )


def load_quietly(source: Any, **options: Any) -> Draft:
    """load_onnx, with every Python warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_onnx(source, **options)
