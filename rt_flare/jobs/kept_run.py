"""What is kept of a run on this machine for the run that continues it: in ``workspace/.earlier``, by site.

There, as in a workspace of NVFlare, ``server/`` is a run folder with the results, and ``SITE/state`` is what user code
kept at a site; ``SITE/out`` what it wrote there, which a deployment's server may not have in full. NVFlare's simulator
and a deployment of the job's own empty their folders when they start: all this is put into them afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from rt_flare.core.durable_io import link_or_copy, write_json
from rt_flare.core.earlier_run import EarlierRun, read_earlier_run
from rt_flare.core.ledger import ROUND_SUMMARY_FILE
from rt_flare.jobs.submission import Submission

__all__ = ["EARLIER_FOLDER", "SIMULATED_EARLIER_ID", "keep_run", "place_run"]

EARLIER_FOLDER = ".earlier"  # the doctor leaves such a folder alone
SIMULATED_EARLIER_ID = "earlier_run"
"""The id by which a job in the simulator finds the run that it continues: all jobs there have one and the same."""

_META = "meta.json"


def keep_run(folder: Path, submission: Submission, job_ids: Sequence[str]) -> EarlierRun | None:
    """Set aside what the run in a job's folder left, and return its complete rounds; None when it came to none.

    Args:
        folder: the job's folder, with the results of the run.
        submission: how it was run.
        job_ids: under which its processes had their folders: its own, and those that it continued.

    Raises:
        ResumeError: rounds were done, and nothing of them is whole.
        OSError: a file cannot be moved.
    """
    kept = folder / "workspace" / EARLIER_FOLDER
    run_folders = _run_folders(folder, submission, job_ids)
    for site in submission.sites:
        left = next((path for path in run_folders(site) if (path / "state").is_dir()), None)
        if left is not None:
            if (kept / site).is_dir():
                shutil.rmtree(kept / site)
            (kept / site).mkdir(parents=True)
            for name in ("state", "out") if submission.where == "poc" else ("state",):
                if (left / name).is_dir():
                    (left / name).rename(kept / site / name)
            _keep_meta([left], kept / site)
    if not (folder / "files_out" / ROUND_SUMMARY_FILE).is_file():
        return None
    server = kept / "server"
    if server.is_dir():
        shutil.rmtree(server)
    for name in ("files_out", "model_out"):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, server / name, copy_function=link_or_copy)
    _keep_meta([path for name in ("server", *submission.sites) for path in run_folders(name)], server)
    return read_earlier_run(server)


def place_run(folder: Path, place: Callable[[str], Path]) -> None:
    """Move what `keep_run` has set aside to where the processes of the next run look for it.

    Args:
        folder: the job's folder.
        place: the folder for ``server`` or a site.

    Raises:
        OSError: a file cannot be moved.
    """
    kept = folder / "workspace" / EARLIER_FOLDER
    for source in sorted(kept.iterdir()) if kept.is_dir() else []:
        target = place(source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)


def _run_folders(folder: Path, submission: Submission, job_ids: Sequence[str]) -> Callable[[str], list[Path]]:
    workspace = folder / "workspace"
    pattern = "simulator/{}/{}" if submission.where == "simulator" else "poc/kits/*/*/{}/{}"
    return lambda name: [path for job_id in job_ids for path in workspace.glob(pattern.format(name, job_id))]


def _keep_meta(folders: Sequence[Path], target: Path) -> None:
    """Whose job it was; all processes of it have the same."""
    source = next((path / _META for path in folders if (path / _META).is_file()), None)
    if source is None:
        write_json(target / _META, {})
    else:
        shutil.copyfile(source, target / _META)
