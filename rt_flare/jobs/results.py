"""A job's results in one layout: ``files_out/`` with logs, metrics and user files, ``model_out/`` with the models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from rt_flare.core.durable_io import write_atomic
from rt_flare.core.inbox import original_name
from rt_flare.errors import JobError
from rt_flare.jobs.doctor import find_root_cause
from rt_flare.jobs.outcome import SUMMARY_FILE, JobState, RunOutcome, read_summary

__all__ = ["collect_results", "downloaded_outcome", "result_files"]


def collect_results(outcome: RunOutcome, job_dir: Path, *, resumed: bool = False) -> list[Path]:
    """Copy what a run left behind to where users look for it.

    ``files_out/server.log``, ``files_out/client_{n}.log`` (n counts the sites from 1, in their order),
    ``files_out/metrics.json``, ``files_out/fl_round_complete.json``, ``files_out/<site>/round_<n>/...`` (what user
    code wrote) and ``model_out/*``. What an earlier run left in the two folders is removed first. A file that the
    run did not write is left out: a failed run has fewer.

    Args:
        outcome: the run.
        job_dir: the folder for ``files_out`` and ``model_out``.
        resumed: the run continues an earlier one: until it has taken that one's rounds over, only its logs are new.

    Returns:
        The files, sorted.

    Raises:
        OSError: a file cannot be copied.
    """
    stays = resumed and not outcome.rounds
    copies = dict(_logs(outcome) if stays else _copies(outcome))
    copies = {target: source for target, source in copies.items() if source.is_file()}
    for folder in ("files_out", "model_out"):
        if (job_dir / folder).is_dir() and not stays:
            shutil.rmtree(job_dir / folder)
        (job_dir / folder).mkdir(parents=True, exist_ok=True)
    for target, source in copies.items():
        _copy(source, job_dir / target)
    return sorted(job_dir / target for target in copies)


def downloaded_outcome(folder: Path) -> RunOutcome:
    """Describe the folder that ``nvflare job download`` wrote: the server's side of a job that has ended.

    Args:
        folder: the folder named by the job's id, with ``workspace/`` in it, or that one itself.

    Raises:
        JobError: there is no round summary in it.
    """
    found = sorted(folder.rglob(SUMMARY_FILE.name))
    runs = [path.parent.parent for path in found if path.parent.name == SUMMARY_FILE.parent.name]
    if not runs:
        raise JobError(f"{folder}: no {SUMMARY_FILE} below it, expected what `nvflare job download` wrote for a job")
    summary = read_summary(runs[0])
    assert summary is not None
    state = JobState(summary.state) if JobState(summary.state).is_final else JobState.FAILED
    error = summary.error
    if state is JobState.FAILED and error is None:
        error = find_root_cause(runs[0] / "log.txt", {})
    return RunOutcome(
        state=state,
        error=error,
        stop_reason=summary.stop_reason,
        job_id=summary.job_id,
        num_rounds=summary.num_rounds,
        rounds=tuple(summary.rounds),
        server_dir=runs[0],
        server_log=runs[0] / "log.txt",
        site_dirs={},
        site_logs={},
    )


def result_files(outcome: RunOutcome) -> dict[Path, Path]:
    """Every result by its place below the job's folder (see `collect_results`), and the file where it is now."""
    return dict(_copies(outcome))


def _copies(outcome: RunOutcome) -> Iterator[tuple[Path, Path]]:
    """(place below the job's folder, file) of every result."""
    files = Path("files_out")
    yield from _logs(outcome)
    for folder in ("files_out", "model_out"):
        for source in _files(outcome.server_dir / folder):
            place = source.relative_to(outcome.server_dir / folder)
            yield Path(folder) / place.with_name(original_name(place.name)), source
    for site, site_dir in outcome.site_dirs.items():
        for source in _files(site_dir / "out"):
            yield files / site / source.relative_to(site_dir / "out"), source


def _logs(outcome: RunOutcome) -> Iterator[tuple[Path, Path]]:
    yield Path("files_out") / "server.log", outcome.server_log
    for number, log in enumerate(outcome.site_logs.values(), start=1):
        yield Path("files_out") / f"client_{number}.log", log


def _files(folder: Path) -> list[Path]:
    # User code may leave links: only files of its own count, so that no link leads a result elsewhere.
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()) if folder.is_dir() else []


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        write_atomic(target, lambda out: shutil.copyfileobj(file, out, 1 << 20))
