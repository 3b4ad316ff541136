"""A job whose own process is gone: what is left of it is ended and collected, and the status says so."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import Failure
from rt_flare.jobs.deployed_results import collect_run_folder
from rt_flare.jobs.job_status import JobStatus, now_text, progress_of, read_status, seconds_since, write_status
from rt_flare.jobs.outcome import JobState, read_summary
from rt_flare.jobs.owned_processes import OwnedProcesses
from rt_flare.jobs.poc_kits import SERVER
from rt_flare.jobs.results import collect_results
from rt_flare.jobs.simulator import RunEnding, simulated_outcome
from rt_flare.jobs.submission import read_submission

__all__ = ["is_abandoned", "look_at", "settle_abandoned"]

_LOCK_SECONDS = 60.0
_SIGN_OF_LIFE_SECONDS = 60.0


def is_abandoned(status: JobStatus) -> bool:
    """Whether the job has not ended, and the process of this machine that ran it has."""
    owner = status.owner
    return not status.state.is_final and owner is not None and owner.is_here and not owner.is_alive


def look_at(folder: Path) -> JobStatus:
    """The status of a job that a process runs on this machine or another one, whether that process lives or not.

    Raises:
        JobError: ``folder`` is not that of a job.
        OSError: the results of an abandoned job cannot be collected.
    """
    status = read_status(folder)
    if is_abandoned(status):
        return settle_abandoned(folder)
    silent = seconds_since(status.updated_at) > _SIGN_OF_LIFE_SECONDS
    if status.owner is None and not status.state.is_final and silent:
        failure = Failure(kind="server", message="the process that was to run the job never started; submit it again")
        return status.model_copy(update={"state": JobState.FAILED, "error": failure, "reason": None})
    if status.owner is not None and not status.owner.is_here and not status.state.is_final and silent:
        reason = f"no sign of life from {status.owner.host} since {status.updated_at}"
        return status.model_copy(update={"reason": reason})
    return status


def settle_abandoned(folder: Path) -> JobStatus:
    """End what is left of an abandoned job's processes, collect its results, and write its final status.

    The first process that finds out does it; the others wait for it. What the job itself has recorded counts: one
    that was complete has FINISHED.

    Raises:
        JobError: ``folder`` is not that of a job.
        OSError: the results cannot be collected.
    """
    with FileLock(folder / ".settle.lock", timeout=_LOCK_SECONDS):
        status = read_status(folder)
        if not is_abandoned(status) or status.owner is None:
            return status
        OwnedProcesses(status.owner.mark).end_all()
        run_folder = _run_folder(folder, status)
        summary = read_summary(run_folder) if run_folder is not None else None
        ending = _ending(status, summary)
        submission = read_submission(folder)
        resumed = bool(submission.resumed_from)
        if status.where == "simulator":
            outcome = simulated_outcome(folder / "workspace", submission.sites, ending)
            collect_results(outcome, folder, resumed=resumed)
        elif run_folder is not None and summary is not None:
            final = status.model_copy(update={"state": ending.state, "error": ending.error})
            collect_run_folder(run_folder, folder, final, resumed=resumed)
        now = now_text()
        settled = status.model_copy(
            update={
                "state": ending.state,
                "error": ending.error,
                "reason": None,
                "progress": progress_of(summary) if summary else status.progress,
                "stop_reason": summary.stop_reason if summary else None,
                "ended_at": now,
                "updated_at": now,
            }
        )
        write_status(folder, settled)
        return settled


def _ending(status: JobStatus, summary: Ledger | None) -> RunEnding:
    if summary is not None and JobState(summary.state).is_final:
        return RunEnding(JobState(summary.state), summary.error)
    pid = status.owner.pid if status.owner else 0
    message = (
        f"the process that ran the job (pid {pid}) was killed, or the machine was restarted; finished rounds are kept. "
        "rt-flare resume goes on after them"
    )
    number = len(summary.rounds) if summary is not None else None
    return RunEnding(JobState.FAILED, Failure(kind="server", message=message, round=number))


def _run_folder(folder: Path, status: JobStatus) -> Path | None:
    """The server's run folder on this machine; None when the job never had one."""
    workspace = folder / "workspace"
    if status.where == "simulator":
        found = workspace / "simulator" / "server" / "simulate_job"
        return found if found.is_dir() else None
    if not status.job_id:
        return None
    kits = (workspace / "poc").glob(f"kits/*/*/{SERVER}/{status.job_id}")
    return next((path for path in kits if path.is_dir()), None)
