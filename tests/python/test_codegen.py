"""Generated C: the engine's bits from every compiler at hand, what it refuses, and what it leaves unchanged.

Compilers that are missing are named in the reason of the skip; tools/test installs them where it can.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generated import (
    STRICT,
    Generated,
    assert_same_bits,
    compiled,
    engine_rows,
    random_rows,
)
from random_graphs import random_draft

import rtrnn
from rtrnn.c99.unary import literal
from rtrnn.cli import main
from rtrnn.importers.draft import Draft

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NAMES = sorted(path.name[: -len(".rtrnn")] for path in GOLDEN.glob("*.rtrnn"))
REDUCED = sorted({path.name.split(".")[0] for path in GOLDEN.glob("*.i8.y.f32")})
POLICIES = [
    "unitree_g1/motion_legacy_opset11.onnx",
    "anydrive/anydrive_v3_lstm.pt",
    "raptor/checkpoint.h5",
    "nam/lstm.nam",
    "nam/BossLSTM-1x16.nam",
]
QUICK = ["-O1", "-march=native"]  # most of the time is the compilers'


def compiler(name: str) -> str:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    return name


def check(model: Any, folder: Path, command: list[str], steps: int = 12, weights: str = "f32", **options: Any) -> Generated:
    """The bits of the engine, stepping and with `prepare`, and the state after the last step."""
    rows = random_rows(model, steps)
    want, state = engine_rows(model, rows, weights=weights)
    code = rtrnn.codegen(model, "net", weights=weights, **options)
    generated = Generated(compiled(code, folder, [*command, *STRICT]), "net", model, code.state_bytes)
    assert_same_bits(generated.rows(rows), want)
    assert np.array_equal(generated.state.view(np.uint32), state.view(np.uint32))
    generated.call("reset")
    assert_same_bits(generated.rows(rows, prepare=True), want)
    return generated


@pytest.fixture(scope="module")
def cell() -> Any:
    """A GRU of odd sizes, with a layer behind it and a first state that is not zero."""
    return rtrnn.load(GOLDEN / "gru_17_initial.rtrnn")


@pytest.fixture(scope="module")
def head() -> Any:
    """A depthwise convolution and a GRU: products that compilers would join with the sums behind them, if they were let."""
    rng = np.random.default_rng(5)
    draft = Draft()
    draft.add_input("x", (16, 8))
    state = draft.add_state("h", (12,), np.zeros(12))
    (y,) = draft.add_node("conv", ["x", draft.add_tensor(rng.normal(size=(16, 1, 3)), "w")], [(16, 6)], {"groups": 16})
    (y,) = draft.add_node("reshape", [y], [(96,)], {"shape": [96]})
    weights = [draft.add_tensor(rng.uniform(-0.3, 0.3, shape), "w") for shape in ((36, 96), (36, 12), (36,))]
    (h,) = draft.add_node("gru", [y, state, *weights, ""], [(12,)])
    draft.states[state].next = draft.outputs["y"] = h
    draft.outputs["conv"] = y
    return rtrnn.Model(draft.build())


# -- the same bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_goldens(name: str, tmp_path: Path) -> None:
    check(rtrnn.load(GOLDEN / f"{name}.rtrnn"), tmp_path, [compiler("gcc"), *QUICK], small=NAMES.index(name) % 2 == 0, tile=8)


@pytest.mark.parametrize("name", REDUCED)
def test_goldens_of_integers(name: str, tmp_path: Path) -> None:
    weights = ("i8", "i16")[REDUCED.index(name) % 2]
    check(rtrnn.load(GOLDEN / f"{name}.rtrnn"), tmp_path, [compiler("gcc"), *QUICK], weights=weights, small=REDUCED.index(name) % 3 == 0)


@pytest.mark.parametrize("seed", range(100, 112))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    check(rtrnn.Model(random_draft(seed).build()), tmp_path, [compiler("gcc"), *QUICK], steps=4, small=True)


@pytest.mark.models
@pytest.mark.parametrize("path", POLICIES)
def test_recorded_networks(path: str, models: Path, tmp_path: Path) -> None:
    if path.endswith(".pt"):
        pytest.importorskip("torch")
    model = rtrnn.load(models / path)
    check(model, tmp_path, [compiler("gcc"), "-O3", "-march=native"], steps=100)
    check(model, tmp_path, [compiler("gcc"), "-O2"], steps=30, weights="i8", small=True)  # no FMA: it is made of doubles


@pytest.mark.models
def test_speech_detector(models: Path, tmp_path: Path) -> None:
    """Convolutions, an LSTM and 1.2 MB of weights: four megabytes of C."""
    pytest.importorskip("onnx")
    model = rtrnn.load(models / "silero_vad/silero_vad_16k_sequence.onnx")
    check(model, tmp_path, [compiler("gcc"), *QUICK], steps=10)


#: Dialect and flags must not matter: GCC contracts products and sums by itself in its own dialect, clang in both.
COMMANDS = {
    "gcc -O3": ["gcc", "-O3", "-march=native"],
    "gcc, no FMA": ["gcc", "-O2"],
    "gcc -Os": ["gcc", "-Os", "-march=native"],
    "gcc, its own C": ["gcc", "-O2", "-march=native", "-std=gnu17", "-ffp-contract=fast"],
    "clang -O3": ["clang", "-O3", "-march=native"],
    "clang, no FMA": ["clang", "-O2"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("options", [{"tile": 16}, {"tile": 32}, {"small": True}], ids=str)
def test_compilers(command: str, options: dict[str, Any], head: Any, tmp_path: Path) -> None:
    name, *flags = COMMANDS[command]
    strict = [] if "-std=gnu17" in flags else STRICT
    rows = random_rows(head, 20)
    want, _ = engine_rows(head, rows)
    code = rtrnn.codegen(head, "net", **options)
    library = compiled(code, tmp_path, [compiler(name), *strict, *flags])
    assert_same_bits(Generated(library, "net", head, code.state_bytes).rows(rows), want)


def test_contraction_would_be_seen(head: Any, tmp_path: Path) -> None:
    """The twin of the pragma: without it the bits of GCC's own dialect differ."""
    code = rtrnn.codegen(head, "net")
    broken = type(code)("net", code.header, code.source.replace("#pragma GCC optimize", "//"), 0, code.state_bytes)
    rows = random_rows(head, 20)
    want, _ = engine_rows(head, rows)
    if not {"fma", "asimd"} & set(Path("/proc/cpuinfo").read_text().split()):
        pytest.skip("this CPU has no FMA")
    library = compiled(broken, tmp_path, [compiler("gcc"), "-std=gnu17", "-O2", "-march=native", "-ffp-contract=fast"])
    with pytest.raises(AssertionError, match="differ"):
        assert_same_bits(Generated(library, "net", head, code.state_bytes).rows(rows), want)


def test_without_fma_is_near(cell: Any, tmp_path: Path) -> None:
    rows = random_rows(cell, 200)
    (want,), _ = engine_rows(cell, rows)
    code = rtrnn.codegen(cell, "net", fma=False)
    (found,) = Generated(compiled(code, tmp_path, [compiler("gcc"), *STRICT, "-O2"]), "net", cell, code.state_bytes).rows(rows)
    assert 0 < np.abs(found - want).max() < 1e-6


def test_the_fma_of_doubles_rounds_once(tmp_path: Path) -> None:
    """Against the exact product and sum, for operands chosen to make two roundings differ from one."""
    draft = Draft()
    draft.add_input("x", (3,))
    (a,) = draft.add_node("affine", ["x"], [(3,)], {"alpha": float(np.float32(1 + 2**-12)), "beta": 2.0**-60})
    draft.outputs["y"] = a
    model = rtrnn.Model(draft.build())
    rows = [np.concatenate([np.float32(1 + 2**-12) * np.ones((1, 3)), random_rows(model, 3000)[0]]).astype(np.float32)]
    want, _ = engine_rows(model, rows)
    for flags in ([], ["-march=native"]):
        code = rtrnn.codegen(model, "net")
        library = compiled(code, tmp_path, [compiler("gcc"), *STRICT, "-O2", *flags])
        assert_same_bits(Generated(library, "net", model, code.state_bytes).rows(rows), want)
    assert (want[0][0] > np.float32(np.float64(rows[0][0, 0]) ** 2)).all()  # two roundings would lose the last term


def test_constants_are_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 1 << 32, 4000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    values = np.concatenate([values[np.isfinite(values)], np.float32([0, -0.0, 1e-45, 3.4028235e38, np.inf, -np.inf])])
    text = "const float c[] = {" + ",\n".join(literal(float(v)) for v in values) + "};\nvoid c_step(float* o, float* y) "
    (tmp_path / "c.c").write_text(text + f"{{ int i; (void)o; for (i = 0; i < {len(values)}; ++i) y[i] = c[i]; }}\n")
    subprocess.run([compiler("gcc"), *STRICT, "-shared", "-fPIC", str(tmp_path / "c.c"), "-o", str(tmp_path / "c.so")], check=True)
    import ctypes

    found = np.zeros(len(values), np.float32)
    ctypes.CDLL(str(tmp_path / "c.so")).c_step(None, ctypes.c_void_p(found.ctypes.data))
    assert np.array_equal(found.view(np.uint32), values.view(np.uint32))


# -- state and bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_input_changes_nothing(bad: float, cell: Any, tmp_path: Path) -> None:
    generated = check(cell, tmp_path, [compiler("gcc"), *QUICK])
    (x,) = random_rows(cell, 1)
    before, y = generated.state, generated.y[0].copy()
    x[0, 3] = bad
    assert generated.step(x[0]) == 1
    assert np.array_equal(generated.state, before)
    assert np.array_equal(generated.y[0], y)


def test_a_result_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    draft = Draft()
    draft.add_input("x", (2,))
    draft.add_state("s", (2,), np.ones(2))
    (total,) = draft.add_node("add", ["x", "s"], [(2,)])
    (scaled,) = draft.add_node("affine", [total], [(2,)], {"alpha": 1e30, "beta": 0.0})
    draft.states["s"].next = total
    draft.outputs["y"] = scaled
    model = rtrnn.Model(draft.build())
    code = rtrnn.codegen(model, "net")
    generated = Generated(compiled(code, tmp_path, [compiler("gcc"), *STRICT, *QUICK]), "net", model, code.state_bytes)
    assert generated.step(np.float32([1, 2])) == 0
    y = generated.y[0].copy()
    assert generated.step(np.float32([1, 1e20])) == 2
    assert generated.state.tolist() == [2, 3]
    assert np.array_equal(generated.y[0], y)


def test_states_are_independent_and_a_copy_is_a_fork(cell: Any, tmp_path: Path) -> None:
    code = rtrnn.codegen(cell, "net")
    library = compiled(code, tmp_path, [compiler("gcc"), *STRICT, *QUICK])
    one, other = (Generated(library, "net", cell, code.state_bytes) for _ in range(2))
    rows = random_rows(cell, 6)
    first = one.rows([x[:3] for x in rows])
    assert_same_bits(other.rows([x[:3] for x in rows]), first)
    one.call("prepare")
    other.memory[:] = one.memory[:]
    assert_same_bits(other.rows([x[3:] for x in rows]), one.rows([x[3:] for x in rows]))


def test_the_struct_is_as_large_as_is_said(cell: Any, tmp_path: Path) -> None:
    for weights in ("f32", "i8"):
        code = rtrnn.codegen(cell, "net", weights=weights)
        code.write(tmp_path / "net.c")
        (tmp_path / "size.c").write_text(f'#include "net.h"\nchar right[sizeof(net_state) == {code.state_bytes} ? 1 : -1];\n')
        subprocess.run([compiler("gcc"), *STRICT, "-c", str(tmp_path / "size.c"), "-o", str(tmp_path / "size.o")], check=True)


# -- what is asked for, what is refused --------------------------------------------------------------------


def test_same_text_every_time_and_nothing_but_a_network(cell: Any) -> None:
    code, again = rtrnn.codegen(cell, "net"), rtrnn.codegen(cell, "net")
    assert code == again
    assert set(re.findall(r"#include (.*)", code.source)) == {'"net.h"', "<math.h>"}
    assert f"{cell.graph.fingerprint:016x}" in code.header
    assert not re.search(r"\b(malloc|free|printf|RT_\w+)\b", code.source + code.header)
    assert re.findall(r"^(?:void|int|float) (\w+)\(", code.source, re.M) == ["net_reset", "net_prepare", "net_step"]


def test_several_inputs_and_outputs_with_odd_names(tmp_path: Path) -> None:
    draft = Draft()
    for name in ("a b", "a.b", "int"):
        draft.add_input(name, (2,))
    state = draft.add_state("a b.h", (2,), np.zeros(2))
    (y,) = draft.add_node("add", ["a b", "a.b"], [(2,)])
    (z,) = draft.add_node("mul", ["int", state], [(2,)])
    draft.states[state].next = y
    draft.outputs.update({"out 1": z, "a b.h": y, "copy": "int"})
    draft.metadata["*/ #error code from a file /*"] = "/*/"
    draft.metadata["note"] = 'ends */ here " /* \\ \u00e4 ??/'
    check(rtrnn.Model(draft.build()), tmp_path, [compiler("gcc"), *QUICK])


def test_header_is_cxx_too(cell: Any, tmp_path: Path) -> None:
    rtrnn.codegen(cell, "net").write(tmp_path / "net.c")
    (tmp_path / "main.cpp").write_text('#include "net.h"\nint main() { net_state s; net_reset(&s); return s.prepared; }\n')
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler("g++"), *flags, "-c", str(tmp_path / "main.cpp"), "-o", str(tmp_path / "main.o")], check=True)


@pytest.mark.parametrize("name", ["", "1net", "a-b", "_net", "n et", "\u00e4"])
def test_names_that_are_no_identifiers(name: str, cell: Any) -> None:
    with pytest.raises(ValueError, match="expected a C identifier"):
        rtrnn.codegen(cell, name)


@pytest.mark.parametrize("name", ["x", "y_1", "int", "POLICY"])
def test_names_that_need_care(name: str, cell: Any, tmp_path: Path) -> None:
    code = rtrnn.codegen(cell, name)
    code.write(tmp_path / f"{name}.c")
    subprocess.run([compiler("gcc"), *STRICT, "-O1", "-c", str(tmp_path / f"{name}.c"), "-o", str(tmp_path / "o")], check=True)


def test_refused_by_name(cell: Any) -> None:
    with pytest.raises(rtrnn.UnsupportedError, match="weights 'f16'"):
        rtrnn.codegen(cell, weights="f16")
    with pytest.raises(ValueError, match="tile 5"):
        rtrnn.codegen(cell, tile=5)
    draft = Draft()
    draft.add_input("x", (2,))
    state = draft.add_state("h", (2,), np.zeros(2))
    weights = [draft.add_tensor(np.ones((2, 2)), "w") for _ in range(2)]
    (h,) = draft.add_node("rnn", ["x", state, *weights], [(2,)], {"direction": "reverse"})
    draft.states[state].next = draft.outputs["y"] = h
    with pytest.raises(rtrnn.UnsupportedError, match="cannot be streamed"):
        rtrnn.codegen(rtrnn.Model(draft.build()))


def test_every_node_type_is_generated() -> None:
    from rtrnn import _core
    from rtrnn.c99.ops import OPS

    # No file has a delta_linear: a Plan makes it when it is asked for delta updates.
    assert set(re.split(r",\s*", _core.op_names())) - {"identity", "delta_linear"} <= set(OPS)


def test_command(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "my-policy.c"
    assert main(["codegen", str(network), "-o", str(target), "--small", "--weights", "i8"]) == 0
    assert "my_policy_step" in capsys.readouterr().out
    command = [compiler("gcc"), *STRICT, "-c", str(target), "-o", str(tmp_path / "policy.o")]
    subprocess.run(command, check=True)
    assert main(["codegen", str(network), "-o", str(tmp_path / "policy.txt")]) == 1
    assert "ends with .c" in capsys.readouterr().err
    assert not (tmp_path / "policy.txt").exists()
