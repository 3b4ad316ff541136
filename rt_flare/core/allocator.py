"""How the C library handles the memory of large tensors."""

from __future__ import annotations

import ctypes
from functools import cache

__all__ = ["keep_freed_memory"]

# Names and values of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_MMAP_THRESHOLD = 32 << 20
_NEVER = -1


@cache
def keep_freed_memory() -> bool:
    """Let this process use freed memory again instead of giving it back and asking for it anew.

    Every round allocates the same buffers. Fresh memory costs a page fault per 4 KiB, which takes five times as long
    as copying that much. Allocations of up to 32 MiB come from one heap that keeps its size; what is larger is mapped
    and unmapped as before.

    Returns:
        Whether the C library has such settings; glibc has.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_ARENA_MAX: 1, _M_MMAP_THRESHOLD: _LARGEST_MMAP_THRESHOLD, _M_TRIM_THRESHOLD: _NEVER}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
