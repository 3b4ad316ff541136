"""Files that are mapped into memory: a sealed header that says what they are, then arrays."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["HEADER_BYTES", "map_file", "pack_header", "read_header"]

HEADER_BYTES = 4096
_MAGIC = b"rt_flare mapped file\n"
_DIGEST_BYTES = 32


def pack_header(document: Mapping[str, Any]) -> bytes:
    """Return `HEADER_BYTES` bytes: a magic line, the SHA-256 of what follows, and ``document`` as JSON.

    Raises:
        ValueError: ``document`` is too large.
    """
    text = json.dumps({"byteorder": sys.byteorder, **document}, sort_keys=True).encode()
    body = text.ljust(HEADER_BYTES - len(_MAGIC) - _DIGEST_BYTES)
    header = _MAGIC + hashlib.sha256(body).digest() + body
    if len(header) != HEADER_BYTES:
        raise ValueError(f"header of a mapped file: found {len(text)} bytes of JSON, expected fewer")
    return header


def read_header(descriptor: int) -> dict[str, Any] | None:
    """Return the document of the open file's header, or None if it has no whole one of this kind of machine."""
    header = os.pread(descriptor, HEADER_BYTES, 0)
    digest, body = header[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES], header[len(_MAGIC) + _DIGEST_BYTES :]
    if not header.startswith(_MAGIC) or len(header) != HEADER_BYTES or hashlib.sha256(body).digest() != digest:
        return None
    document: dict[str, Any] = json.loads(body)
    return document if document.pop("byteorder", None) == sys.byteorder else None


def map_file(descriptor: int) -> mmap.mmap:
    """Map the whole open file, to read; what other processes write to it shows."""
    return mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
