"""Read a file that may still be written: every read waits for its bytes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["FollowingFile"]


class FollowingFile(io.RawIOBase):
    """A read-only view of ``path``, which has its final size from the start.

    Args:
        path: the file.
        wait: called with start and stop before these bytes are read; returns once they are there. By default, all are.
    """

    def __init__(self, path: Path, wait: Callable[[int, int], None] = lambda start, stop: None) -> None:
        super().__init__()
        self._descriptor = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._descriptor).st_size
        self._wait = wait
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; nothing is waited for."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, or fewer at the end of the file."""
        content = self.read_at(self._position, self._size if size is None or size < 0 else size)
        self._position += len(content)
        return content

    def read_at(self, position: int, size: int) -> bytes:
        """Return ``size`` bytes from ``position`` on, or fewer at the end of the file; leaves the position alone."""
        count = max(0, min(size, self._size - position))
        self._wait(position, position + count)
        return os.pread(self._descriptor, count, position)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()
