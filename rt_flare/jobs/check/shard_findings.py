"""Shards: number, structure, manifests, labels, images; the work is done by `rt_flare.data.verify_shards`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from rt_flare.data.manifest import MANIFEST_NAME
from rt_flare.data.verify_report import VerifyReport
from rt_flare.data.verify_shards import VerifyOptions, verify_shards
from rt_flare.jobs.check.finding import CheckFinding, error

__all__ = ["check_shards", "expected_manifest", "shard_findings"]

# Kind of problem to what is expected, and what to do.
_ADVICE = {
    "shard-row": ("shard_0001.zip and on, without a gap", "Rename or remove what is no shard; build what is missing."),
    "shard-count": ("one shard per site", "Build as many shards as there are sites: rt-flare shards build -n N."),
    "shard-structure": ("a sound ZIP with its files at the root", "Build the shard again: rt-flare shards build."),
    "manifest-missing": ("the manifest at the root of the ZIP", "Zip the folder's contents, not the folder."),
    "manifest-line": ('lines like {"id": "a", "uri": "file://a.png", "y": [3]}', "Correct the line and build again."),
    "uri": ("files inside the shard, or https://", "Correct the manifest and build the shard again."),
    "file-missing": ("every file that the manifest names", "Put it into the ZIP, or take its line out."),
    "image": ("images that can be decoded", "Replace the file, or take its line out of the manifest."),
    "label": ("labels from 0 to num_classes - 1", "Set num_classes to what the labels need, or to 0 to infer it."),
}


def check_shards(folder: Path, options: VerifyOptions) -> tuple[list[CheckFinding], VerifyReport]:
    """Every problem of a folder of shards, and what they hold."""
    report = verify_shards(folder, options)
    return shard_findings(folder, report), report


def shard_findings(folder: Path, report: VerifyReport) -> list[CheckFinding]:
    """Every problem that is in ``report``, which is about ``folder``."""
    return list(_findings(folder, report))


def expected_manifest(folder: Path, name: str = MANIFEST_NAME, code: Iterable[Path] = ()) -> str:
    """Name of the manifest that the shards should have; "" where data of another kind is meant.

    That is so when no shard holds a file of that name, at its root or deeper, and no module opens the dataset.
    """
    if any("open_dataset" in path.read_text(errors="replace") for path in code if path.suffix == ".py"):
        return name
    for path in sorted(folder.glob("*.zip")):
        try:
            with zipfile.ZipFile(path) as archive:
                if any(PurePosixPath(entry).name == name for entry in archive.namelist()):
                    return name
        except (zipfile.BadZipFile, OSError):
            continue  # named by the check of the shard
    return ""


def _findings(folder: Path, report: VerifyReport) -> Iterator[CheckFinding]:
    for problem in report.problems:
        expected, fix = _ADVICE[problem.kind]
        file = folder / problem.shard if problem.shard else folder
        found = problem.what.removeprefix(f"{folder}: ")
        yield error(problem.kind, file, found, expected, fix, line=problem.line)
    if (more := report.num_problems - len(report.problems)) > 0:
        yield error("manifest-line", folder, f"{more} more problems", "none", "Correct those that are listed first.")
