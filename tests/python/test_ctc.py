"""Streaming greedy CTC decoding against the definition on whole sequences."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rtrnn

LABELS = "_abc"


def collapsed(classes: list[int], blank: int) -> list[int]:
    """The definition: merge repeats, then drop blanks."""
    return [index for index, _ in groupby(classes) if index != blank]


def scores(classes: list[int], count: int = 4, seed: int = 0) -> np.ndarray:
    """Random scores whose best class in each frame is the given one."""
    made = np.random.default_rng(seed).normal(size=(len(classes), count))
    made[np.arange(len(classes)), classes] = 10
    return made.astype(np.float32)


@given(
    st.lists(st.integers(0, 3), max_size=40),
    st.integers(0, 3),
    st.lists(st.integers(0, 40), max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_any_split_into_calls_gives_the_whole_sequence(classes: list[int], blank: int, cuts: list[int], seed: int) -> None:
    frames = scores(classes, seed=seed)
    expected = collapsed(classes, blank)
    decoder = rtrnn.ctc_greedy(range(4), blank=blank)
    assert [symbol for part in np.split(frames, sorted(min(c, len(frames)) for c in cuts)) for symbol in decoder(part)] == expected
    assert decoder.frames == len(frames)
    decoder.reset()
    assert [symbol for frame in frames for symbol in decoder(frame)] == expected


@pytest.mark.parametrize(
    ("path", "text"),
    [("", ""), ("_", ""), ("aa", "a"), ("a_a", "aa"), ("aa_ab", "aab"), ("_a_", "a"), ("abba", "aba"), ("ab__ba", "abba")],
)
def test_examples(path: str, text: str) -> None:
    decoder = rtrnn.ctc_greedy(LABELS)
    assert "".join(decoder(scores([LABELS.index(c) for c in path]))) == text


def test_a_repeat_across_calls_and_resets() -> None:
    decoder = rtrnn.ctc_greedy(LABELS)
    (a,) = scores([1])
    assert [decoder(a), decoder(a), decoder(a[None])] == [["a"], [], []]
    decoder.reset()
    assert decoder(a) == ["a"]
    assert decoder.frames == 1


def test_blank_may_be_last_and_labels_anything() -> None:
    decoder = rtrnn.ctc_greedy([("k", 1), "ch", None], blank=-1)
    assert decoder.blank == 2
    assert decoder(scores([2, 0, 0, 2, 1], 3)) == [("k", 1), "ch"]


def test_ties_and_infinite_scores() -> None:
    decoder = rtrnn.ctc_greedy(LABELS)
    assert decoder([-np.inf, 0.0, 0.0, -np.inf]) == ["a"]
    assert decoder([-np.inf] * 4) == []  # a tie of all: the blank, which is the first


def test_refusals_leave_the_decoder_as_it_was() -> None:
    decoder = rtrnn.ctc_greedy(LABELS)
    bad = scores([1, 2, 3])
    bad[1, 3] = np.nan
    with pytest.raises(rtrnn.NonFiniteError, match="frame 1 holds a NaN"):
        decoder(bad)
    with pytest.raises(ValueError, match=r"expected shape \(4,\) or \('T', 4\), found \(3,\)"):
        decoder(np.zeros(3))
    with pytest.raises(ValueError, match="found"):
        decoder(np.zeros((2, 2, 4)))
    with pytest.raises(TypeError, match="expected numbers"):
        decoder(list(LABELS))
    assert decoder.frames == 0
    assert decoder(scores([1])) == ["a"]
    with pytest.raises(ValueError, match="blank: expected the index of one of 4 classes, found 4"):
        rtrnn.ctc_greedy(LABELS, blank=4)
    with pytest.raises(ValueError, match="blank"):
        rtrnn.ctc_greedy("")
    with pytest.raises(TypeError, match="labels"):
        rtrnn.ctc_greedy(4)  # type: ignore[arg-type]
