"""One pass over a manifest of any size: entries and problems as they come, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from rt_flare.data.manifest_line import MAX_LINE_BYTES, ManifestEntry, ManifestProblem, parse_line, repeated_id
from rt_flare.data.unique_ids import UniqueIds

__all__ = ["ManifestScan"]

_BOM = b"\xef\xbb\xbf"


class ManifestScan:
    """Reads a manifest line by line; ids that come twice are told at the end.

    Args:
        open_file: opens the manifest at its start; called a second time only to look up ids that come twice.
        max_repeated: how many ids that come twice are told; the others are counted.

    Attributes:
        offset: where the line of the latest item starts, in bytes.
        position: bytes read.
        num_more: ids that come twice beyond ``max_repeated``, known at the end.
    """

    def __init__(self, open_file: Callable[[], BinaryIO], max_repeated: int = 1000) -> None:
        self.offset = 0
        self.position = 0
        self.num_more = 0
        self._open = open_file
        self._max_repeated = max_repeated

    def __iter__(self) -> Iterator[ManifestEntry | ManifestProblem]:
        """Yield each line's entry or its problems; then the problems of the whole file."""
        ids = UniqueIds()
        number = 0
        for number, raw in self._lines():
            if len(raw) > MAX_LINE_BYTES:
                yield ManifestProblem(number, "line", "an over-long line", f"at most {MAX_LINE_BYTES} bytes")
                continue
            if number == 1 and raw.startswith(_BOM):
                yield ManifestProblem(1, "line", "a byte order mark", "UTF-8 without one (in Python: encoding='utf-8')")
                raw = raw.removeprefix(_BOM)
            problems, entry = parse_line(raw, number)
            yield from problems
            if entry is not None:
                ids.add(entry.id, number)
                yield entry
        if number == 0:
            yield ManifestProblem(1, "file", "an empty file", "at least one line")
        yield from self._repeated(ids)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and bytes of each line; of an over-long one, the first part."""
        self.position = number = 0
        with self._open() as file:
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                self.offset = self.position
                self.position += len(raw)
                yield number, raw
                while not raw.endswith(b"\n") and (raw := file.readline(MAX_LINE_BYTES)):
                    self.position += len(raw)

    def _repeated(self, ids: UniqueIds) -> Iterator[ManifestProblem]:
        pairs, total = ids.repeated(self._max_repeated)
        if not pairs:
            return
        wanted = {line for pair in pairs for line in pair}
        texts: dict[int, str] = {}
        for number, raw in self._lines():
            if number in wanted:
                entry = parse_line(raw.removeprefix(_BOM) if number == 1 else raw, number)[1]
                texts[number] = entry.id if entry is not None else ""
        for first, line in pairs:
            if texts[first] == texts[line]:
                yield repeated_id(texts[line], line, first)
        self.num_more = total - len(pairs)
