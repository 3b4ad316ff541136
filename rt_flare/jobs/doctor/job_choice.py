"""Which job of a folder is looked at, and which processes of a deployment do not run."""

from __future__ import annotations

from pathlib import Path

import psutil

from rt_flare.errors import JobError
from rt_flare.jobs.doctor.log_sources import SERVER, FoundLogs, ProcessLog

__all__ = ["choose_job", "logs_of_job", "stopped_processes"]


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
