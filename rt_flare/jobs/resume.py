"""From a job that has ended to one that goes on after its last complete round, in the same folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from rt_flare.core.earlier_run import EarlierRun
from rt_flare.errors import ResumeError
from rt_flare.jobs.deployed_job import DeployedJob
from rt_flare.jobs.deployed_results import DOWNLOAD_FOLDER
from rt_flare.jobs.job_owner import start_owner
from rt_flare.jobs.job_requests import JobRequests
from rt_flare.jobs.job_status import JobStatus, SiteStatus, now_text, progress_of, write_status
from rt_flare.jobs.kept_run import SIMULATED_EARLIER_ID, keep_run
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.resume_settings import set_resumption
from rt_flare.jobs.submission import Submission, read_submission, write_submission
from rt_flare.jobs.worker_counts import WorkerCounts

__all__ = ["prepare_here", "resume_job"]

_LOCK_FILE = ".resume.lock"
_SIMULATED_ID = "simulate_job"


def resume_job(
    folder: Path, status: JobStatus, remote: DeployedJob | None, *, num_rounds: int | None = None
) -> tuple[JobStatus, DeployedJob | None]:
    """Let the job in ``folder`` go on; returns its new status, and the new job at its server where it has one.

    NVFlare takes no job up again, so it is another job of NVFlare's that begins after the last complete round. On a
    server, that is found there: by the old job's id, in the server's workspace or its job store. On this machine, what
    the old run left is put where the new run's processes look for it.

    Args:
        folder: the job's folder.
        status: the job's status now.
        remote: the job at its server; None for one that ran on this machine.
        num_rounds: rounds of the whole job; None leaves them.

    Raises:
        ResumeError: it has not ended, all its rounds are done, or nothing of it is left to go on from.
        LinkError: the server does not answer; and as `submit_job`.
    """
    _check_ended(status, num_rounds)
    try:
        with FileLock(folder / _LOCK_FILE, timeout=0):
            submission = read_submission(folder)
            progress = status.progress
            if remote is None:
                earlier, submission = prepare_here(folder, submission, status.job_id, num_rounds=num_rounds)
                progress = progress_of(earlier.ledger if earlier is not None else None)
            else:
                # A job that never started left nothing behind to look for.
                job_ids = (*([remote.job_id] if remote.has_started else []), *submission.resumed_from)
                set_resumption(folder / "job", job_ids, num_rounds)
                submission = submission.model_copy(update={"resumed_from": job_ids, "submitted_at": now_text()})
            if num_rounds is not None:
                progress = progress.model_copy(update={"num_rounds": num_rounds})
            fresh = JobStatus(
                name=status.name,
                where=status.where,
                kit=status.kit if remote is not None else None,
                reason="resumed",
                min_clients=status.min_clients,
                workers=WorkerCounts(total=len(submission.sites)),
                sites=tuple(SiteStatus(name=site) for site in submission.sites),
                progress=progress,
                submitted_at=submission.submitted_at,
                updated_at=now_text(),
            )
            if remote is None:
                write_submission(folder, submission)
                write_status(folder, fresh)
                start_owner(folder)
                return fresh, None
            again = DeployedJob.submit(remote.connection, folder / "job")
            if (folder / DOWNLOAD_FOLDER).is_dir():
                shutil.rmtree(folder / DOWNLOAD_FOLDER)
            write_submission(folder, submission)
            fresh = fresh.model_copy(update={"job_id": again.job_id})
            write_status(folder, fresh)
            return fresh, again
    except Timeout as error:
        raise ResumeError(f"{folder}: another process resumes the job just now") from error


def prepare_here(
    folder: Path, submission: Submission, job_id: str, *, num_rounds: int | None = None
) -> tuple[EarlierRun | None, Submission]:
    """Make the job folder and what its last run left ready for a run on this machine that goes on after it.

    Args:
        folder: the job's folder, with the results of its last run.
        submission: how it was run.
        job_id: NVFlare's id of the last run.
        num_rounds: rounds of the whole job; None leaves them.

    Returns:
        The complete rounds, None when the last run came to none; and the submission of the next run.

    Raises:
        ResumeError: all rounds are done, or nothing of them is whole.
    """
    simulated = submission.where == "simulator"
    own_ids = (_SIMULATED_ID if simulated else job_id, *submission.resumed_from)
    earlier = keep_run(folder, submission, [name for name in own_ids if name])
    next_ids: tuple[str, ...] = ()
    if earlier is not None:
        next_ids = (SIMULATED_EARLIER_ID,) if simulated else (job_id or submission.resumed_from[0],)
    total = set_resumption(folder / "job", next_ids, num_rounds)
    if earlier is not None:
        _check_rounds_left(submission.name, earlier, total)
    JobRequests(folder).clear()
    return earlier, submission.model_copy(update={"resumed_from": next_ids, "submitted_at": now_text()})


def _check_ended(status: JobStatus, num_rounds: int | None) -> None:
    if not status.state.is_final:
        raise ResumeError(f"job {status.name} is {status.state}, expected one that has ended; cancel it first")
    progress = status.progress
    if num_rounds is not None and num_rounds < max(progress.rounds_done, 1):
        raise ResumeError(
            f"job {status.name}: found {num_rounds} rounds, expected at least the {progress.rounds_done} done"
        )
    total = progress.num_rounds if num_rounds is None else num_rounds
    if status.state is JobState.FINISHED and progress.rounds_done >= total:
        raise ResumeError(_nothing_left(status.name, progress.rounds_done))


def _check_rounds_left(name: str, earlier: EarlierRun, num_rounds: int) -> None:
    if earlier.start_round > num_rounds or (earlier.was_finished and earlier.start_round == num_rounds):
        raise ResumeError(_nothing_left(name, earlier.start_round))


def _nothing_left(name: str, done: int) -> str:
    return f"job {name}: all its {done} rounds are done, nothing is left; --rounds with a larger number extends it"
