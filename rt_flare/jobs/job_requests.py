"""What other processes want of the one that runs a job on this machine: files in the job's folder."""

from __future__ import annotations

from pathlib import Path

from rt_flare.core.durable_io import write_bytes
from rt_flare.core.live_job import STOP_FILE, stop_reason_text

__all__ = ["JobRequests"]

_CANCEL_FILE = "cancel_requested.txt"


class JobRequests:
    """The requests in a job's folder.

    Args:
        folder: the job's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._stop = folder / STOP_FILE
        self._cancel = folder / _CANCEL_FILE

    def clear(self) -> None:
        """Forget them: a new run begins."""
        self._stop.unlink(missing_ok=True)
        self._cancel.unlink(missing_ok=True)

    def ask_to_stop(self, reason: str) -> None:
        """Ask that the job ends after its current round."""
        write_bytes(self._stop, stop_reason_text(reason).encode())

    def ask_to_cancel(self) -> None:
        """Ask that the job is ended at once."""
        write_bytes(self._cancel, b"")

    @property
    def stop_reason(self) -> str | None:
        """Why the job is to end after its current round; None when it is not."""
        return stop_reason_text(self._stop.read_text(encoding="utf-8")) if self._stop.is_file() else None

    @property
    def cancelled(self) -> bool:
        """Whether the job is to be ended at once."""
        return self._cancel.is_file()
