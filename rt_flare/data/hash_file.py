"""The SHA-256 of a file in a storage, kept beside it as ``{name}.sha256`` in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import re

from rt_flare.data.storage import StorageError, open_storage, storage_errors
from rt_flare.data.storage_url import shown_url

__all__ = ["HASH_SUFFIX", "hash_line", "read_hash"]

HASH_SUFFIX = ".sha256"
_LINE = re.compile(rb"([0-9a-f]{64}) [ *]([^\r\n]*)\r?\n?")
_MAX_BYTES = 4096


def read_hash(url: str) -> str | None:
    """Return the hash that stands beside the file ``url``; None if there is none.

    Raises:
        StorageError: the storage refuses, or what stands there is no hash of this file.
    """
    file_system, path = open_storage(url + HASH_SUFFIX)
    with storage_errors(url, "read the hash of"):
        try:
            content = bytes(file_system.cat_file(path, start=0, end=_MAX_BYTES))
        except FileNotFoundError:
            return None
    found = _LINE.fullmatch(content)
    name = url.rpartition("/")[2]
    if not found or found[2] != name.encode():
        raise StorageError(
            f"{shown_url(url)}{HASH_SUFFIX}: found no SHA-256 of {name}. Upload the shard again, or delete this file."
        )
    return found[1].decode()


def hash_line(name: str, sha256: str) -> bytes:
    """Return the contents of the file beside ``name``."""
    return f"{sha256}  {name}\n".encode()
