"""What every wheel must do, with NumPy alone: the golden networks' bits on each instruction set at hand, a file, a loop, the command line.

    python -I tests/wheel/smoke.py
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import numpy as np

import rtrnn

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NAMES = ["gru_8", "lstm_31_initial", "policy_lstm_elu", "conv_encoder", "head_silu_gelu_mish"]


def bits(values: np.ndarray) -> list[int]:
    return np.asarray(values, np.float32).ravel().view(np.uint32).tolist()


def check_goldens(isa: str) -> None:
    for name in NAMES:
        model = rtrnn.load(GOLDEN / f"{name}.rtrnn")
        (shape,) = model.inputs.values()
        xs = np.fromfile(GOLDEN / f"{name}.x.f32", "<f4").reshape(-1, *shape)
        for weights in ("f32", "i16"):
            recorded = GOLDEN / (f"{name}.y.f32" if weights == "f32" else f"{name}.{weights}.y.f32")
            if recorded.exists():
                stream = model.stream(isa=isa, weights=weights)
                found = [stream.step(x) for x in xs]
                assert bits(np.array(found)) == bits(np.fromfile(recorded, "<f4")), f"{name} in {weights} on {isa}: other bits"


def check_file_and_loop(folder: Path) -> None:
    path = folder / "r\u00e9seau.rtrnn"  # not ASCII
    model = rtrnn.load(GOLDEN / "gru_8.rtrnn")
    model.save(path)
    model.save(path)  # over an old one
    (shape,) = model.inputs.values()
    with rtrnn.Loop(rtrnn.load(path), rate=200) as loop:
        loop.observe(np.ones(shape, np.float32))
        end = time.monotonic() + 10
        while (action := loop.action()) is None and time.monotonic() < end:
            time.sleep(0.01)
    assert action is not None
    command = [sys.executable, "-I", "-X", "utf8", "-m", "rtrnn", "info", str(path)]
    said = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    assert "gru" in said


def main() -> None:
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert free_threaded != getattr(sys, "_is_gil_enabled", lambda: True)(), "an extension module switched the GIL on"
    assert "scalar" in rtrnn.isa_available()
    for isa in rtrnn.isa_available():
        check_goldens(isa)
    with tempfile.TemporaryDirectory() as folder:
        check_file_and_loop(Path(folder))
    assert (Path(rtrnn.get_include()) / "rtrnn" / "rtrnn.h").exists()
    assert list(Path(rtrnn.cmake_dir()).glob("rtrnnConfig.cmake"))
    print(f"rtrnn {rtrnn.__version__} on Python {sys.version.split()[0]}{' free-threaded' if free_threaded else ''}, {sys.platform}: "
          f"{len(NAMES)} networks on {', '.join(rtrnn.isa_available())}")


if __name__ == "__main__":
    main()
