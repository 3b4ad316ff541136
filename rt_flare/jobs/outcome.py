"""How a job ended, and the round summary that says so while it runs and afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from rt_flare.core.ledger import ROUND_SUMMARY_FILE, Ledger, read_ledger
from rt_flare.core.round_record import Failure, RoundRecord
from rt_flare.errors import JobError

__all__ = ["SUMMARY_FILE", "JobState", "RunOutcome", "read_summary"]

SUMMARY_FILE = Path("files_out") / ROUND_SUMMARY_FILE


class JobState(StrEnum):
    """Where a job stands. The last three are final."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in {JobState.FINISHED, JobState.FAILED, JobState.CANCELLED}


@dataclass(frozen=True)
class RunOutcome:
    """What is left of a run.

    Attributes:
        state: a final state.
        error: the root error of a failed job.
        stop_reason: why a finished job stopped before its last round.
        job_id: NVFlare's id of the job.
        num_rounds: rounds that the job was to have; 0 when it never came to a round.
        rounds: the closed rounds.
        server_dir: NVFlare's run folder of the server.
        server_log: the server's log.
        site_dirs: run folder of every site, in the order of the sites; empty for a downloaded job.
        site_logs: log of every site, in the same order.
        console: what the processes printed; None when there is no such file.
        seconds: duration of the run.
        notes: what went otherwise than it should without failing the job.
    """

    state: JobState
    error: Failure | None
    stop_reason: str | None
    job_id: str
    num_rounds: int
    rounds: tuple[RoundRecord, ...]
    server_dir: Path
    server_log: Path
    site_dirs: dict[str, Path]
    site_logs: dict[str, Path]
    console: Path | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())


def read_summary(run_dir: Path) -> Ledger | None:
    """Read the round summary in a server's run folder; None when there is none yet.

    Raises:
        JobError: the file is there and is no round summary of this version.
    """
    try:
        ledger = read_ledger(run_dir / SUMMARY_FILE)
        JobState(ledger.state)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise JobError(f"{run_dir / SUMMARY_FILE}: expected a round summary of this version: {error}") from error
    return ledger
