"""From a job folder to a running job: in the simulator, in a deployment of its own, or on a server."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rt_flare.errors import JobError, JobNotRunningError
from rt_flare.jobs.abandoned_job import is_abandoned, settle_abandoned
from rt_flare.jobs.admin_connection import AdminConnection
from rt_flare.jobs.deployed_job import DeployedJob
from rt_flare.jobs.destination import Destination
from rt_flare.jobs.hocon import read_hocon
from rt_flare.jobs.job_owner import WORKSPACE, start_owner
from rt_flare.jobs.job_requests import JobRequests
from rt_flare.jobs.job_sites import default_sites
from rt_flare.jobs.job_status import STATUS_FILE, JobStatus, SiteStatus, now_text, read_status, write_status
from rt_flare.jobs.render import check_sites
from rt_flare.jobs.submission import Submission, write_submission
from rt_flare.jobs.submitted_job import Job
from rt_flare.jobs.worker_counts import WorkerCounts

__all__ = ["place_job", "read_meta", "submit_job"]


def submit_job(
    job_folder: Path,
    folder: Path,
    destination: Destination,
    *,
    sites: Sequence[str] | None = None,
    results_url: str = "",
) -> Job:
    """Submit a job folder of NVFlare and return the job, which has begun when this returns.

    Args:
        job_folder: the job; copied to ``folder/job``, where it may stand already.
        folder: the job's folder, for its status and results; what an earlier job of this name left there is removed,
            its shards are not.
        destination: where it goes.
        sites: names of the sites; None takes those that the job has shards for, or as many as it needs.
        results_url: folder in a storage that the results are copied to as well; not for a job on a server.

    Raises:
        JobError: ``job_folder`` is no job; the server does not take it; or the process that runs it did not start.
        JobNotRunningError: a job of this name runs already in ``folder``.
        ConfigError: the names of the sites cannot be used.
        LinkError: the server does not answer.
    """
    named = list(sites or default_sites(job_folder))
    check_sites(named)
    _refuse_running(folder)
    place_job(job_folder, folder)
    meta = read_meta(folder / "job")
    status = JobStatus(
        name=str(meta.get("name") or folder.name),
        where=destination.where,
        kit=str(destination.kit) if destination.kit else None,
        min_clients=max(int(meta.get("min_clients") or 1), 1),
        reason="submitted",
        workers=WorkerCounts(total=len(named)),
        sites=tuple(SiteStatus(name=site) for site in named),
        submitted_at=now_text(),
        updated_at=now_text(),
    )
    submission = Submission(
        name=status.name,
        where=destination.where,
        kit=status.kit,
        sites=tuple(named),
        min_clients=status.min_clients,
        results_url=results_url,
        submitted_at=status.submitted_at,
    )
    write_submission(folder, submission)
    if destination.kit is None:
        write_status(folder, status)
        start_owner(folder)
        return Job.open(folder)
    remote = DeployedJob.submit(AdminConnection(destination.kit), folder / "job")
    status = status.model_copy(update={"job_id": remote.job_id})
    write_status(folder, status)
    return Job(folder, status, remote)


def _refuse_running(folder: Path) -> None:
    if not (folder / STATUS_FILE).is_file():
        return
    # A job on a server goes on without this folder: only one that runs here stands in the way.
    status = read_status(folder)
    if is_abandoned(status):
        status = settle_abandoned(folder)
    if status.owner is not None and not status.state.is_final:
        raise JobNotRunningError(
            f"{folder}: job {status.name} is {status.state}; wait for it, cancel it, or choose another name"
        )


def place_job(job_folder: Path, folder: Path) -> None:
    """Copy a job folder to ``folder/job``, unless it stands there, and remove what an earlier run left beside it.

    Raises:
        JobError: ``job_folder`` is no job.
        OSError: it cannot be copied.
    """
    if not any(job_folder.glob("meta.*")):
        raise JobError(f"{job_folder}: no meta.json or meta.conf, expected a job folder of NVFlare")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "job"
    for name in ("files_out", "model_out", WORKSPACE):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    (folder / STATUS_FILE).unlink(missing_ok=True)
    JobRequests(folder).clear()
    if job_folder.resolve() == target.resolve():
        return
    if target.is_dir():
        shutil.rmtree(target)
    shutil.copytree(job_folder, target, ignore=shutil.ignore_patterns("__pycache__"))


def read_meta(job_folder: Path) -> dict[str, Any]:
    """Read a job folder's ``meta.json`` or ``meta.conf``."""
    path = next(p for p in (job_folder / "meta.json", job_folder / "meta.conf") if p.is_file())
    return read_hocon(path)
