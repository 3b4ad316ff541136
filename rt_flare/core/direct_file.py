"""Large files written past the page cache, which they would only push other things out of."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import BinaryIO

__all__ = ["DirectWriter"]

_BUFFER_BYTES = 4 << 20


class DirectWriter:
    """Appends to an empty file in large aligned pieces, directly where the file system can do that.

    A page of the cache costs as much processor time as ten copies of it. What `finish` has not yet written is lost;
    `os.fsync` makes the file durable as it does any other.

    Args:
        file: an open, empty file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()
        self._buffer = mmap.mmap(-1, _BUFFER_BYTES)
        self._used = 0
        self._set_direct(True)

    def write(self, content: bytes | memoryview) -> int:
        """Append ``content``; raises `OSError` as any file does."""
        view = memoryview(content).cast("B")
        size = len(view)
        while view:
            part = view[: _BUFFER_BYTES - self._used]
            self._buffer[self._used : self._used + len(part)] = part
            self._used += len(part)
            view = view[len(part) :]
            if self._used == _BUFFER_BYTES:
                self._empty_buffer()
        return size

    def finish(self) -> None:
        """Write what is left, which is not aligned."""
        self._set_direct(False)
        self._empty_buffer()

    def _empty_buffer(self) -> None:
        with memoryview(self._buffer) as view:
            written = 0
            while written < self._used:
                written += os.write(self._descriptor, view[written : self._used])
        self._used = 0

    def _set_direct(self, direct: bool) -> None:
        flag: int = getattr(os, "O_DIRECT", 0)
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | flag if direct else flags & ~flag)
        except OSError as error:
            # A file system in memory has no such writes, and needs none.
            if error.errno != errno.EINVAL:
                raise
