"""Zip archives from files that nobody has checked: names, sizes and checksums before anything else reads them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from rtrnn.errors import FileFormatError

__all__ = ["check_archive", "entry_names", "read_entry"]

#: What an archive may unpack to: this much, or this many times its own size. Weights hardly compress.
_MAX_UNPACKED = 64 << 20
_MAX_RATIO = 20
_MAX_ENTRIES = 100_000
_CHUNK = 1 << 20


def entry_names(path: Path) -> list[str]:
    with _open(path) as archive:
        return archive.namelist()


def check_archive(path: Path) -> None:
    """Every entry within bounds and with the checksum that the archive states.

    What a C++ reader does with a damaged archive is its own affair; it is not given one. Raises
    :class:`FileFormatError`.
    """
    with _open(path) as archive:
        entries = archive.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise FileFormatError(f"{path}: a zip archive of {len(entries)} entries; expected at most {_MAX_ENTRIES}")
        total = sum(entry.file_size for entry in entries)
        allowed = max(_MAX_UNPACKED, _MAX_RATIO * path.stat().st_size)
        if total > allowed:
            raise FileFormatError(f"{path}: a zip archive that unpacks to {total} bytes; expected at most {allowed}")
        for entry in entries:
            try:
                with archive.open(entry) as stream:
                    read = 0
                    while chunk := stream.read(_CHUNK):
                        read += len(chunk)
                        if read > entry.file_size:
                            raise FileFormatError(f"{path}: entry {entry.filename!r} is longer than the archive says")
            except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
                raise FileFormatError(f"{path}: entry {entry.filename!r} of the zip archive is damaged: {error}") from None
            except Exception as error:  # the decompressors' own errors
                raise FileFormatError(f"{path}: entry {entry.filename!r} cannot be unpacked: {error}") from None


def read_entry(path: Path, name: str) -> bytes:
    """One entry of an archive that :func:`check_archive` has passed."""
    with _open(path) as archive:
        try:
            return archive.read(name)
        except KeyError:
            raise FileFormatError(f"{path}: the archive has no entry {name!r}") from None


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise FileFormatError(f"{path}: a damaged zip archive ({error})") from None
