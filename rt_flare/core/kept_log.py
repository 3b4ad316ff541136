"""A log that comes in pieces from elsewhere, kept up to a limit."""

from __future__ import annotations

from pathlib import Path

__all__ = ["KeptLog"]


class KeptLog:
    """Puts a log together. A piece may come twice, when an answer was lost; it is stored once.

    Args:
        path: the file; what it holds already stays.
        max_bytes: the first ones are kept, where the root cause is; the log says where it was cut.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._path = path
        self._size = path.stat().st_size
        self._max_bytes = max_bytes
        self._session = ""
        self._session_start = 0

    def take(self, session: str, offset: int, data: bytes) -> str | None:
        """Add a piece; return None, or why no more is taken.

        Args:
            session: a text that the sending process has chosen; with a new one its log begins anew, behind the old.
            offset: place of ``data`` in that process's log, in bytes.
            data: the piece.
        """
        if session != self._session:
            self._session, self._session_start = session, self._size
        have = self._size - self._session_start
        new = data[max(have - offset, 0) :]
        room = self._max_bytes - self._size
        if len(new) <= room:
            self._write(new)
            return None
        reason = f"the log is longer than {self._max_bytes} bytes"
        if room >= 0:
            self._write(new[:room])
            self.note(f"cut here: {reason}; all of it is at the site", newline=True)
        return reason

    def note(self, text: str, *, newline: bool = False) -> None:
        """Add a line of the server's own, behind a line break if ``newline``."""
        self._write(f"{chr(10) if newline else ''}[rt_flare server] {text}\n".encode())

    def _write(self, data: bytes) -> None:
        # Not kept open: a server may have more sites than a process has files.
        with self._path.open("ab") as file:
            file.write(data)
        self._size += len(data)
