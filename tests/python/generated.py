"""Compiles generated C and runs it beside the engine: as a shared library in this process, or as a program elsewhere."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtrnn.c99 import CSource

STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
Rows = list[np.ndarray]  # one (T, size) array for each input or output


def sizes(model: Any) -> tuple[list[int], list[int]]:
    """Floats of each input and of each output."""
    return [int(np.prod(shape)) for shape in model.inputs.values()], [int(np.prod(shape)) for shape in model.outputs.values()]


def random_rows(model: Any, steps: int, seed: int = 0, scale: float = 1.0) -> Rows:
    rng = np.random.default_rng(seed)
    return [(scale * rng.normal(size=(steps, n))).astype(np.float32) for n in sizes(model)[0]]


def engine_rows(model: Any, rows: Rows, **options: Any) -> tuple[Rows, np.ndarray]:
    """Outputs of each step and the state after the last one, of a Stream."""
    stream = model.stream(**options)
    names = list(model.outputs)
    found: list[list[np.ndarray]] = [[] for _ in names]
    shapes = list(model.inputs.values())
    for t in range(len(rows[0])):
        given = [np.ascontiguousarray(x[t].reshape(shape)) for x, shape in zip(rows, shapes, strict=True)]
        y = stream.step(given[0] if len(given) == 1 else dict(zip(model.inputs, given, strict=True)))
        values = [y[name] for name in names] if isinstance(y, dict) else [y] if len(names) == 1 else list(y)
        for out, value in zip(found, values, strict=True):
            out.append(np.array(value, np.float32).reshape(-1))
    return [np.array(out) for out in found], stream.state_vector()


def compiled(code: CSource, folder: Path, compiler: Sequence[str]) -> Path:
    """The shared library that `compiler` makes of it."""
    source = code.write(folder / f"{code.name}.c")[0]
    library = folder / f"{code.name}{len(list(folder.glob('*.so')))}.so"  # a path of its own: the loader knows the old ones
    subprocess.run([*compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return library


class Generated:
    """One state of a generated network in a shared library."""

    def __init__(self, library: Path, name: str, model: Any, state_bytes: int = 1 << 20) -> None:
        self.code = ctypes.CDLL(str(library))
        self.name = name
        self.memory = ctypes.create_string_buffer(state_bytes)
        self.inputs, self.outputs = sizes(model)
        self.state_size = sum(int(np.prod(shape)) for shape in model.states.values())
        self.y = [np.zeros(n, np.float32) for n in self.outputs]
        self.call("reset")

    def call(self, function: str, *arguments: Any) -> int:
        return int(getattr(self.code, f"{self.name}_{function}")(self.memory, *arguments))

    def step(self, *xs: np.ndarray) -> int:
        given = [np.ascontiguousarray(x, np.float32) for x in xs]
        return self.call("step", *(ctypes.c_void_p(a.ctypes.data) for a in [*given, *self.y]))

    @property
    def state(self) -> np.ndarray:
        """The state is what the struct begins with."""
        return np.frombuffer(self.memory.raw, np.float32, self.state_size).copy()

    def rows(self, rows: Rows, prepare: bool = False) -> Rows:
        found: list[list[np.ndarray]] = [[] for _ in self.y]
        for t in range(len(rows[0])):
            if prepare:
                self.call("prepare")
            assert self.step(*(x[t] for x in rows)) == 0, f"step {t} was refused"
            for out, y in zip(found, self.y, strict=True):
                out.append(y.copy())
        return [np.array(out) for out in found]


def assert_same_bits(found: Rows, expected: Rows) -> None:
    for k, (have, want) in enumerate(zip(found, expected, strict=True)):
        wrong = np.argwhere(have.view(np.uint32) != want.view(np.uint32))
        assert len(wrong) == 0, f"output {k}: {len(wrong)} of {want.size} differ, first at {wrong[0]}"
