"""Running a job in NVFlare's simulator: one process for the server, one for each site, on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from rt_flare.core.ledger import Ledger
from rt_flare.core.live_job import LIVE_FILE
from rt_flare.core.round_record import Failure, RoundRecord
from rt_flare.errors import JobError
from rt_flare.jobs.doctor import find_root_cause
from rt_flare.jobs.outcome import SUMMARY_FILE, JobState, RunOutcome, read_summary
from rt_flare.jobs.owned_processes import OwnedProcesses
from rt_flare.jobs.plain_path import plain_path
from rt_flare.jobs.render import check_sites
from rt_flare.jobs.simulator_policy import allow_in_simulator

__all__ = ["LiveSimulation", "RunEnding", "run_simulator", "simulated_outcome"]

# NVFlare gives every job in the simulator this id.
_JOB_ID = "simulate_job"
_POLL_SECONDS = 0.2
_LINGER_SECONDS = 30.0


@dataclass(frozen=True)
class _Layout:
    """Where NVFlare's simulator puts things. It empties ``root`` at its start."""

    root: Path

    @property
    def server_dir(self) -> Path:
        return self.root / "server" / _JOB_ID

    def site_dir(self, site: str) -> Path:
        return self.root / site / _JOB_ID

    def log(self, site: str) -> Path:
        return self.root / site / "log.txt"


@dataclass(frozen=True)
class LiveSimulation:
    """A run at one moment.

    Attributes:
        server_dir: NVFlare's run folder of the server; made while the simulator starts.
        process: the simulator's own process; the sites' are its children.
        summary: the round summary; None before the job began.
    """

    server_dir: Path
    process: psutil.Process | None
    summary: Ledger | None


@dataclass(frozen=True)
class RunEnding:
    """Why a run is ended from outside: its state, and the error of a failed one."""

    state: JobState
    error: Failure | None = None


def run_simulator(
    job_folder: Path,
    workspace: Path,
    sites: Sequence[str],
    *,
    threads: int | None = None,
    on_round: Callable[[RoundRecord], None] | None = None,
    on_look: Callable[[LiveSimulation], RunEnding | None] | None = None,
    processes: OwnedProcesses | None = None,
    linger_seconds: float = _LINGER_SECONDS,
) -> RunOutcome:
    """Run a job to its end.

    Everything is in ``workspace`` afterwards: ``simulator/`` (NVFlare's folders of the server and the sites; what an
    earlier run left there is removed) and ``console.log`` (what the processes printed). What `keep_run` has set aside
    in it is put back for a job that continues that run.

    Args:
        job_folder: an NVFlare job.
        workspace: folder for the run; made if missing. Any path will do, spaces included.
        sites: names of the sites.
        threads: sites that train at the same time; None for all. With fewer, NVFlare starts a new process for every
            task.
        on_round: called with every closed round, once, in order, while the job runs.
        on_look: called five times a second; what it returns, if not None, ends the run at once.
        processes: starts the run's processes and ends them; None for an object of its own.
        linger_seconds: how long the simulator may take to end once the job has; then it is ended.

    Raises:
        ConfigError: the sites' names cannot be used.
        JobError: ``job_folder`` is no job.
        KeyboardInterrupt: Ctrl-C; all processes of the run have been ended.
    """
    check_sites(sites)
    if not any(job_folder.glob("meta.*")):
        raise JobError(f"{job_folder}: no meta.json or meta.conf, expected a job folder of NVFlare")
    workspace.mkdir(parents=True, exist_ok=True)
    console = workspace / "console.log"
    layout = _Layout(workspace.resolve() / "simulator")
    # What an earlier run said of itself must not be taken for this one's.
    for name in (SUMMARY_FILE, Path(LIVE_FILE)):
        (layout.server_dir / name).unlink(missing_ok=True)
    allow_in_simulator(layout.root)
    processes = processes or OwnedProcesses()
    started = time.monotonic()
    with plain_path(workspace) as plain, console.open("wb") as output:
        try:
            process = processes.start(
                [
                    sys.executable,
                    "-m",
                    "rt_flare.jobs.simulator_process",
                    str(job_folder.resolve()),
                    str(plain / "simulator"),
                    ",".join(sites),
                    str(threads or len(sites)),
                    str(workspace.resolve().parent),
                ],
                cwd=workspace,
                environment=os.environ,
                output=output,
            )
            lingered, ending = _follow(process, layout, on_round, on_look, linger_seconds)
        finally:
            processes.end_all()
    seconds = time.monotonic() - started
    notes = (f"NVFlare's simulator did not end within {linger_seconds:g} s of the job and was ended",)
    return _outcome(
        layout,
        sites=sites,
        exit_code=None if lingered else process.returncode,
        console=console,
        seconds=seconds,
        notes=notes if lingered else (),
        ending=ending,
    )


def simulated_outcome(workspace: Path, sites: Sequence[str], ending: RunEnding) -> RunOutcome:
    """Describe what a run left in ``workspace`` when nobody saw its end."""
    layout = _Layout(workspace.resolve() / "simulator")
    console = workspace / "console.log"
    return _outcome(layout, sites=sites, exit_code=None, console=console, seconds=0.0, notes=(), ending=ending)


def _follow(
    process: subprocess.Popen[bytes],
    layout: _Layout,
    on_round: Callable[[RoundRecord], None] | None,
    on_look: Callable[[LiveSimulation], RunEnding | None] | None,
    linger_seconds: float,
) -> tuple[bool, RunEnding | None]:
    """Report rounds until the run ends: whether the process was still there long after the job, and who ended it."""
    reported = 0
    ended_at: float | None = None
    version: tuple[int, int] | None = None
    summary: Ledger | None = None
    while True:
        running = process.poll() is None
        version, last_version = _version(layout.server_dir / SUMMARY_FILE), version
        if version != last_version and (found := read_summary(layout.server_dir)) is not None:
            summary = found
            for record in summary.rounds[reported:]:
                if on_round is not None:
                    on_round(record)
            reported = max(reported, len(summary.rounds))
            if JobState(summary.state).is_final and ended_at is None:
                ended_at = time.monotonic()
        if not running:
            return False, None
        if ended_at is not None and time.monotonic() - ended_at > linger_seconds:
            return True, None
        if on_look is not None and ended_at is None:
            ending = on_look(LiveSimulation(layout.server_dir, _living(process), summary))
            if ending is not None:
                return False, ending
        time.sleep(_POLL_SECONDS)


def _living(process: subprocess.Popen[bytes]) -> psutil.Process | None:
    try:
        return psutil.Process(process.pid)
    except psutil.NoSuchProcess:
        return None


def _version(path: Path) -> tuple[int, int] | None:
    """What changes when the file is replaced; None without a file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def _outcome(
    layout: _Layout,
    *,
    sites: Sequence[str],
    exit_code: int | None,
    console: Path,
    seconds: float,
    notes: tuple[str, ...],
    ending: RunEnding | None = None,
) -> RunOutcome:
    summary = read_summary(layout.server_dir)
    site_logs = {site: layout.log(site) for site in sites}
    state, error = (ending.state, ending.error) if ending else _judge(summary, exit_code)
    if state is JobState.FAILED and error is None:
        error = find_root_cause(layout.log("server"), site_logs, console) or Failure(
            kind="server",
            message=f"the simulator ended with exit code {exit_code} and no log holds an error; see {console}",
        )
    return RunOutcome(
        state=state,
        error=error,
        stop_reason=summary.stop_reason if summary else None,
        job_id=_JOB_ID,
        num_rounds=summary.num_rounds if summary else 0,
        rounds=tuple(summary.rounds) if summary else (),
        server_dir=layout.server_dir,
        server_log=layout.log("server"),
        site_dirs={site: layout.site_dir(site) for site in sites},
        site_logs=site_logs,
        console=console,
        seconds=seconds,
        notes=notes,
    )


def _judge(summary: Ledger | None, exit_code: int | None) -> tuple[JobState, Failure | None]:
    """A job has finished only if it says so and the simulator ended well (None: we ended it after the job)."""
    if summary is None:
        return JobState.FAILED, None
    if summary.state == JobState.CANCELLED:
        return JobState.CANCELLED, summary.error
    if exit_code in (0, None) and summary.state == JobState.FINISHED:
        return JobState.FINISHED, None
    return JobState.FAILED, summary.error
