"""Damaged and hostile RTNeural, GuitarML and NAM files: refused in time, within memory, never a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import assert_clean, load_all, write_damaged

rng = np.random.default_rng(0)


def values(*shape: int) -> Any:
    return rng.standard_normal(shape).round(2).tolist()


def layer(kind: str, size: int, weights: list[Any], **more: Any) -> dict[str, Any]:
    return {"type": kind, "activation": "tanh", "shape": [None, None, size], "weights": weights, **more}


RTNEURAL: dict[str, Any] = {
    "in_shape": [None, None, 2],
    "layers": [
        layer("dense", 4, [values(2, 4), values(4)]),
        layer("conv1d", 4, [values(2, 2, 4), values(4)], kernel_size=[2], dilation=[3], groups=2),
        layer("gru", 3, [values(4, 9), values(3, 9), values(2, 9)]),
        layer("lstm", 2, [values(3, 8), values(2, 8), values(8)]),
        layer("prelu", 2, [values(1, 2)]),
        layer("batchnorm", 2, [values(2), values(2), values(2), [0.5, 1]], epsilon=0.01),
        layer("dense", 1, [values(2, 1), values(1)]),
    ],
    "in_skip": 1,
    "in_gain": 3.0,
    "metadata": {"samplerate": "48000", "name": "x"},
}
CONV2D: dict[str, Any] = {
    "in_shape": [None, None, 5, 2],
    "layers": [
        {
            **layer("conv2d", 3, [values(2, 3, 2, 3), values(3)]),
            "shape": [None, None, 5, 3],
            "kernel_size_time": 2,
            "kernel_size_feature": 3,
            "dilation": 2,
            "strides": 1,
            "padding": "same",
            "num_filters_in": 2,
            "num_features_in": 5,
            "num_filters_out": 3,
        },
        {**layer("batchnorm2d", 15, [values(3), [1, 2, 3]], epsilon=1e-3), "num_filters_in": 3, "num_features_in": 5},
    ],
}
GUITARML: dict[str, Any] = {
    "model_data": {
        "model": "SimpleRNN",
        "input_size": 1,
        "skip": 1,
        "output_size": 1,
        "unit_type": "LSTM",
        "num_layers": 2,
        "hidden_size": 2,
        "bias_fl": True,
    },
    "state_dict": {
        **{
            f"rec.weight_{part}_l{k}": values(8, 1 if part == "ih" and k == 0 else 2)
            for part in ("ih", "hh")
            for k in (0, 1)
        },
        **{f"rec.bias_{part}_l{k}": values(8) for part in ("ih", "hh") for k in (0, 1)},
        "lin.weight": values(1, 2),
        "lin.bias": values(1),
    },
}
NAM: dict[str, Any] = {
    "version": "0.5.4",
    "architecture": "LSTM",
    "config": {"input_size": 1, "hidden_size": 2, "num_layers": 2},
    "weights": values(8 * 3 + 12 + 8 * 4 + 12 + 3),
    "metadata": {"name": "x", "training": {"a": [1]}},
    "sample_rate": 48000,
}
FILES = {"rtneural": RTNEURAL, "conv2d": CONV2D, "guitarml": GUITARML, "nam": NAM}

#: What takes the place of some value.
HOSTILE: list[Any] = [
    *[None, True, False, 0, 1, -1, 2, 7, 1.5, 10**9, 2**31, 2**63, 10**400, -(2**64), 1e39, -1e308],
    *[float("nan"), float("inf"), "", "tanh", "2", "\ud800", "x" * 10_000, [], {}, [[]], [None], [1], [[1.0], [2, 3]]],
    *[{"a": {}}, [0.5] * 100_000, [[[[[[1]]]]]], ["type", "dense"]],
]


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value of a document is."""
    if path:
        yield path
    if isinstance(content, (dict, list)):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from places(content[key], (*path, key))


def changed(content: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    """A copy with up to three values replaced, left out, or taken from elsewhere in it."""
    content = copy.deepcopy(content)
    for _ in range(int(generator.integers(1, 4))):
        every = list(places(content))
        # Half of the time no number in an array, of which there are most.
        where = [p for p in every if len(p) <= 3] if generator.integers(2) else every
        *above, key = where[generator.integers(len(where))]
        parent = content
        for step in above:
            parent = parent[step]
        what = generator.integers(8)
        if what == 0:
            del parent[key]
        elif what == 1:
            *other, last = every[generator.integers(len(every))]
            value = content
            for step in [*other, last]:
                value = value.get(step) if isinstance(value, dict) else value[step] if step < len(value) else None
                if not isinstance(value, (dict, list)):
                    break
            parent[key] = copy.deepcopy(value)
        else:
            parent[key] = copy.deepcopy(HOSTILE[generator.integers(len(HOSTILE))])
    return content


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", FILES)
def test_damaged(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "source.json", FILES[name])
    loaded = load_all([source])
    assert loaded[0].kind == "loaded", loaded[0].text
    assert_clean(load_all(write_damaged(source, tmp_path, 100)))


@pytest.mark.parametrize("name", FILES)
def test_wrong_values(name: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    assert_clean(load_all([write(tmp_path / f"{i}.json", changed(FILES[name], generator)) for i in range(100)]))


def test_hostile(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    texts = {
        "deep layers": '{"in_shape": [1], "layers": ' + deep + "}",
        "deep weights": '{"in_shape": [1], "layers": [{"type": "dense", "shape": [1], "weights": '
        + "[" * 900
        + "]" * 900
        + "}]}",
        "deep metadata": json.dumps({**NAM, "metadata": 0}).replace(
            '"metadata": 0', '"metadata": {"a": ' + "[" * 900 + "]" * 900 + "}"
        ),
        "many digits": '{"in_shape": [' + "9" * 100_000 + '], "layers": []}',
        "many layers": json.dumps({**RTNEURAL, "layers": [RTNEURAL["layers"][4]] * 20_000}),
        "repeated keys": '{"in_shape": [1],' * 2 + '"layers": []}}',
        "no UTF-8": '{"layers": "\\ud800"}',
    }
    paths = [write(tmp_path / f"{i}.json", text) for i, text in enumerate(texts.values())]
    outcomes = load_all(paths)
    for outcome, what in zip(outcomes, texts, strict=True):
        assert outcome.kind == ("loaded" if what == "deep metadata" else "refused"), f"{what}: {outcome}"
    assert_clean(outcomes)
