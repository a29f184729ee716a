"""The onnx package's own node tests (``onnx.backend.test``) for every operator that the importer knows.

Their float inputs are data, all other inputs are bound as constants. What cannot be loaded must be listed here with its
reason; what can be loaded must give the recorded values.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import reference  # noqa: E402
from onnx_models import load_quietly  # noqa: E402

import rtrnn.importers.onnx.graph  # noqa: E402, F401
from rtrnn.errors import Error, UnsupportedError  # noqa: E402
from rtrnn.importers.onnx.refused import REFUSED  # noqa: E402
from rtrnn.importers.onnx.registry import OPS  # noqa: E402

RECURRENT = {"RNN", "GRU", "LSTM"}  # test_import_onnx.py
KNOWN = OPS.keys() - REFUSED.keys() - RECURRENT

#: A part of the message -> why the case cannot be loaded.
REASONS = {
    r"computed from the file's tensors is (nan|inf)": "a constant that is NaN or infinite is refused by name",
    r"a cast to (U?INT[24]|FLOAT[48]\w+);": "types below 8 bits and floats of 8 bits: nothing that a network's values are cast to",
    r"a cast to the type of '\w+'; expected": "the same types, by CastLike",
    r"DequantizeLinear .* it reads a computed value": "a float of 8 bits as data: integers and their like are weights alone",
    r"without a letter twice in one of them": "the diagonal of an operand",
    r"is a (sequence|optional)_type; expected a tensor": "no tensor",
    r"MaxPool node .*its outputs \['\w+'\] are not supported": "the positions of the largest values, of integer type",
    r"cannot reshape a value of shape \(1, 3, 4\) to \(3, 4, 0\)": "a value without elements",
    r"slice 1000:1000:1 of an axis of size 10 is empty": "a value without elements",
    r"split sizes \[0, 0, 0\] do not add up to 1": "a value without elements",
    r"zero-size array to reduction operation": "a value without elements",
    r"mode is 'cubic'; expected nearest or linear": "cubic",
    r"exclude_outside is 1|antialias is 1": "filters of images",
    r"coordinate_transformation_mode is 'tf_crop_and_resize'": "regions of images",
    r"keep_aspect_ratio_policy is 'not_(larger|smaller)'": "sizes of images",
    r"align_corners with a scale of 0.6": "onnxruntime gives other values than the definition",
    r"training_mode is (1|true)": "training",
    r"binds the input 'x' to an array of type object": "text",
}

#: How many cases are loaded and give the recorded values, as of onnx 1.23; another version may hold other cases.
EXPECTED = 1000


#: Cases whose values were recorded with four digits.
DIGITS = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 5e-4}


def operators(graph: Any) -> set[str]:
    found = set()
    for node in graph.node:
        found.add(node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}")
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found |= operators(attribute.g)
    return found


@cache
def cases() -> list[Any]:
    """The cases that consist of known operators."""
    package = importlib.import_module("onnx.backend.test.case.node")
    known = {kind.lower() for kind in KNOWN} | {"rangeop"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about the overflows that some cases are made of
        names = [m.name for m in pkgutil.iter_modules(package.__path__) if m.name.replace("_", "") in known]
        for name in names:
            importlib.import_module(f"{package.__name__}.{name}")
    return [c for c in {c.name: c for c in package._NodeTestCases}.values() if operators(c.model.graph) <= KNOWN]


def recorded_models() -> list[Any]:
    """Networks of a few nodes, exported by old versions of PyTorch, whose values the package holds as files."""
    found = []
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for path in sorted(folder.glob("*/*/model.onnx")):
        proto = onnx.load(path)
        if operators(proto.graph) <= KNOWN:
            sets = [(read_tensors(s, "input"), read_tensors(s, "output")) for s in sorted(path.parent.glob("test_data_set_*"))]
            found.append(SimpleNamespace(name=path.parent.name, model=proto, data_sets=sets))
    return found


def read_tensors(folder: Path, role: str) -> list[np.ndarray]:
    count = len(list(folder.glob(f"{role}_*.pb")))
    return [
        onnx.numpy_helper.to_array(onnx.TensorProto.FromString((folder / f"{role}_{i}.pb").read_bytes())) for i in range(count)
    ]


def as_array(value: Any) -> Any:
    """The types that NumPy lacks are recorded as protobuf messages."""
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def is_float(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


def load(case: Any, inputs: Mapping[str, Any]) -> tuple[Any, dict[str, np.ndarray]]:
    """The Draft and its data: all float inputs, or the first alone where the others must be constant."""
    floats = {name: value for name, value in inputs.items() if is_float(value)}
    attempts = [floats, dict(list(floats.items())[:1]), {}]
    error: Exception | None = None
    for data in attempts:
        constants = {name: value for name, value in inputs.items() if name not in data}
        try:
            with np.errstate(all="ignore"):
                draft = load_quietly(case.model, constants=constants, states=dict.fromkeys(data))
        except UnsupportedError as problem:
            error = error or problem
            if "computed from the inputs" in str(problem):
                continue
            error = problem
            break
        return draft, data
    assert error is not None
    raise error


def tolerance(case: Any, digits: float) -> float:
    kinds = {v.type.tensor_type.elem_type for v in (*case.model.graph.input, *case.model.graph.output)}
    if onnx.TensorProto.BFLOAT16 in kinds:
        return 1e-2
    if onnx.TensorProto.FLOAT16 in kinds:
        return 2e-3
    return DIGITS.get(case.name, digits)


def check(case: Any, digits: float = 2e-5) -> None:
    for given, wanted in case.data_sets:
        weights = {tensor.name for tensor in case.model.graph.initializer}
        names = [value.name for value in case.model.graph.input if value.name not in weights]
        inputs = dict(zip(names, map(as_array, given), strict=True))
        wanted = [as_array(value) for value in wanted]
        draft, data = load(case, inputs)
        shapes = {name: tuple(s) for name, s in json.loads(draft.metadata["source.inputs"]).items()}
        rebound = [(n, a) for n, s in shapes.items() for a, d in enumerate(s) if d != data[n].shape[a]]
        assert len({a for _, a in rebound}) <= 1, f"rebound axes {rebound}"
        axis = rebound[0][1] if rebound else None
        for row in range(data[rebound[0][0]].shape[rebound[0][1]] if rebound else 1):
            feeds = {
                n: (np.take(v, [row], axis) if axis is not None and v.shape[axis] > 1 else v).astype(np.float64)
                for n, v in data.items()
            }
            with np.errstate(all="ignore"):
                found = reference.Evaluator(draft).step({n: v.reshape(draft.inputs[n]) for n, v in feeds.items()})
            for value, want in zip(case.model.graph.output, wanted, strict=True):
                if value.name in found:
                    want = np.asarray(want) if axis is None else np.take(want, [row], axis)
                    rtol = tolerance(case, digits)
                    np.testing.assert_allclose(
                        np.ravel(found[value.name]), np.ravel(want).astype(np.float64), rtol=rtol, atol=rtol / 10,
                        err_msg=value.name,
                    )  # fmt: skip


def test_recorded_values() -> None:
    """Every case gives what was recorded, or is refused for a reason that is listed; no reason is listed in vain."""
    passed, wrong, unlisted, used = 0, [], [], set()
    for case in cases():
        try:
            check(case)
            passed += 1
        except Error as error:
            reason = next((pattern for pattern in REASONS if re.search(pattern, str(error))), None)
            if reason is None:
                unlisted.append(f"{case.name}: {error}")
            used.add(reason)
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
    assert not wrong, "\n".join(wrong)
    assert not unlisted, "\n".join(unlisted)
    assert passed >= EXPECTED
    assert not REASONS.keys() - used
    print(f"{passed} cases give the recorded values, {len(cases()) - passed} are refused")


def test_recorded_networks() -> None:
    """Operator sets 6 to 9, with f32 rounding of their own."""
    models = recorded_models()
    assert len(models) >= 120
    for case in models:
        check(case, digits=5e-5)


def test_operators_without_cases() -> None:
    """The operators that this file says nothing about; test_import_onnx_ops.py compares all with onnxruntime."""
    tried = {kind for case in cases() for kind in operators(case.model.graph)}
    own = {kind for kind in KNOWN if kind.startswith("com.microsoft::")}  # test_import_onnx_fused.py
    assert KNOWN - tried == {"GlobalLpPool", "SimplifiedLayerNormalization"} | own
