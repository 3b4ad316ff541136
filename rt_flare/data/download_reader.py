"""A file that is still being downloaded, for one reader."""

from __future__ import annotations

from typing import Protocol

from rt_flare.data.positioned_file import PositionedFile

__all__ = ["DownloadReader", "Segments"]


class Segments(Protocol):
    """What a reader needs of a download."""

    segment_bytes: int

    def wait(self, needed: range, *, urgent: bool = False) -> None:
        """Return once these segments can be viewed."""

    def view(self, number: int, start: int, stop: int) -> bytes | memoryview:
        """Return bytes ``start`` to ``stop`` of a segment."""

    def release(self) -> None:
        """Forget segments that no reader needs any more."""


class DownloadReader(PositionedFile):
    """Reads a download.

    Attributes:
        low: what lies before is not needed any more.
    """

    def __init__(self, download: Segments, size: int) -> None:
        super().__init__(size)
        self._download = download
        self.low = 0

    def read_at(self, position: int, size: int) -> bytes | memoryview:
        """Return ``size`` bytes from ``position`` on, or fewer at the end of the file; valid until the next call."""
        if position < self.low - self.low % self._download.segment_bytes:
            raise RuntimeError(f"read at {position}, behind {self.low}: what lies there is forgotten")
        self._pass(position)
        pieces: list[bytes | memoryview] = []
        needed = self._needed(position, size)
        for number in needed:
            self._download.wait(range(number, number + 1))
            piece = self._view(number, position, size)
            pieces.append(piece if len(needed) == 1 else bytes(piece))
            # One at a time: a read may be larger than the memory for segments.
            self._pass(number * self._download.segment_bytes)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def peek_at(self, position: int, size: int) -> bytes:
        """Return the same bytes from anywhere in the file."""
        needed = self._needed(position, size)
        self._download.wait(needed, urgent=True)
        return b"".join(self._view(number, position, size) for number in needed)

    def skip_to_end(self) -> None:
        """Need nothing any more."""
        self._pass(self.size)

    def close(self) -> None:
        """Need nothing any more."""
        self.skip_to_end()
        super().close()

    def _needed(self, position: int, size: int) -> range:
        stop = min(position + size, self.size)
        length = self._download.segment_bytes
        return range(position // length, -(-stop // length)) if stop > position else range(0)

    def _view(self, number: int, position: int, size: int) -> bytes | memoryview:
        length = self._download.segment_bytes
        stop = min(position + size, self.size) - number * length
        return self._download.view(number, max(0, position - number * length), min(length, stop))

    def _pass(self, position: int) -> None:
        if position > self.low:
            length = self._download.segment_bytes
            passed = position // length > self.low // length or position >= self.size
            self.low = position
            if passed:
                self._download.release()
