"""A log that grows, read from where the last confirmed piece ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["LogTail"]


class LogTail:
    """Reads a log piece by piece. A piece is handed out again until it is confirmed.

    Attributes:
        path: the log; it may not exist yet, and may be renamed away when it is full.
        offset: bytes before the present piece, counted from the log's first byte on, through all its files.
        refused: set when nobody wants more of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.refused = False
        self._file: BinaryIO | None = None
        self._piece = b""

    def piece(self, max_bytes: int) -> bytes:
        """What comes next; empty at the log's present end."""
        if not self._piece and not self.refused:
            self._piece = self._read(max_bytes)
        return self._piece

    def confirm(self) -> None:
        """Go on behind the present piece."""
        self.offset += len(self._piece)
        self._piece = b""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, max_bytes: int) -> bytes:
        if self._file is None:
            try:
                self._file = self.path.open("rb")
            except FileNotFoundError:
                return b""
        if data := self._file.read(max_bytes):
            return data
        # At the end of a log that has been renamed because it was full, the next one follows.
        if not self.path.exists() or os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
            return b""
        self.close()
        return self._read(max_bytes)
