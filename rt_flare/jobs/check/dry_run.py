"""The dry run's preparation: which data, which code, and why there is none."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from rt_flare.data.verify_report import VerifyReport
from rt_flare.errors import RtFlareError
from rt_flare.jobs.check.finding import CheckFinding, error
from rt_flare.jobs.check.first_batch import FirstBatch, take_first_batch
from rt_flare.jobs.check.options import CheckOptions
from rt_flare.jobs.check.trial import Trial, run_trial

__all__ = ["dry_run"]

_DATA_DIR = "/var/tmp/nvflare/data"  # noqa: S108 - the documented default of the sites


def dry_run(
    trial: Trial,
    files: Mapping[str, Path],
    options: CheckOptions,
    *,
    shards_dir: Path | None,
    report: VerifyReport,
    data_root: Path | None = None,
    on_stage: Callable[[str], None],
    unchecked: list[str],
) -> list[CheckFinding]:
    """Try the code on the first batch of the first sound shard.

    Args:
        trial: what to try, without code and data.
        files: the code, by path in the job's folder; the module comes first.
        options: limits.
        shards_dir: folder of the shards; None when there is none here.
        report: what their check found.
        data_root: folder with data to use in place of a shard.
        on_stage: called with a line of text when something begins.
        unchecked: gets why there is no data, if there is none.
    """
    with tempfile.TemporaryDirectory(prefix="rt_flare_batch_") as name:
        batch = FirstBatch(data_root, None) if data_root else None
        if shards_dir is not None:
            on_stage("Taking the first batch of a shard")
            try:
                found = _first_batch(trial, shards_dir, report, Path(name) / "data")
            except RtFlareError as problem:
                fix = "Correct the adapter or its options, or the data."
                return [error("adapter", shards_dir, str(problem), f"data that {trial.adapter!r} reads", fix)]
            batch = found if isinstance(found, FirstBatch) else None
            if isinstance(found, str):
                unchecked.append(f"training: {found}")
        on_stage("Building the model" + (" and training it on one batch, in a process of its own" if batch else ""))
        complete = dataclasses.replace(
            trial,
            files={file: path.read_bytes() for file, path in files.items()},
            origin=dict(files),
            batch=batch,
            memory_limit_bytes=options.memory_limit_bytes,
            deadline_seconds=options.deadline_seconds,
        )
        return run_trial(complete)


def _first_batch(trial: Trial, shards_dir: Path, report: VerifyReport, folder: Path) -> FirstBatch | str:
    bad = {problem.shard for problem in report.problems}
    sound = next((shard.name for shard in report.shards if shard.name not in bad), None)
    if sound is None:
        return "no shard is sound"
    return take_first_batch(
        shards_dir / sound,
        folder,
        batch_size=trial.training.batch_size,
        manifest_file=trial.training.manifest_file,
        adapter=trial.adapter,
        adapter_args=dict(trial.adapter_args),
        data_dir=_DATA_DIR,
    )
