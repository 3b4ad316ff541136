"""Files that are whole at every instant: written beside their name, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

__all__ = [
    "as_utf8",
    "flush_folder",
    "json_bytes",
    "link_file",
    "link_or_copy",
    "read_document",
    "read_json",
    "to_strict_json",
    "write_atomic",
    "write_bytes",
    "write_json",
]

_MAX_JSON_BYTES = 1 << 30
_COPY_BYTES = 1 << 20


def write_atomic(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Create or replace ``path`` with what ``write`` puts into the file object that it is given.

    The bytes go to a temporary file in the same folder, are flushed to disk and renamed over ``path``; then the
    folder itself is flushed. A reader, or a crash at any point, sees the old file or the new one, never a part.

    Raises:
        OSError: the file cannot be written; ``path`` is as it was, and the temporary file is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    flush_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Create or replace ``path`` with ``content``, atomically and durably (see `write_atomic`)."""

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_atomic(path, write)


def link_file(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, replacing it atomically; copies where links are not possible.

    Neither may be written to afterwards, only replaced.

    Raises:
        OSError: ``source`` cannot be read, or ``target`` not be made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        temporary = Path(folder) / target.name
        try:
            os.link(source, temporary)
        except OSError:
            with source.open("rb") as file:
                write_atomic(target, lambda out: shutil.copyfileobj(file, out, _COPY_BYTES))
            return
        temporary.replace(target)
    flush_folder(target.parent)


def link_or_copy(source: str, target: str) -> str:
    """Make ``target``, which does not exist, the same file as ``source``, or a copy; for `shutil.copytree`."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Create or replace ``path`` with ``document`` as `json_bytes`."""
    write_bytes(path, json_bytes(document))


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """Return ``document`` as strict, indented UTF-8 JSON (see `to_strict_json`)."""
    return orjson.dumps(to_strict_json(document), option=orjson.OPT_INDENT_2) + b"\n"


def read_json(path: Path) -> Any:
    """Read a JSON file of at most 1 GiB.

    Raises:
        ValueError: the file is larger, or no JSON; the message names the file.
    """
    size = path.stat().st_size
    if size > _MAX_JSON_BYTES:
        raise ValueError(f"{path}: {size} bytes, expected at most {_MAX_JSON_BYTES}")
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error


def read_document(path: Path, schema: str) -> dict[str, Any]:
    """Read a JSON object that says in ``schema`` what it is, and return the rest of it.

    Raises:
        ValueError: it is another kind of document, or see `read_json`; OSError: the file cannot be read.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.pop("schema", None) != schema:
        raise ValueError(f"{path}: not a {schema} document")
    return document


def to_strict_json(value: Any) -> Any:
    """Return ``value`` with every float that JSON lacks as its name: ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.

    Those are the names that the JSON mapping of Protocol Buffers uses, so nothing is lost and any JSON parser
    reads the file. Mappings and sequences are converted throughout; keys must be strings. Text passes `as_utf8`.

    Raises:
        TypeError: a value that JSON has no form for.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)  # numpy's float64 is a float that orjson does not know
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"JSON keys must be str, found {key!r}")
        return {as_utf8(key): to_strict_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_strict_json(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r}")


def as_utf8(text: str) -> str:
    """Return ``text`` with a question mark for every lone surrogate, as in names of files that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def flush_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable: what was renamed or linked there survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
