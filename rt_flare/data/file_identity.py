"""Whether a file is still the one that was read, from its status alone."""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["FileIdentity", "identify", "is_settled"]

_TICK_NS = 20_000_000
_COARSE_TICK_NS = 2_000_000_000


class FileIdentity(NamedTuple):
    """Changes whenever a file is written, replaced, or has its times set: the kernel alone sets ``ctime_ns``."""

    size: int
    mtime_ns: int
    ctime_ns: int


def identify(status: os.stat_result) -> FileIdentity:
    """Return the identity of the file with this status."""
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def is_settled(identity: FileIdentity, read_at_ns: int) -> bool:
    """Say whether a write after ``read_at_ns`` (`time.time_ns`) must show in the identity.

    A file that is read within one tick of the file system's clock after its last write may be written once more in
    the same tick, and keep its identity. Times in whole seconds are taken for a coarse clock.
    """
    coarse = identity.mtime_ns % 1_000_000_000 == 0 and identity.ctime_ns % 1_000_000_000 == 0
    return read_at_ns - max(identity.mtime_ns, identity.ctime_ns) > (_COARSE_TICK_NS if coarse else _TICK_NS)
