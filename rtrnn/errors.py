"""The errors rtrnn raises. All derive from :class:`Error`; each message says what was expected and found."""

from __future__ import annotations

__all__ = [
    "BusyError",
    "Error",
    "FileFormatError",
    "GraphError",
    "MissingExtraError",
    "ModelWarning",
    "NonFiniteError",
    "StateError",
    "UnsupportedError",
]


class Error(Exception):
    """Base class of every error of this package."""


class BusyError(Error, RuntimeError):
    """Another thread is using the Stream or Batch; nothing was done."""


class FileFormatError(Error, ValueError):
    """A file is not what it claims to be: truncated, corrupt, or of no known format."""


class GraphError(Error, ValueError):
    """A Graph breaks a rule: an unknown name, a shape that does not fit, a missing attribute."""


class UnsupportedError(Error, ValueError):
    """The file or request is understood but outside what rtrnn can run; names the operation and the node."""


class StateError(Error, ValueError):
    """State inputs and outputs of a foreign file cannot be matched, or a state does not belong to this Stream."""


class NonFiniteError(Error, ValueError):
    """A NaN or an infinity was met; the Stream's state is as it was before the call."""


class MissingExtraError(Error, ImportError):
    """An optional dependency is not installed; the message is the command that installs it."""


class ModelWarning(UserWarning):
    """A loaded network may not be what its author trained: what was noticed, and what to do about it."""
