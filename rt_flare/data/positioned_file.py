"""Files that are read at any position, and that zipfile can read too."""

from __future__ import annotations

import io
import os
from abc import abstractmethod
from pathlib import Path

__all__ = ["LocalFile", "PositionedFile"]


class PositionedFile(io.RawIOBase):
    """A read-only file of ``size`` bytes.

    Args:
        size: bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self._position = 0

    @abstractmethod
    def read_at(self, position: int, size: int) -> bytes | memoryview:
        """Return ``size`` bytes from ``position`` on, or fewer at the end of the file; valid until the next call.

        Calls go from the start of the file to its end: what lies before ``position`` may be forgotten.
        """

    @abstractmethod
    def peek_at(self, position: int, size: int) -> bytes:
        """Return the same bytes, for good, from anywhere in the file."""

    def skip_to_end(self) -> None:
        """Say that nothing more is read by `read_at`."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next `read`."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position of the next `read`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return the next ``size`` bytes, or fewer at the end of the file."""
        content = self.peek_at(self._position, self.size if size is None or size < 0 else size)
        self._position += len(content)
        return content


class LocalFile(PositionedFile):
    """A file on disk."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        super().__init__(os.fstat(self._descriptor).st_size)

    def read_at(self, position: int, size: int) -> bytes:
        """Return ``size`` bytes from ``position`` on, or fewer at the end of the file."""
        return os.pread(self._descriptor, max(0, min(size, self.size - position)), position)

    def peek_at(self, position: int, size: int) -> bytes:
        """Return the same bytes."""
        return self.read_at(position, size)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()
