"""Segments of a file that is being fetched, kept on disk with a map of those that are there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rt_flare.data.range_source import RemoteFile

__all__ = ["SegmentFile", "map_path"]

_DONE = 1
_HEADER_BYTES = 32


def map_path(path: Path) -> Path:
    """Return the file beside ``path`` that records which of its segments are there."""
    return path.with_name(f"{path.name}.map")


class SegmentFile:
    """The file ``path``, with holes; emptied when opened for another file than last time.

    Args:
        path: the file; made if missing.
        remote: the file that it is part of.
        place: where that file is.
        segment_bytes: size of a segment.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, remote: RemoteFile, place: str, segment_bytes: int) -> None:
        self._segment_bytes = segment_bytes
        about = f"{place}\n{remote.size}\n{remote.version}\n{segment_bytes}"
        header = hashlib.sha256(about.encode()).digest()
        num_segments = -(-remote.size // segment_bytes)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._map = os.open(map_path(path), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            os.close(self._file)
            raise
        # Without a version nothing tells whether the rest belongs to what is there.
        same = remote.version and os.pread(self._map, _HEADER_BYTES, 0) == header
        if not same or os.fstat(self._file).st_size != remote.size:
            os.ftruncate(self._map, 0)
            os.ftruncate(self._file, 0)
            os.ftruncate(self._file, remote.size)
            os.ftruncate(self._map, _HEADER_BYTES + num_segments)
            os.pwrite(self._map, header, 0)
        self._state = bytearray(os.pread(self._map, num_segments, _HEADER_BYTES))

    def __contains__(self, number: int) -> bool:
        return self._state[number] == _DONE

    def missing(self) -> list[int]:
        """Return the numbers of the segments that are not there."""
        return [number for number, state in enumerate(self._state) if state != _DONE]

    def read(self, number: int, start: int, stop: int) -> bytes:
        """Return bytes ``start`` to ``stop`` of a segment that is there."""
        return os.pread(self._file, stop - start, number * self._segment_bytes + start)

    def write(self, number: int, start: int, content: memoryview) -> None:
        """Write a part of a segment.

        Raises:
            OSError: the disk is full or refuses.
        """
        position = number * self._segment_bytes + start
        # A disk that fills up takes a part first and refuses the rest.
        while content:
            count = os.pwrite(self._file, content, position)
            content, position = content[count:], position + count

    def mark(self, number: int) -> None:
        """Note that all of a segment has been written."""
        os.pwrite(self._map, bytes([_DONE]), _HEADER_BYTES + number)
        self._state[number] = _DONE

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        os.close(self._map)
