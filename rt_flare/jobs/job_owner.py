"""The process that runs a job on this machine: ``python -m rt_flare.jobs.job_owner JOB_DIR``.

It outlives who submitted the job, writes ``status.json``, does what others ask for in the job's folder, and collects
the results at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from rt_flare.core.round_record import Failure
from rt_flare.errors import DeploymentError, JobError, JobNotRunningError, LinkError
from rt_flare.jobs.admin_connection import AdminConnection
from rt_flare.jobs.deployed_job import DeployedJob
from rt_flare.jobs.deployed_results import collect_download, collect_run_folder
from rt_flare.jobs.job_requests import JobRequests
from rt_flare.jobs.job_results import publish_results
from rt_flare.jobs.job_status import JobStatus, Owner, Progress, read_status
from rt_flare.jobs.kept_run import place_run
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.owned_processes import OwnedProcesses
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.results import collect_results
from rt_flare.jobs.simulated_job import SimulationWatch
from rt_flare.jobs.simulator import run_simulator
from rt_flare.jobs.site_errors import with_last_errors
from rt_flare.jobs.status_recorder import StatusRecorder
from rt_flare.jobs.submission import Submission, read_submission

__all__ = ["run_owned_job", "start_owner"]

WORKSPACE = "workspace"
_POLL_SECONDS = 0.9
_START_SECONDS = 60.0
_SILENCE_SECONDS = 60.0
_started: list[subprocess.Popen[bytes]] = []
"""Kept: an object of a process that runs on must not be thrown away."""


def start_owner(folder: Path) -> None:
    """Start the process for the job in ``folder``, and wait until it has said so in ``status.json``.

    Raises:
        JobError: it ended at once, or did not start within a minute; with what it printed.
    """
    log = folder / WORKSPACE / "owner.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "rt_flare.jobs.job_owner", str(folder.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started.append(process)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if read_status(folder).owner is not None:
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise JobError(f"{folder}: the process that runs the job did not start:\n{log.read_text(errors='replace')[-2000:]}")


def run_owned_job(folder: Path) -> JobState:
    """Run the job in ``folder`` to its end.

    Raises:
        Exception: whatever kept it from running; the status says FAILED then, and why.
    """
    submission = read_submission(folder)
    processes, requests = OwnedProcesses(), JobRequests(folder)
    first = read_status(folder).model_copy(update={"reason": "starting", "owner": Owner.this_process(processes.mark)})
    recorder = StatusRecorder(folder, first)
    run = _simulate if submission.where == "simulator" else _deploy
    try:
        run(folder, submission, recorder, requests, processes)
    except KeyboardInterrupt:
        recorder.update(state=JobState.CANCELLED, reason="its process was asked to end")
        raise
    except BaseException as error:
        failure = Failure(kind="server", message=f"{type(error).__name__}: {error}")
        recorder.update(state=JobState.FAILED, error=recorder.status.error or failure, reason=None)
        raise
    return recorder.status.state


def _simulate(
    folder: Path,
    submission: Submission,
    recorder: StatusRecorder,
    requests: JobRequests,
    processes: OwnedProcesses,
) -> None:
    watch = SimulationWatch(recorder, requests, submission.sites, min_clients=submission.min_clients)
    outcome = run_simulator(folder / "job", folder / WORKSPACE, submission.sites, on_look=watch, processes=processes)
    recorder.update(reason="collecting the results", job_id=outcome.job_id)
    collect_results(outcome, folder, resumed=bool(submission.resumed_from))
    _finish(folder, submission, recorder, outcome)


def _deploy(
    folder: Path,
    submission: Submission,
    recorder: StatusRecorder,
    requests: JobRequests,
    processes: OwnedProcesses,
) -> None:
    place = folder / WORKSPACE / "poc"
    if place.is_dir():
        shutil.rmtree(place)
    recorder.update(reason=f"starting a server and {len(submission.sites)} sites on this machine")
    with PocDeployment(place, submission.sites, mark=processes.mark) as poc:
        if submission.resumed_from:
            place_run(folder, lambda name: poc.run_dir(submission.resumed_from[0], name))
        recorder.update(kit=str(poc.admin_kit), reason="submitting the job")
        with AdminConnection(poc.admin_kit) as connection:
            job = DeployedJob.submit(connection, folder / "job")
            recorder.update(job_id=job.job_id, reason="waits for the server's scheduler")
            final = _follow(poc, job, recorder, requests)
            recorder.update(reason="collecting the results")
            resumed = bool(submission.resumed_from)
            if poc.site_processes("server"):
                outcome = collect_download(job, folder, submission.sites, final, resumed=resumed)
            else:
                outcome = collect_run_folder(poc.run_dir(job.job_id, "server"), folder, final, resumed=resumed)
        _finish(folder, submission, recorder, outcome)


def _follow(poc: PocDeployment, job: DeployedJob, recorder: StatusRecorder, requests: JobRequests) -> JobStatus:
    """Look at the job until it has ended, and return its last status, which is not recorded yet."""
    pending = {"cancel", "stop"}
    silent_since: float | None = None
    while True:
        try:
            _pass_on(job, recorder, requests, pending)
            status = job.look(recorder.status)
            if status.state.is_final:
                return status
            recorder.put(status)
            silent_since = None
        except (LinkError, DeploymentError) as error:
            silent_since = silent_since or time.monotonic()
            dead = not poc.site_processes("server")
            if dead or time.monotonic() - silent_since > _SILENCE_SECONDS:
                why = "the server's process ended while the job ran" if dead else str(error)
                failure = Failure(kind="server", message=why)
                return recorder.status.model_copy(update={"state": JobState.FAILED, "error": failure})
            recorder.update(reason=str(error))
        time.sleep(_POLL_SECONDS)


def _pass_on(job: DeployedJob, recorder: StatusRecorder, requests: JobRequests, pending: set[str]) -> None:
    """Do what others ask for, each once; a job that cannot end after a round goes on, and the log says so."""
    if requests.cancelled and "cancel" in pending:
        job.cancel()
        pending.discard("cancel")
    reason = requests.stop_reason
    if reason and "stop" in pending and recorder.status.state is JobState.RUNNING:
        try:
            job.stop(reason)
        except (JobError, JobNotRunningError) as error:
            print(f"not stopped: {error}", file=sys.stderr)
        pending.discard("stop")


def _finish(folder: Path, submission: Submission, recorder: StatusRecorder, outcome: RunOutcome) -> None:
    if submission.results_url:
        recorder.update(reason=f"copying the results to {submission.results_url}")
        publish_results(folder, submission.results_url)
    progress = recorder.status.progress
    if outcome.rounds:
        last = outcome.rounds[-1]
        metrics = {**last.train_metrics, **(last.global_metrics or {})}
        progress = Progress(round=last.round, num_rounds=outcome.num_rounds, verdict=last.verdict, metrics=metrics)
    known = with_last_errors(recorder.status, outcome)
    recorder.update(
        sites=known.sites,
        workers=known.workers,
        state=outcome.state,
        error=outcome.error,
        stop_reason=outcome.stop_reason,
        progress=progress,
        reason=None,
    )


def _terminated(number: int, frame: FrameType | None) -> None:
    # As Ctrl-C: what was started is ended on the way out.
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Run the job in the folder that ``arguments`` names, and return the exit code: 0 when the job has finished."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return 0 if run_owned_job(Path(arguments[0])) is JobState.FINISHED else 1
    except BaseException:  # noqa: BLE001 - the status says it; this goes to owner.log
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of NVFlare's client may outlive a server that is gone; the job has ended.
    os._exit(code)
