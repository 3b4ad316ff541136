"""Which job of a folder is looked at, and which processes of a deployment do not run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from rt_flare.errors import JobError
from rt_flare.jobs.doctor.clocks import CLOCK_TOLERANCE_SECONDS
from rt_flare.jobs.doctor.evidence import Evidence
from rt_flare.jobs.doctor.log_sources import SERVER, FoundLogs, LogKind, ProcessLog
from rt_flare.jobs.doctor.process_story import ProcessStory

__all__ = ["JobSpan", "choose_job", "logs_of_job", "stopped_processes"]


_AFTERMATH_SECONDS = 60.0


@dataclass(frozen=True)
class JobSpan:
    """The time of a job, as its own logs tell it: the logs of other processes tell of many jobs.

    Attributes:
        job_id: the job; None where none is named.
        other_jobs: the others that the logs name.
        start, end: seconds since 1970 as in the logs; a minute behind its last record counts as well.
    """

    job_id: str | None
    other_jobs: frozenset[str]
    start: float
    end: float

    @classmethod
    def of(cls, stories: Sequence[ProcessStory], job_id: str | None) -> JobSpan:
        """The span of the job whose logs are among ``stories``."""
        own = [story for story in stories if story.log.kind is LogKind.JOB]
        starts = [story.first_time for story in own if story.first_time is not None]
        ends = [story.last_time for story in own if story.last_time is not None]
        others = {child.job_id for story in stories for child in story.exits} - {job_id}
        return cls(
            job_id,
            frozenset(others),
            min(starts, default=-math.inf) - CLOCK_TOLERANCE_SECONDS,
            max(ends, default=math.inf) + _AFTERMATH_SECONDS,
        )

    def holds(self, trace: Evidence) -> bool:
        """Whether a trace in another process's log belongs to the job."""
        if self.job_id is not None and self.job_id in trace.message:
            return True
        if any(job in trace.message for job in self.other_jobs):
            return False
        return trace.time is None or self.start <= trace.time <= self.end


def choose_job(found: FoundLogs, job_id: str | None) -> str | None:
    """The job to look at: the one asked for, or the one whose logs were written last; None if no path names a job.

    Raises:
        JobError: there is no such job.
    """
    written: dict[str, float] = {}
    for log in found.logs:
        if log.job_id is not None:
            newest = max((log.archive or file).stat().st_mtime for file in log.files)
            written[log.job_id] = max(newest, written.get(log.job_id, 0.0))
    if job_id is not None and job_id not in written:
        raise JobError(f"no logs of the job {job_id}, found: {', '.join(sorted(written)) or 'no job'}")
    return job_id or max(written, key=lambda job: written[job], default=None)


def logs_of_job(found: FoundLogs, job_id: str | None) -> list[ProcessLog]:
    """The logs that may tell of a job: its own, and those that belong to no job."""
    return [log for log in found.logs if log.job_id in {None, job_id}]


def stopped_processes(folder: Path) -> frozenset[str]:
    """Names of the processes of a deployment below ``folder`` that do not run on this machine: ``server``, sites.

    A process of NVFlare has its kit's folder in its command line. Empty when ``folder`` is no deployment.
    """
    kits = {
        str(kit.parent.resolve()): SERVER if (kit / "fed_server.json").is_file() else kit.parent.name
        for kit in folder.rglob("startup")
        if any((kit / name).is_file() for name in ("fed_server.json", "fed_client.json"))
    }
    running: set[str] = set()
    for process in psutil.process_iter(["cmdline"]) if kits else ():
        for word in process.info["cmdline"] or []:
            running.update(name for kit, name in kits.items() if word == kit or word.startswith(f"{kit}/"))
    return frozenset(kits.values()) - running
