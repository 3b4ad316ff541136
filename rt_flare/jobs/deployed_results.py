"""The results of a job that ended on an NVFlare server, brought into the job's folder."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from rt_flare.errors import DeploymentError, JobError, LinkError
from rt_flare.jobs.deployed_job import DeployedJob
from rt_flare.jobs.job_status import JobStatus, now_text, write_status
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.results import collect_results, downloaded_outcome
from rt_flare.jobs.site_errors import with_last_errors
from rt_flare.jobs.submission import read_submission

__all__ = ["DOWNLOAD_FOLDER", "collect_download", "collect_ended", "collect_run_folder"]


DOWNLOAD_FOLDER = "workspace/download"
"""In a job's folder: what its server sent. It is there once that has been asked for the results."""


def collect_ended(job: DeployedJob, folder: Path, status: JobStatus) -> JobStatus:
    """Bring the results of an ended job into its folder; returns its status, which they may know better, and writes it.

    Raises:
        JobError: ``folder`` is not that of a job.
        LinkError: the server does not answer; and as `AdminConnection.call`.
    """
    submission = read_submission(folder)
    outcome = collect_download(job, folder, submission.sites, status, resumed=bool(submission.resumed_from))
    changes = {"state": outcome.state, "error": outcome.error, "stop_reason": outcome.stop_reason}
    known = with_last_errors(status, outcome).model_copy(update=changes | {"updated_at": now_text()})
    write_status(folder, known)
    return known


def collect_download(
    job: DeployedJob, folder: Path, sites: Sequence[str], status: JobStatus, *, resumed: bool = False
) -> RunOutcome:
    """Download what the ended job left, and put it where users look for it.

    A job that never came to a round has its logs only.

    Args:
        job: the job at its server.
        folder: the job's folder; ``workspace/download`` in it is replaced.
        sites: names of the sites, for the numbers of their logs.
        status: the final status, as NVFlare sees it; a failure that the job itself has recorded goes before it.
        resumed: see `collect_results`.

    Raises:
        LinkError: the server does not answer; and as `AdminConnection.call`.
    """
    place = folder / DOWNLOAD_FOLDER
    if place.is_dir():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    try:
        return collect_run_folder(job.download(place), folder, status, resumed=resumed)
    except (DeploymentError, JobError):
        outcome = _logs_only(job, place, sites, status)
        collect_results(outcome, folder, resumed=resumed)
        return outcome


def collect_run_folder(run_folder: Path, folder: Path, status: JobStatus, *, resumed: bool = False) -> RunOutcome:
    """Put what a server's run folder, or a download of it, holds where users look for it.

    Raises:
        JobError: there is no round summary in it.
    """
    outcome = downloaded_outcome(run_folder)
    state = status.state
    if state is JobState.FINISHED and outcome.state is JobState.FAILED:
        state = JobState.FAILED
    error = (outcome.error or status.error) if state is JobState.FAILED else None
    outcome = dataclasses.replace(outcome, state=state, error=error, job_id=status.job_id or outcome.job_id)
    collect_results(outcome, folder, resumed=resumed)
    return outcome


def _logs_only(job: DeployedJob, place: Path, sites: Sequence[str], status: JobStatus) -> RunOutcome:
    try:
        logs = job.logs()
    except (DeploymentError, LinkError):
        logs = {}
    files = {name: place / "logs" / f"{name}.txt" for name in logs}
    for name, path in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(logs[name])
    return RunOutcome(
        state=status.state,
        error=status.error,
        stop_reason=status.stop_reason,
        job_id=status.job_id,
        num_rounds=status.progress.num_rounds,
        rounds=(),
        server_dir=place / "none",
        server_log=files.get("server", place / "none"),
        site_dirs={},
        site_logs={site: files.get(site, place / "none") for site in sites},
    )
