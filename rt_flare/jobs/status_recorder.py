"""Keeps ``status.json`` of a job fresh, from the process that runs the job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rt_flare.jobs.job_status import JobStatus, now_text, write_status
from rt_flare.jobs.outcome import JobState

__all__ = ["StatusRecorder"]

_HEARTBEAT_SECONDS = 5.0


class StatusRecorder:
    """Writes the status when it changed, and every 5 s as a sign of life.

    Args:
        folder: the job's folder.
        status: the first status; written at once.
    """

    def __init__(self, folder: Path, status: JobStatus) -> None:
        self.status = status
        self._folder = folder
        self._write()

    def update(self, **changes: Any) -> None:
        """Change the status; ``started_at`` and ``ended_at`` follow from the state.

        Raises:
            OSError: the file cannot be written.
        """
        state = changes.get("state", self.status.state)
        if state is JobState.RUNNING and self.status.started_at is None:
            changes.setdefault("started_at", now_text())
        if state.is_final and self.status.ended_at is None:
            changes.setdefault("ended_at", now_text())
        self.put(self.status.model_copy(update=changes))

    def put(self, status: JobStatus) -> None:
        """Take ``status``, which keeps the owner that it has here."""
        fresh = status.model_copy(update={"owner": self.status.owner, "updated_at": self.status.updated_at})
        if fresh != self.status or time.monotonic() - self._written >= _HEARTBEAT_SECONDS:
            self.status = fresh
            self._write()

    def _write(self) -> None:
        self.status = self.status.model_copy(update={"updated_at": now_text()})
        write_status(self._folder, self.status)
        self._written = time.monotonic()
