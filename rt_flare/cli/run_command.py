"""``rt-flare run``: a job folder in the simulator, and the same once more after an interruption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rt_flare.cli.reply import exit_code, outcome_document, print_json
from rt_flare.cli.round_view import SilentView, make_console, round_view
from rt_flare.cli.run_report import print_outcome, print_outputs
from rt_flare.core.round_record import Failure
from rt_flare.errors import JobNotRunningError
from rt_flare.jobs.job_sites import default_sites
from rt_flare.jobs.job_status import STATUS_FILE, now_text
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.project import is_project, read_project, render_project
from rt_flare.jobs.render import check_sites
from rt_flare.jobs.results import collect_results
from rt_flare.jobs.resume import prepare_here
from rt_flare.jobs.simulator import RunEnding, run_simulator, simulated_outcome
from rt_flare.jobs.submission import SUBMISSION_FILE, Submission, read_submission, write_submission
from rt_flare.jobs.submit import place_job, read_meta

__all__ = ["find_run", "resume_run", "run_command"]


def run_command(
    *, job_folder: Path, sites: Sequence[str] | None, num_sites: int | None, out: Path | None, as_json: bool
) -> int:
    """Run the job, or the project's, collect its results, show them, and return the exit code."""
    if sites is None and num_sites:
        sites = [f"site-{n}" for n in range(1, num_sites + 1)]
    if is_project(job_folder):
        job_dir = (out or job_folder / "run").resolve()
        with _only_run(job_dir):
            project, data_dir = read_project(job_folder), job_dir / "data"
            job, sites = render_project(project, job_dir / "job", sites=sites, data_dir=data_dir)
            return _run_new(job, job_dir, sites, as_json=as_json)
    # Both are checked before anything is printed.
    named = default_sites(job_folder)
    sites = sites if sites is not None else named
    check_sites(sites)
    job_dir = (out or Path(f"{job_folder.resolve().name}-run")).resolve()
    with _only_run(job_dir):
        return _run_new(job_folder, job_dir, sites, as_json=as_json)


def find_run(name: str) -> Path | None:
    """The folder of an `rt-flare run`: ``name`` itself, or that of the project ``name``; None when it is none."""
    for place in (Path(name), Path(name) / "run"):
        if (place / SUBMISSION_FILE).is_file() and not (place / STATUS_FILE).is_file():
            return place.resolve()
    return None


def resume_run(job_dir: Path, *, num_rounds: int | None, as_json: bool) -> int:
    """Go on after the last complete round of an interrupted `rt-flare run`, and return the exit code.

    Raises:
        ResumeError: all its rounds are done, or nothing of them is whole; JobNotRunningError: it still runs.
    """
    with _only_run(job_dir):
        submission = read_submission(job_dir)
        interrupted = RunEnding(JobState.CANCELLED, Failure(kind="server", message="the run was interrupted"))
        left = simulated_outcome(job_dir / "workspace", submission.sites, interrupted)
        if left.rounds:
            collect_results(left, job_dir, resumed=bool(submission.resumed_from))
        _, submission = prepare_here(job_dir, submission, "", num_rounds=num_rounds)
        write_submission(job_dir, submission)
        return _run("resume", job_dir, submission, as_json=as_json)


def _run_new(job_folder: Path, job_dir: Path, sites: Sequence[str], *, as_json: bool) -> int:
    place_job(job_folder, job_dir)
    name = str(read_meta(job_dir / "job").get("name") or job_dir.name)
    submission = Submission(name=name, where="simulator", sites=tuple(sites), submitted_at=now_text())
    write_submission(job_dir, submission)
    return _run("run", job_dir, submission, as_json=as_json)


def _run(command: str, job_dir: Path, submission: Submission, *, as_json: bool) -> int:
    job, resumed = job_dir / "job", bool(submission.resumed_from)
    if as_json:
        outcome = run_simulator(job, job_dir / "workspace", submission.sites, on_round=SilentView().round)
        outputs = collect_results(outcome, job_dir, resumed=resumed)
        print_json(outcome_document(command, outcome, job_dir=job_dir, outputs=outputs, extra={}))
        return exit_code(outcome)
    console = make_console()
    with round_view(console) as view:
        view.stage(f"Running {job} in NVFlare's simulator at {', '.join(submission.sites)}")
        outcome = run_simulator(job, job_dir / "workspace", submission.sites, on_round=view.round)
    outputs = collect_results(outcome, job_dir, resumed=resumed)
    print_outcome(console, outcome)
    print_outputs(console, outputs, job_dir)
    return exit_code(outcome)


@contextmanager
def _only_run(job_dir: Path) -> Iterator[None]:
    """Hold the folder; the lock of a process that was killed is free."""
    job_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(job_dir / ".run.lock", timeout=0):
            yield
    except Timeout as error:
        raise JobNotRunningError(f"{job_dir}: a run is going on there; wait for it, or interrupt it") from error
