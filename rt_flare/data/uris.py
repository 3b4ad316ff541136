"""From a manifest's uri to a file inside the shard, and to nothing outside it."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from rt_flare.data.storage_url import shown_url
from rt_flare.errors import DataError

__all__ = ["entry_name", "is_remote", "resolve_uri", "shown_uri"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def resolve_uri(uri: str, data_root: Path) -> Path:
    """Return the absolute path, links followed, that ``uri`` names inside ``data_root``.

    Plain paths are taken as they are; ``file:`` URIs (``file:a.png``, ``file://a.png``, ``file:///root/a.png``) are
    percent-decoded. Relative ones start at ``data_root``; absolute ones must lie inside it. Nothing says that the
    file exists.

    Raises:
        DataError: the path leads out of ``data_root`` (absolute, by ``..`` or through a link), or the scheme is
            another one.
    """
    location = _location(uri)
    try:
        root = data_root.resolve()
        path = (root / location).resolve()
    except (OSError, RuntimeError) as error:
        raise DataError(f"uri {shown_uri(uri)}: the path cannot be followed: {error}") from error
    if path == root or not path.is_relative_to(root):
        raise DataError(f"uri {shown_uri(uri)}: {_cause(location, root)}. Expected a file inside data_root {data_root}")
    return path


def entry_name(uri: str, data_root: PurePosixPath) -> str:
    """Return the name of the shard's entry that ``uri`` will name once the shard is unpacked as ``data_root``.

    Raises:
        DataError: as in `resolve_uri`, but for links, which no shard holds.
    """
    location = _location(uri)
    path = Path(os.path.normpath(data_root / location))
    if path == Path(data_root) or not path.is_relative_to(data_root):
        cause = _cause(location, Path(data_root))
        raise DataError(f"uri {shown_uri(uri)}: {cause}. Expected a file inside the shard, which is {data_root} there")
    return path.relative_to(data_root).as_posix()


def is_remote(uri: str) -> bool:
    """Whether ``uri`` is to be fetched."""
    return uri[:8].lower() == "https://"


def _location(uri: str) -> str:
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else ""
    if scheme == "https":
        raise DataError(f"uri {shown_uri(uri)}: found a remote file, expected one inside the shard")
    if scheme not in {"", "file"}:
        raise DataError(
            f"uri {shown_uri(uri)}: found the scheme {scheme!r}, expected a path, 'file://' or 'https://'. A file "
            f"whose name holds a ':' is written './name'."
        )
    location = unquote(uri[5:].removeprefix("//"), errors="surrogateescape") if scheme else uri
    if not location or "\0" in location:
        raise DataError(f"uri {shown_uri(uri)}: found no file name, expected a path inside the shard")
    return location


def _cause(location: str, root: Path) -> str:
    lexical = Path(os.path.normpath(root / location))
    if lexical == root:
        return "found data_root itself"
    if lexical.is_relative_to(root):
        return "found a link that leads out of data_root"
    if location.startswith("/"):
        return "found an absolute path outside data_root"
    return "found '..' that leads out of data_root"


def shown_uri(uri: str) -> str:
    """Return ``uri`` for a message: quoted, cut, and without user and query, which hold the secrets of an URL."""
    text = repr(shown_url(uri) if "://" in uri else uri)
    return text if len(text) <= 200 else f"{text[:197]}..."
