"""Greedy decoding of a CTC head, frame by frame: :func:`ctc_greedy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from rtrnn.errors import NonFiniteError

__all__ = ["CTCGreedy", "ctc_greedy"]

T = TypeVar("T")


class CTCGreedy(Generic[T]):
    """A decoder in progress; see :func:`ctc_greedy`."""

    def __init__(self, labels: Sequence[T], blank: int = 0) -> None:
        if not isinstance(labels, Sequence):
            raise TypeError(f"labels: expected a sequence with one symbol per class, found {type(labels).__name__}")
        if not isinstance(blank, (int, np.integer)) or isinstance(blank, bool) or not -len(labels) <= blank < len(labels):
            raise ValueError(f"blank: expected the index of one of {len(labels)} classes, found {blank!r}")
        self.labels = labels
        #: The class that stands for no symbol.
        self.blank = int(blank) % len(labels)
        self._last = self.blank
        self._frames = 0

    def __call__(self, scores: npt.ArrayLike) -> list[T]:
        """The symbols that one frame (classes), or some frames (T, classes), add to what was decoded before: often none.

        `scores` are of any scale: logits, log-probabilities, probabilities; -inf is allowed. Where classes tie, the first one counts.
        Allocates; not for a real-time thread.

        Raises ValueError for a wrong shape, TypeError for what is no number, :class:`rtrnn.NonFiniteError` for a NaN; then the decoder is
        as it was.
        """
        array: npt.NDArray[Any] = np.asarray(scores)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"scores: expected numbers, found dtype {array.dtype}")
        classes = len(self.labels)
        if array.ndim not in (1, 2) or array.shape[-1] != classes:
            raise ValueError(f"scores: expected shape ({classes},) or ('T', {classes}), found {array.shape}")
        frames = array.reshape(-1, classes)
        if np.isnan(frames).any():
            raise NonFiniteError(f"scores: frame {int(np.isnan(frames).any(1).argmax())} holds a NaN; the decoder is unchanged")
        best = frames.argmax(1)
        # A symbol begins where the best class changes, but for a change to the blank.
        begins = (best != np.concatenate([[self._last], best[:-1]])) & (best != self.blank)
        if len(best):
            self._last = int(best[-1])
        self._frames += len(best)
        return [self.labels[int(index)] for index in best[begins]]

    def reset(self) -> None:
        """Begins a new sequence."""
        self._last, self._frames = self.blank, 0

    @property
    def frames(self) -> int:
        """Frames taken since the sequence began."""
        return self._frames


def ctc_greedy(labels: Sequence[T], blank: int = 0) -> CTCGreedy[T]:
    """A greedy decoder for the outputs of a network trained with the CTC loss, to be called with each frame as it arrives::

        decoder = rtrnn.ctc_greedy("_abc")          # class 0 is the blank
        for frame in frames:
            text += "".join(decoder(stream.step(frame)))

    The best class of every frame is taken, repeats are merged and blanks dropped: "aa_ab" is "aab". What was the last frame's class is kept
    from call to call, so the symbols do not depend on how the frames are split into calls. :meth:`CTCGreedy.reset` begins a new
    sequence. `labels` has one symbol per class, the blank's among them: a string, a list, or ``range(n)`` for the classes' indices;
    `blank` is the blank's index, -1 for the last class.

    "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with Recurrent Neural Networks", 2006, best path decoding.

    Raises TypeError for labels that are no sequence, ValueError for a blank that is not among them.
    """
    return CTCGreedy(labels, blank)
