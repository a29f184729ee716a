from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from rtrnn._stream import Stream
from rtrnn.loop import Action, LoopStats
from rtrnn.model import Model

_Values = npt.ArrayLike | Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike]

def histogram_bounds_ns() -> npt.NDArray[np.int64]: ...

class Loop:
    def __init__(
        self,
        source: Model | Stream,
        rate: float = 1000.0,
        *,
        deadline: float | None = None,
        lead: float = 0.0,
        stale_after: float | None = None,
        watchdog: _Values | None = None,
        priority: int = 0,
        cpu: int | None = None,
        lock_memory: bool = False,
        **stream_options: Any,
    ) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def __enter__(self) -> Loop: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def observe(self, x: _Values) -> None: ...
    def action(self) -> Action | None: ...
    def reset(self) -> None: ...
    def stats(self) -> LoopStats: ...
    @property
    def period(self) -> float: ...
    @property
    def running(self) -> bool: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
