"""What other processes want of the one that runs a job on this machine: files in the job's folder."""

from __future__ import annotations

from pathlib import Path

from rt_flare.core.durable_io import write_bytes
from rt_flare.core.live_job import STOP_FILE, stop_reason_text
from rt_flare.errors import JobError
from rt_flare.jobs.hocon import read_hocon

__all__ = ["JobRequests", "check_stoppable"]

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


def check_stoppable(folder: Path) -> None:
    """Check that the workflow of the job in ``folder`` can end after a round.

    Raises:
        JobError: it is one of NVFlare's own.
    """
    config = folder / "job" / "app" / "config"
    path = next((p for p in (config / f"config_fed_server{end}" for end in (".json", ".conf")) if p.is_file()), None)
    workflows = read_hocon(path).get("workflows", []) if path is not None else []
    paths = [str(workflow.get("path", "")) for workflow in workflows]
    if paths and all(path.startswith("nvflare.") for path in paths):
        raise JobError(
            f"{folder}: its workflow ({', '.join(paths)}) cannot end after a round, as RtFedAvg can; cancel the job"
        )
