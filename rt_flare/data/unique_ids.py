"""Find ids that come twice among millions, in 16 bytes each."""

from __future__ import annotations

from array import array

import numpy as np

__all__ = ["UniqueIds"]


class UniqueIds:
    """Collects ids by hash and says which lines may hold one that came before; the caller compares the ids."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._lines = array("q")

    def add(self, text: str, line: int) -> None:
        """Note that ``text`` stands in ``line``; lines come in ascending order."""
        self._hashes.append(hash(text))
        self._lines.append(line)

    def repeated(self, limit: int) -> tuple[list[tuple[int, int]], int]:
        """Return the first ``limit`` lines whose id came before, and the number of all such lines.

        Each is a pair (line that had the id first, line), in the order of the second. Two ids of one hash are so rare
        (1 in a million manifests of 5 million lines) that only the pairs need to be checked.
        """
        hashes, lines = np.asarray(self._hashes), np.asarray(self._lines)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
        places = np.sort(order[again])[:limit]
        firsts = order[np.searchsorted(ordered, hashes[places])]
        return list(zip(lines[firsts].tolist(), lines[places].tolist(), strict=True)), len(again)
