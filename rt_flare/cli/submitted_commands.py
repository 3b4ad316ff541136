"""The commands for submitted jobs: the work, and what is printed of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from rt_flare.cli.envelope import print_envelope
from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.job_view import job_view, print_status
from rt_flare.cli.round_view import make_console
from rt_flare.cli.run_command import find_run, resume_run
from rt_flare.errors import JobError
from rt_flare.jobs.destination import parse_destination
from rt_flare.jobs.downloaded_results import DownloadedResults
from rt_flare.jobs.hocon import read_hocon
from rt_flare.jobs.job_results import JobResults
from rt_flare.jobs.job_status import STATUS_FILE, JobStatus
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.project import is_project, read_project
from rt_flare.jobs.submit import submit_job
from rt_flare.jobs.submit_project import submit_project
from rt_flare.jobs.submitted_job import Job

__all__ = [
    "cancel_command",
    "find_job",
    "logs_command",
    "results_command",
    "resume_command",
    "status_command",
    "stop_command",
    "submit_command",
    "watch_command",
]

_DAY_SECONDS = 86_400.0


def find_job(job: str, kit: Path | None = None) -> Job:
    """Find a job by its folder, its name below ``jobs/``, or its id at the server of ``kit``.

    Raises:
        JobError: there is none.
    """
    _quieten()
    if kit is not None:
        return Job.attach(job, kit)
    for place in (Path(job), Path("jobs") / job):
        if (place / STATUS_FILE).is_file():
            return Job.open(place)
    raise JobError(
        f"{job}: found no {STATUS_FILE} there nor in {Path('jobs') / job}, expected the folder or the name of a "
        "submitted job, or NVFlare's id of one with --kit"
    )


def submit_command(
    *, job_folder: Path, where: str, sites: Sequence[str] | None, out: Path | None, watch: bool, as_json: bool
) -> int:
    """Submit a job, or a project's, say where it is, and return the exit code; with ``watch``, that of the job."""
    _quieten()
    destination = parse_destination(where)
    if is_project(job_folder):
        project = read_project(job_folder)
        folder = out or Path("jobs") / project.config.federation.job_name
        job = submit_project(project, folder, destination, sites=sites)
    else:
        folder = out or Path("jobs") / _name(job_folder)
        job = submit_job(job_folder, folder, destination, sites=sites)
    if watch:
        return _watch(job, _DAY_SECONDS, "submit", as_json=as_json)
    if as_json:
        return print_envelope("submit", _document(job, job.status))
    console = make_console()
    console.print(Text(f"{job.name} was submitted; it runs on without this shell. Its folder: {folder}"))
    console.print(Text(f"  rt-flare watch {folder}"))
    return ExitCode.OK


def status_command(*, job: str, kit: Path | None, as_json: bool) -> int:
    """Show a job's status, and return the exit code: 1 for a failed or cancelled job, 2 when its server is silent."""
    found = find_job(job, kit)
    status = found.refresh()
    code = _exit_code(status) if found.answers else ExitCode.CONNECTION
    if as_json:
        return print_envelope("status", _document(found, status), code)
    print_status(make_console(), status)
    return code


def watch_command(*, job: str, kit: Path | None, timeout_seconds: float, as_json: bool) -> int:
    """Show a job until it has ended, and return its exit code."""
    return _watch(find_job(job, kit), timeout_seconds, "watch", as_json=as_json)


def stop_command(*, job: str, kit: Path | None, reason: str, as_json: bool) -> int:
    """Ask a job to end after its round, and return the exit code."""
    found = find_job(job, kit)
    found.stop(reason)
    if as_json:
        return print_envelope("stop", _document(found, found.refresh()))
    make_console().print(Text(f"{found.name} ends after its current round; rt-flare watch shows it"), soft_wrap=True)
    return ExitCode.OK


def cancel_command(*, job: str, kit: Path | None, as_json: bool) -> int:
    """End a job, wait until it has ended, and return the exit code: 0 when it was cancelled."""
    found = find_job(job, kit)
    state = found.cancel()
    code = ExitCode.OK if state is JobState.CANCELLED else ExitCode.FAILED
    if as_json:
        return print_envelope("cancel", _document(found, found.status), code)
    print_status(make_console(), found.status)
    return code


def logs_command(*, job: str, site: str, tail: int, kit: Path | None, as_json: bool) -> int:
    """Print logs, and return the exit code."""
    found = find_job(job, kit)
    logs = found.logs()
    if site != "all":
        if site not in logs:
            raise JobError(f"{found.name}: no log of {site!r} here, found: {', '.join(logs) or 'none'}")
        logs = {site: logs[site]}
    if tail:
        logs = {name: "".join(text.splitlines(keepends=True)[-tail:]) for name, text in logs.items()}
    if as_json:
        return print_envelope("logs", {"name": found.name, "logs": logs})
    for name, text in logs.items():
        if len(logs) > 1:
            print(f"==> {name} <==")
        print(text, end="" if text.endswith("\n") else "\n")
    return ExitCode.OK


def resume_command(*, job: str, rounds: int | None, watch: bool, as_json: bool) -> int:
    """Let a job, or an interrupted `rt-flare run`, go on, and return the exit code; with ``watch``, that of the job."""
    run_folder = find_run(job)
    if run_folder is not None:
        return resume_run(run_folder, num_rounds=rounds, as_json=as_json)
    found = find_job(job).resume(num_rounds=rounds)
    if watch:
        return _watch(found, _DAY_SECONDS, "resume", as_json=as_json)
    status = found.status
    if as_json:
        return print_envelope("resume", _document(found, status))
    console = make_console()
    console.print(Text(f"{found.name} goes on without this shell, {_where_it_goes_on(status)}"), soft_wrap=True)
    console.print(Text(f"  rt-flare watch {found.folder}"), soft_wrap=True)
    return ExitCode.OK


def results_command(*, job: str, name: str | None, download: Path | None, url: bool, as_json: bool) -> int:
    """List, print, copy or lend results, and return the exit code."""
    results = _find_results(job)
    if name is None:
        files = results.list()
        if as_json:
            listed = [{"name": file.name, "size_bytes": file.size} for file in files]
            return print_envelope("results", {"place": results.place, "files": listed})
        for file in files:
            print(f"{file.size:>14,}  {file.name}")
        return ExitCode.OK
    if download is not None:
        shown = {"name": name, "path": str(results.download(name, download))}
    elif url:
        shown = {"name": name, "url": results.url(name)}
    else:
        shown = {"name": name, "text": results.read_text(name)}
    if as_json:
        return print_envelope("results", shown)
    text = list(shown.values())[-1]
    print(text, end="" if text.endswith("\n") else "\n")
    return ExitCode.OK


def _find_results(job: str) -> JobResults:
    """Those of a submitted job; or those in a folder of ``rt-flare run`` or of ``nvflare job download``."""
    folder = Path(job)
    if (folder / STATUS_FILE).is_file() or not folder.is_dir():
        return find_job(job).results()
    if (folder / "files_out").is_dir():
        return JobResults(folder)
    return DownloadedResults(folder)


def _quieten() -> None:
    # What its connections log about a server that does not answer is said by our own error.
    logging.getLogger("nvflare").setLevel(logging.CRITICAL)


def _watch(job: Job, timeout_seconds: float, command: str, *, as_json: bool) -> int:
    if as_json:
        job.wait(timeout_seconds)
        return print_envelope(command, _document(job, job.status), _exit_code(job.status))
    console = make_console()
    with job_view(console) as view:
        job.wait(timeout_seconds, on_status=view.show)
    print_status(console, job.status)
    if job.folder is not None:
        console.print(Text(f"  rt-flare results {job.folder}"), soft_wrap=True)
    return _exit_code(job.status)


def _exit_code(status: JobStatus) -> ExitCode:
    return ExitCode.FAILED if status.state in {JobState.FAILED, JobState.CANCELLED} else ExitCode.OK


def _document(job: Job, status: JobStatus) -> dict[str, object]:
    workers = {**status.workers.model_dump(), "healthy": status.workers.healthy}
    return {**status.document(), "workers": workers, "folder": str(job.folder) if job.folder else None}


def _where_it_goes_on(status: JobStatus) -> str:
    done, total = status.progress.rounds_done, status.progress.num_rounds
    if done:
        return f"{done} of {total} rounds done" if status.kit is None else "after its last complete round on the server"
    return "from the beginning: no round was complete" if status.kit is None else "as its server finds it"


def _name(job_folder: Path) -> str:
    meta = next((p for p in (job_folder / "meta.json", job_folder / "meta.conf") if p.is_file()), None)
    if meta is None:
        raise JobError(f"{job_folder}: no meta.json or meta.conf, expected a job folder of NVFlare")
    name = str(read_hocon(meta).get("name") or job_folder.resolve().name)
    if name in {".", ".."} or not name.isprintable() or set(name) & {"/", "\\"}:
        raise JobError(f"{meta}: name: found {name[:200]!r}, expected the name of a folder; or say --out DIR")
    return name
