"""A job at one moment, and the file ``status.json`` that says so to every process."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, Field

from rt_flare.core.durable_io import read_document, write_json
from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import Failure, Verdict
from rt_flare.errors import JobError
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.worker_counts import WorkerCounts

__all__ = [
    "STATUS_FILE",
    "JobStatus",
    "Owner",
    "Progress",
    "SiteStatus",
    "now_text",
    "progress_of",
    "read_status",
    "seconds_since",
    "write_status",
]

STATUS_FILE = "status.json"
_SCHEMA = "rt_flare.job_status/1"
_START_TOLERANCE_SECONDS = 1.0


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Owner(_Part):
    """The process that runs a job on this machine and writes its status.

    Attributes:
        host: name of the machine.
        pid: the process.
        started: when it started, in seconds since the epoch; a process id may be given away again.
        mark: what all processes of the job carry in their environment.
    """

    host: str
    pid: int
    started: float
    mark: str

    @classmethod
    def this_process(cls, mark: str) -> Owner:
        """The calling process as owner."""
        return cls(host=platform.node(), pid=os.getpid(), started=psutil.Process().create_time(), mark=mark)

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == platform.node()

    @property
    def is_alive(self) -> bool:
        """Whether it runs; only known on its own machine."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _START_TOLERANCE_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class SiteStatus(_Part):
    """One site of a job.

    Attributes:
        name: the site's name.
        connected: whether its heartbeat is seen.
        seen: whether it has ever been.
        error: what it reported last, where that was an error; or its crash.
    """

    name: str
    connected: bool = False
    seen: bool = False
    error: Failure | None = None


class Progress(_Part):
    """How far a job is.

    Attributes:
        round: 0-based number of the last closed round; None before.
        num_rounds: rounds that the job is to have; 0 while that is not known.
        verdict: of that round.
        metrics: its metrics: those of the global model where they are known, else of local training.
    """

    round: int | None = None
    num_rounds: int = 0
    verdict: Verdict | None = None
    metrics: dict[str, float] = Field(default_factory=dict)

    @property
    def rounds_done(self) -> int:
        """Number of closed rounds."""
        return 0 if self.round is None else self.round + 1


class JobStatus(_Part):
    """A job at one moment.

    Attributes:
        name: the job's name.
        where: ``simulator``, ``poc`` (a deployment of the job's own on this machine) or ``kit``.
        job_id: NVFlare's id of the job; "" before it has one.
        kit: the administrator's startup kit of the deployment; None in the simulator.
        state: see `JobState`.
        reason: what a job waits for, or what is going on.
        workers: the counters.
        sites: the same by name.
        min_clients: sites that the job needs.
        progress: how far it is.
        error: the root error of a failed job.
        stop_requested: why it was asked to stop; it ends after the current round.
        stop_reason: why a finished job stopped before its last round.
        submitted_at, started_at, ended_at, updated_at: UTC times in ISO 8601; None for what has not been.
        owner: the process that runs the job on this machine; None for one in a deployment.
    """

    name: str
    where: str
    job_id: str = ""
    kit: str | None = None
    state: JobState = JobState.PENDING
    reason: str | None = None
    workers: WorkerCounts = WorkerCounts()
    sites: tuple[SiteStatus, ...] = ()
    min_clients: int = 1
    progress: Progress = Progress()
    error: Failure | None = None
    stop_requested: str | None = None
    stop_reason: str | None = None
    submitted_at: str
    started_at: str | None = None
    ended_at: str | None = None
    updated_at: str
    owner: Owner | None = None

    @property
    def pending_seconds(self) -> float:
        """How long the job has been waiting to run; 0 once it has run or ended."""
        return seconds_since(self.submitted_at) if self.state is JobState.PENDING else 0.0

    def document(self) -> dict[str, Any]:
        """The content of ``status.json`` (schema ``job_status.schema.json``)."""
        return {"schema": _SCHEMA, **self.model_dump(mode="python"), "state": self.state.value} | {
            "progress": {**self.progress.model_dump(), "verdict": self.progress.verdict and self.progress.verdict.value}
        }


def write_status(folder: Path, status: JobStatus) -> None:
    """Replace ``status.json`` in a job's folder, atomically."""
    write_json(folder / STATUS_FILE, status.document())


def read_status(folder: Path) -> JobStatus:
    """Read ``status.json`` as it is written; who wrote it may be dead.

    Raises:
        JobError: there is none, or it is no such document.
    """
    path = folder / STATUS_FILE
    try:
        return JobStatus.model_validate(read_document(path, _SCHEMA))
    except FileNotFoundError as error:
        raise JobError(
            f"{folder}: no {STATUS_FILE}, expected the folder of a submitted job, as jobs/NAME; see rt-flare submit"
        ) from error
    except ValueError as error:
        raise JobError(f"{path}: expected a {_SCHEMA} document: {error}") from error


def progress_of(ledger: Ledger | None) -> Progress:
    """How far a job is by its round summary."""
    if ledger is None:
        return Progress()
    if not ledger.rounds:
        return Progress(num_rounds=ledger.num_rounds)
    last = ledger.rounds[-1]
    metrics = {**last.train_metrics, **(last.global_metrics or {})}
    return Progress(round=last.round, num_rounds=ledger.num_rounds, verdict=last.verdict, metrics=metrics)


def now_text() -> str:
    """The time in UTC, in ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds_since(time_text: str) -> float:
    """Seconds that have passed since a time that `now_text` gave."""
    return (datetime.now(UTC) - datetime.fromisoformat(time_text)).total_seconds()
