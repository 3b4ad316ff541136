"""How much text of user code goes into a log, and what of the site's own folders is in it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

__all__ = ["LogFlow", "without_folders"]

BURST_LINES = 2_000
LINES_PER_SECOND = 50.0


class LogFlow:
    """Passes on at most 2,000 lines at once and 50 a second; says how many were left out.

    Args:
        sink: receives level and text.
        clock: seconds, for tests.
    """

    def __init__(self, sink: Callable[[str, str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._clock = clock
        self._lock = threading.Lock()
        self._room = float(BURST_LINES)
        self._filled_at = clock()
        self._left_out = 0

    def __call__(self, level: str, text: str) -> None:
        """Pass ``text`` on, or count its lines."""
        lines = max(text.count("\n") + 1, 1)
        with self._lock:
            now = self._clock()
            self._room = min(self._room + (now - self._filled_at) * LINES_PER_SECOND, float(BURST_LINES))
            self._filled_at = now
            if self._room < lines:
                self._left_out += lines
                return
            self._room -= lines
            left_out, self._left_out = self._left_out, 0
        if left_out:
            self._say(left_out)
        self._sink(level, text)

    def finish(self) -> None:
        """Say what is still to be said, at the end of a task."""
        with self._lock:
            left_out, self._left_out = self._left_out, 0
        if left_out:
            self._say(left_out)

    def _say(self, left_out: int) -> None:
        limit = f"{BURST_LINES} at once and {LINES_PER_SECOND:g} a second"
        self._sink("warning", f"{left_out} lines were left out here: more than {limit}")


def without_folders(text: str, folders: Mapping[str, Path | str | None]) -> str:
    """Return ``text`` with each of a site's folders under the name that it has here, as ``data_root/images/a.png``.

    Args:
        text: any text.
        folders: name to absolute path; those that are not known, or are the root of all, are left out.
    """
    names = {str(path): name for name, path in folders.items() if path is not None and Path(path) != Path(path).parent}
    if not names:
        return text
    longest_first = sorted(names, key=len, reverse=True)
    pattern = f"(?<![\\w.-])(?:{'|'.join(map(re.escape, longest_first))})(?![\\w.-])"
    return re.sub(pattern, lambda found: names[found[0]], text)
