"""Keras: `.keras` files, and whole models in `.h5` files (of Keras 2, or of Keras 3's older writer).

Read without Keras, and without running anything: the configuration is JSON, the weights are HDF5.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.errors import Error, FileFormatError, UnsupportedError
from rtrnn.importers.archive import check_archive, entry_names, read_entry
from rtrnn.importers.draft import Draft
from rtrnn.importers.finish import finish
from rtrnn.importers.states import says_state

if TYPE_CHECKING:
    from rtrnn.formats import LoadOptions
    from rtrnn.importers.hdf5 import Hdf5Group
    from rtrnn.importers.keras.config import Layer

__all__ = ["load_h5", "load_keras"]

_WEIGHTS = "model.weights.h5"
_EXPECTED_VERSION = "a version such as 3.5.0"


def load_keras(path: Path, options: LoadOptions) -> Draft:
    """A `.keras` file as a finished Draft; the loader of :data:`rtrnn.formats.FORMATS`.

    Raises :class:`FileFormatError`, :class:`UnsupportedError`, :class:`StateError`, :class:`MissingExtraError`.
    """
    from rtrnn.importers.hdf5 import open_hdf5
    from rtrnn.importers.keras.weights import bind_paths

    def read() -> Draft:
        check_archive(path)
        metadata = _json(read_entry(path, "metadata.json"), "metadata.json")
        version = metadata.get("keras_version") if isinstance(metadata, dict) else None
        names = entry_names(path)
        if _WEIGHTS not in names:
            others = ", ".join(name for name in names if name not in ("config.json", "metadata.json"))[:200] or "nothing"
            raise UnsupportedError(
                f"the archive has no {_WEIGHTS}, but {others}; expected the weights in one HDF5 file, as model.save() writes them"
            )
        model = _model(_json(read_entry(path, "config.json"), "config.json"))
        bind_paths(model, open_hdf5(read_entry(path, _WEIGHTS), f"{path}: {_WEIGHTS}"))
        return _build(model, version, "keras", options)

    return _named(path, read)


def load_h5(path: Path, options: LoadOptions) -> Draft:
    """A whole model in an `.h5` file as a finished Draft; the loader of :data:`rtrnn.formats.FORMATS`.

    Raises :class:`FileFormatError`, :class:`UnsupportedError`, :class:`StateError`, :class:`MissingExtraError`.
    """
    from rtrnn.importers.hdf5 import open_hdf5
    from rtrnn.importers.keras.weights import bind_legacy

    def read() -> Draft:
        root = open_hdf5(path)
        version = root.attributes.get("keras_version") or _weights_version(root)
        config = root.attributes.get("model_config")
        if not isinstance(config, (str, bytes)):
            raise FileFormatError(f"the attribute model_config is {repr(config)[:80]}; expected the model's configuration as JSON")
        model = _model(_json(config, "model_config"))
        bind_legacy(model, root)
        return _build(model, version, "keras-h5", options)

    return _named(path, read)


def _named(path: Path, read: Any) -> Draft:
    """What `read` gives; its errors name the file."""
    try:
        draft: Draft = read()
    except Error as error:
        raise error if str(error).startswith(str(path)) else type(error)(f"{path}: {error}") from error
    return draft


def _json(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{what} is not JSON: {error}") from None


def _weights_version(root: Hdf5Group) -> Any:
    if "model_weights" not in root.names:
        raise FileFormatError("the file has no model_weights; expected a model saved whole, with its weights")
    return root.group("model_weights").attributes.get("keras_version", "1")


def _model(document: Any) -> Layer:
    from rtrnn.importers.keras.config import model_layer
    from rtrnn.importers.keras.network import check_known

    model = model_layer(document)
    check_known(model)
    return model


def _build(model: Layer, version: Any, name: str, options: LoadOptions) -> Draft:
    from rtrnn.importers.builder import RebindAxis
    from rtrnn.importers.keras.network import ModelReading, check_ends, interface_of
    from rtrnn.importers.keras.weights import refuse_types

    number = re.match(r"(\d+)\.", version) if isinstance(version, str) else None
    if number is None and version != "1":
        raise FileFormatError(f"keras_version is {repr(version)[:80]}; expected {_EXPECTED_VERSION}")
    interface = interface_of(model)
    # Each round fixes one axis for good, so there are never more rounds than axes.
    for _ in range(1 + sum(len(sizes) for sizes in interface.sizes.values())):
        reading = ModelReading(model, interface, int(number[1]) if number else 1)
        try:
            reading.run()
        except RebindAxis as rebind:
            interface.rebound[rebind.axis] = rebind.size
            continue
        break
    else:
        raise UnsupportedError(f"no choice of time and batch axes fits the inputs {interface.sizes}")
    check_ends(reading)
    draft = reading.b.draft
    draft.warnings += [*refuse_types(model), *reading.notes, *_window_notes(reading.windows)]
    draft.metadata["source.format"] = name
    draft.metadata["source.producer"] = f"keras {version}"
    draft.metadata["source.name"] = model.name
    draft.metadata["source.outputs"] = json.dumps(list(reading.output_shapes))
    if reading.last_only:
        # Layers whose output is that of the last timestep; a stream gives it for each, as if the sequence ended there.
        draft.metadata["keras.last_timestep_only"] = ",".join(dict.fromkeys(reading.last_only))
    # What is an initial state, the file says; any other input is data (as the first one is) unless its name says that it is a state.
    data = {name: None for name in list(draft.inputs)[1:] if name not in reading.state_inputs and not says_state(name)}
    finish(
        draft,
        states={**data, **(options.states or {})},
        input_shapes=reading.input_shapes,
        output_shapes=reading.output_shapes,
        initial_states=options.initial_states,
    )
    return draft


def _window_notes(windows: list[tuple[str, int]]) -> list[str]:
    """The file's network forgets after each window, a stream does not."""
    if not windows:
        return []
    names = ", ".join(dict.fromkeys(repr(name) for name, _ in windows))
    lengths = sorted({frames for _, frames in windows})
    count = f"{lengths[0]} timestep{'s' if lengths[0] > 1 else ''}" if len(lengths) == 1 else f"{lengths} timesteps"
    return [
        f"the file takes sequences of {count}, and its layers {names} begin each with a state of zeros; the stream carries their "
        "state on. Call reset() before each sequence for what the file computes"
    ]
