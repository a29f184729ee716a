"""The file formats that rtrnn loads: how each is recognised by its content, who reads it, what may be said about it.

One list, :data:`FORMATS`, feeds :func:`rtrnn.load`, ``rtrnn info`` and the table in docs/formats.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.errors import Error, FileFormatError, MissingExtraError, UnsupportedError
from rtrnn.importers.archive import check_archive, entry_names

if TYPE_CHECKING:
    from rtrnn._core import Graph
    from rtrnn.importers.draft import Draft

__all__ = ["FORMATS", "Format", "LoadOptions", "Probe", "recognise"]

_HEAD_BYTES = 4096
_MAX_JSON_BYTES = 256 << 20
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: How a pickled PyTorch file from before the zip container (PyTorch 1.6) begins: its magic number.
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass(frozen=True)
class LoadOptions:
    """The keywords of :func:`rtrnn.load`; None where the caller said nothing."""

    states: Mapping[str, str | None] | None = None
    initial_states: Mapping[str, Any] | None = None
    example: Any = None
    gru_reset: str | None = None
    input_shapes: Mapping[str, Sequence[int]] | None = None
    step_axes: Mapping[str, Sequence[int]] | None = None
    activation: str | None = None
    normalizer: Any = None

    def given(self) -> list[str]:
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]


class Probe:
    """The content of a file as far as recognition needs it; each look is taken once and has a bound."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = os.path.getsize(path)
        with path.open("rb") as file:
            self.head = file.read(_HEAD_BYTES)

    @property
    def is_zip(self) -> bool:
        return self.head[:4] in (b"PK\x03\x04", b"PK\x05\x06")

    @cached_property
    def entries(self) -> frozenset[str]:
        """The names in a zip archive; none for any other file. Raises :class:`FileFormatError` for a damaged one."""
        if not self.is_zip:
            return frozenset()
        check_archive(self.path)
        return frozenset(entry_names(self.path))

    @cached_property
    def below_top(self) -> frozenset[str]:
        """The names in a zip archive without their first folder, as PyTorch writes them."""
        return frozenset(name.split("/", 1)[1] for name in self.entries if "/" in name)

    @property
    def is_hdf5(self) -> bool:
        return self.head.startswith(_HDF5_SIGNATURE)

    @cached_property
    def hdf5_attributes(self) -> Mapping[str, Any]:
        """The attributes and the names (with a trailing slash for groups) of an HDF5 file's root."""
        if not self.is_hdf5:
            return {}
        from rtrnn.importers.hdf5 import root_of

        return root_of(self.path)

    @cached_property
    def document(self) -> Any:
        """A JSON file's content; None for any other file. Raises :class:`FileFormatError` for a damaged one."""
        if self.head.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] != b"{":
            return None
        if self.size > _MAX_JSON_BYTES:
            raise FileFormatError(f"{self.path}: a JSON file of {self.size} bytes; expected at most {_MAX_JSON_BYTES}")
        try:
            return json.loads(self.path.read_bytes().decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{self.path}: begins like JSON, but is damaged: {error}") from None

    def has_keys(self, *keys: str) -> bool:
        return isinstance(self.document, dict) and all(key in self.document for key in keys)


@dataclass(frozen=True)
class Format:
    """One file format. `loader` is "module:function", called with (path, options); it returns a finished Draft."""

    name: str
    title: str
    recognise: Callable[[Probe], bool]
    loader: str
    options: frozenset[str] = frozenset()

    def load(self, path: Path, options: LoadOptions) -> tuple[Graph, list[str]]:
        """The file as a Graph, and what the importer noticed; every error names the file and the format."""
        module, _, function = self.loader.partition(":")
        try:
            draft: Draft = getattr(import_module(module), function)(path, options)
            draft.metadata.setdefault("source.format", self.name)
            return draft.build(), draft.warnings
        except MemoryError:
            raise UnsupportedError(f"{path}: {self.title}: the file needs more memory than there is") from None
        except MissingExtraError:
            raise
        except Error as error:
            raise type(error)(self._named(path, str(error))) from error

    def _named(self, path: Path, message: str) -> str:
        """`message` with the file and its format in front, once."""
        for prefix in (f"{path}: ", f"{self.title}: "):
            message = message.removeprefix(prefix)
        return f"{path}: {self.title}: {message}"


def _is_rtrnn(probe: Probe) -> bool:
    return _is_safetensors(probe) and b'"rtrnn.graph"' in _safetensors_header(probe)


def _is_safetensors(probe: Probe) -> bool:
    head = probe.head
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 << 20


def _safetensors_header(probe: Probe) -> bytes:
    length = int.from_bytes(probe.head[:8], "little")
    with probe.path.open("rb") as file:
        file.seek(8)
        return file.read(length)


def _is_onnx(probe: Probe) -> bool:
    # A ModelProto is a sequence of protobuf fields; exporters write ir_version (field 1, varint) first.
    return probe.head[:1] == b"\x08" and len(probe.head) > 2


def _is_torchscript(probe: Probe) -> bool:
    return "constants.pkl" in probe.below_top and any(name.startswith("code/") for name in probe.below_top)


def _is_torch_export(probe: Probe) -> bool:
    below = probe.below_top
    compiled = any(name.startswith("data/aotinductor/") for name in below)
    return "models/model.json" in below or "serialized_exported_program.json" in probe.entries | below or compiled


def _is_torch_checkpoint(probe: Probe) -> bool:
    return "data.pkl" in probe.below_top or probe.head.startswith(_LEGACY_TORCH)


def _is_layer_json(probe: Probe) -> bool:
    return probe.has_keys("layers")


def _is_state_dict_json(probe: Probe) -> bool:
    document = probe.document
    return isinstance(document, dict) and bool(document) and all(isinstance(v, list) for v in document.values())


_PAIRS = frozenset({"states", "initial_states"})
_CHECKPOINT = frozenset({"activation", "normalizer", "initial_states"})

#: The first format that recognises a file reads it.
FORMATS: tuple[Format, ...] = (
    Format("rtrnn", ".rtrnn", _is_rtrnn, ""),
    Format(
        "safetensors",
        "safetensors state dict",
        _is_safetensors,
        "rtrnn.importers.checkpoint:load_safetensors",
        _CHECKPOINT,
    ),
    Format(
        "onnx",
        "ONNX",
        _is_onnx,
        "rtrnn.importers.onnx:load",
        _PAIRS | {"gru_reset", "input_shapes", "step_axes"},
    ),
    Format("torchscript", "TorchScript", _is_torchscript, "rtrnn.importers.torch:load_script", _PAIRS | {"example"}),
    Format("torch.export", "torch.export .pt2", _is_torch_export, "rtrnn.importers.torch:load_program", _PAIRS),
    Format(
        "sb3",
        "Stable-Baselines3 .zip",
        lambda probe: "policy.pth" in probe.entries,
        "rtrnn.importers.checkpoint:load_sb3",
        _CHECKPOINT,
    ),
    Format(
        "checkpoint",
        "PyTorch checkpoint",
        _is_torch_checkpoint,
        "rtrnn.importers.checkpoint:load_checkpoint",
        _CHECKPOINT,
    ),
    Format(
        "keras", "Keras 3 .keras", lambda probe: {"config.json", "metadata.json"} <= probe.entries,
        "rtrnn.importers.keras:load_keras",
        _PAIRS,
    ),
    Format(
        "keras-h5",
        "Keras .h5",
        lambda probe: "model_config" in probe.hdf5_attributes,
        "rtrnn.importers.keras:load_h5",
        _PAIRS,
    ),
    Format(
        "rltools",
        "RLtools HDF5",
        lambda probe: "actor/" in probe.hdf5_attributes or "type" in probe.hdf5_attributes,
        "rtrnn.importers.rltools:load",
        frozenset({"initial_states"}),
    ),
    Format(
        "nam",
        "Neural Amp Modeler .nam",
        lambda probe: probe.has_keys("architecture", "config", "weights"),
        "rtrnn.importers.nam:load",
        frozenset({"initial_states"}),
    ),
    Format(
        "guitarml",
        "GuitarML JSON",
        lambda probe: probe.has_keys("model_data"),
        "rtrnn.importers.guitarml:load",
        frozenset({"initial_states"}),
    ),
    Format("rtneural", "RTNeural JSON", _is_layer_json, "rtrnn.importers.rtneural:load", frozenset({"initial_states"})),
    Format(
        "state-dict-json",
        "state dict as JSON",
        _is_state_dict_json,
        "rtrnn.importers.checkpoint:load_json",
        _CHECKPOINT,
    ),
)


def recognise(path: Path) -> Format:
    """The format of the file at `path`, by its content.

    Raises FileNotFoundError and other OSErrors, :class:`FileFormatError` for a file of no known format,
    :class:`UnsupportedError` for weights alone.
    """
    probe = Probe(path)
    known = ", ".join(f.title for f in FORMATS)
    if not probe.head:
        raise FileFormatError(f"{path}: the file is empty; expected one of {known}")
    found = next((f for f in FORMATS if f.recognise(probe)), None)
    if found is None and (probe.hdf5_attributes.keys() & {"layers/", "layer_names", "_layer_checkpoint_dependencies/"}):
        raise UnsupportedError(
            f"{path}: the weights of a Keras model without its layers; expected the whole model, as model.save('model.keras') writes it"
        )
    if found is None:
        kind = "a zip archive" if probe.is_zip else "an HDF5 file" if probe.is_hdf5 else "a JSON file" if probe.document else ""
        what = f"{kind} of a kind that rtrnn does not know" if kind else "not a format that rtrnn knows"
        raise FileFormatError(f"{path}: {what}; expected one of {known}")
    return found
