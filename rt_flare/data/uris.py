"""From a manifest's uri to a file inside the shard, and to nothing outside it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from rt_flare.errors import DataError

__all__ = ["resolve_uri", "shown_uri"]

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
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else ""
    if scheme == "https":
        raise DataError(
            f"uri {shown_uri(uri)}: remote images are not fetched yet. Pack the files into the shard and give paths "
            f"relative to its root, such as 'file://images/a.png'."
        )
    if scheme not in {"", "file"}:
        raise DataError(
            f"uri {shown_uri(uri)}: found the scheme {scheme!r}, expected a path or 'file://'. A file whose name holds "
            f"a ':' is written './name'."
        )
    location = unquote(uri[5:].removeprefix("//"), errors="surrogateescape") if scheme else uri
    if not location or "\0" in location:
        raise DataError(f"uri {shown_uri(uri)}: found no file name, expected a path inside the shard")
    try:
        root = data_root.resolve()
        path = (root / location).resolve()
    except (OSError, RuntimeError) as error:
        raise DataError(f"uri {shown_uri(uri)}: the path cannot be followed: {error}") from error
    if path == root or not path.is_relative_to(root):
        raise DataError(f"uri {shown_uri(uri)}: {_cause(location, root)}. Expected a file inside data_root {data_root}")
    return path


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
    """Return ``uri`` for a message: quoted, cut, and without the query, which holds the secret of a signed URL."""
    text = repr(uri.partition("?")[0] if "://" in uri else uri)
    return text if len(text) <= 200 else f"{text[:197]}..."
