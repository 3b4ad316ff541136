"""Which of some named things are in use, by which processes at all: a lock each, shared by their users."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["UseLocks"]


class UseLocks:
    """Locks of one process over the things named in ``folder``; the system drops them when the process ends.

    Lock files ``{name}.lock`` stay for ever, so that all processes lock the same one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def hold(self, name: str) -> None:
        """Use ``name`` until `release`; waits while another process has it for `alone`."""
        if name not in self._held:
            descriptor = self._open(name)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            self._held[name] = descriptor

    def release(self, name: str) -> None:
        """End the use of ``name``."""
        os.close(self._held.pop(name))

    def release_all(self) -> None:
        """End the use of everything."""
        for name in list(self._held):
            self.release(name)

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Yield whether nobody uses ``name``, this process included; if so, nobody will within the block."""
        if name in self._held:
            yield False
            return
        descriptor = self._open(name)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        return os.open(self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
