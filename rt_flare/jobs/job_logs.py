"""The logs of a job that runs, or ran, on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rt_flare.jobs.submission import read_submission

__all__ = ["logs_in", "write_as_run_folder"]


def logs_in(folder: Path, *, running: bool) -> dict[str, str]:
    """The logs in a job's folder, by ``server`` and the names of the sites; what is not there is left out.

    Args:
        folder: the job's folder.
        running: whether the job runs in the simulator; else its results are there.

    Raises:
        JobError: it is not a job's folder.
    """
    sites = read_submission(folder).sites
    if running:
        root = folder / "workspace" / "simulator"
        files = {name: root / name / "log.txt" for name in ("server", *sites)}
    else:
        out = folder / "files_out"
        files = {"server": out / "server.log"}
        files |= {site: out / f"client_{number}.log" for number, site in enumerate(sites, start=1)}
    return {name: path.read_text(errors="replace") for name, path in files.items() if path.is_file()}


def write_as_run_folder(folder: Path, logs: Mapping[str, str]) -> None:
    """Write ``logs``, by process, as in a server's run folder, where the doctor knows whose log is whose."""
    (folder / "files_out").mkdir()
    for process, text in logs.items():
        place = folder if process == "server" else folder / process
        place.mkdir(exist_ok=True)
        (place / "log.txt").write_text(text)
