"""Coverage-guided fuzzing of one importer: a file of any bytes loads, or an rtrnn.Error says why not.

importers.py FORMAT [libFuzzer's options] [corpus folders]     runs; needs the package atheris
importers.py --formats                                         names them
importers.py --make FOLDER                                     writes the first corpus: small files of every format
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "python")]

CORPUS = Path(__file__).parent / "corpus"

#: The ending of each format's files.
FORMATS = {
    "rtrnn": ".rtrnn",
    "onnx": ".onnx",
    "json": ".json",
    "keras": ".keras",
    "h5": ".h5",
    "script": ".pt",
    "program": ".pt2",
    "checkpoint": ".pth",
    "safetensors": ".safetensors",
}


def make(folder: Path) -> None:
    """The corpus: for each format a few files of a few kilobytes."""
    import numpy as np
    import pytest

    pytest.importorskip = lambda name, **_: __import__(name)  # type: ignore[assignment]
    import test_fuzz_checkpoint
    import test_fuzz_json
    import test_fuzz_keras
    import test_fuzz_torch
    from keras_files import policy, write_h5, write_keras
    from small_networks import gru_onnx, gru_rtrnn

    for name in FORMATS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    gru_rtrnn(folder / "rtrnn" / "gru.rtrnn")
    gru_onnx(folder / "onnx" / "gru.onnx")
    for name, content in test_fuzz_json.FILES.items():
        (folder / "json" / f"{name}.json").write_text(json.dumps(content))
    for kind, name in (("zip", "checkpoint"), ("legacy", "checkpoint"), ("safetensors", "safetensors")):
        test_fuzz_checkpoint.write(kind, folder / name / f"{kind}{FORMATS[name]}")
    for form in test_fuzz_torch.FORMS:
        cell = test_fuzz_torch.Cell("gru", 2, "buffers", True)
        made = test_fuzz_torch.Exporter(form).write(cell, cell.module(), Path(tempfile.mkdtemp()))
        stored(made, folder / form / f"gru{FORMATS[form]}")
    stored(write_keras(Path(tempfile.mkdtemp()) / "policy", *policy()), folder / "keras" / "policy.keras")
    units = {"units": 2, "activation": "tanh", "use_bias": True, "batch_input_shape": [None, None, 3]}
    dense = test_fuzz_keras.layer("Dense", "head", **units)
    weights = {"head": {"kernel": np.ones((3, 2), np.float32), "bias": np.ones(2, np.float32)}}
    write_h5(folder / "h5" / "dense.h5", test_fuzz_keras.sequential_config([dense]), weights)


def stored(source: Path, target: Path) -> None:
    """The archive with its entries as they are, not compressed: what a fuzzer changes is what an importer reads."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name))


def fuzz(name: str, arguments: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["rtrnn"]):
        import rtrnn
        import rtrnn.loading

        warnings.simplefilter("ignore")
        for seed in (CORPUS / name).iterdir():  # so that what is imported late is there, and instrumented
            rtrnn.load(seed)
    # Damage inside an archive's entry is what is looked for: its checksum would hide it.
    zipfile.ZipExtFile._update_crc = lambda self, data: None  # type: ignore[method-assign]
    path = os.path.join(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None), f"input{FORMATS[name]}")

    def one(data: bytes) -> Any:
        with open(path, "wb") as file:
            file.write(data)
        with contextlib.suppress(rtrnn.Error, OSError):
            rtrnn.load(path)

    atheris.Setup([sys.argv[0], "-rss_limit_mb=6144", *arguments], one)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1] == "--formats":
        print(*FORMATS)
    elif sys.argv[1] == "--make":
        make(Path(sys.argv[2]))
    else:
        fuzz(sys.argv[1], sys.argv[2:])
