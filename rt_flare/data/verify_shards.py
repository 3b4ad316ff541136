"""Check shards in one pass before they travel: number, structure, manifest, labels, images; every problem at once."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from rt_flare.data.archive import DEFAULT_LIMITS, ArchiveLimits, ShardArchive, open_archive
from rt_flare.data.archive_check import is_folder
from rt_flare.data.manifest import MANIFEST_NAME, ManifestEntry
from rt_flare.data.manifest_line import ManifestProblem
from rt_flare.data.manifest_scan import ManifestScan
from rt_flare.data.shard_names import list_shard_files, shard_index
from rt_flare.data.uris import entry_name, is_remote
from rt_flare.data.verify_report import MAX_COUNTED_LABELS, ShardFindings, VerifyReport
from rt_flare.errors import DataError, ShardError

__all__ = ["VerifyOptions", "verify_manifest", "verify_shards"]

MAX_IMAGE_BYTES = 512 << 20


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """What to hold shards against.

    Attributes:
        num_sites: number of sites; None for any.
        num_classes: width of the labels; 0 infers it.
        manifest_file: name of the manifest in each shard; "" for shards without one.
        images: decode every image that the manifest names; otherwise files are only read.
        data_dir: where sites unpack shards, for uris with absolute paths.
        limits: what a shard may expand to.
    """

    num_sites: int | None = None
    num_classes: int = 0
    manifest_file: str = MANIFEST_NAME
    images: bool = True
    data_dir: str = "/var/tmp/nvflare/data"  # noqa: S108 - the documented default of the sites
    limits: ArchiveLimits = DEFAULT_LIMITS


def verify_shards(
    folder: Path, options: VerifyOptions, on_progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check the shards of ``folder``; each file in them is read once.

    Args:
        folder: holds ``shard_0001.zip`` and on.
        options: what to hold them against.
        on_progress: called with bytes checked and bytes of all files, unpacked.
    """
    report = VerifyReport()
    paths, problems = list_shard_files(folder)
    for problem in problems:
        report.add("", problem, kind="shard-row")
    if options.num_sites is not None and len(paths) != options.num_sites:
        counts = f"found {len(paths)} shards for {options.num_sites} sites, expected one per site"
        report.add("", f"{folder}: {counts}", kind="shard-count")
    total = sum(path.stat().st_size for path in paths)
    done = 0

    def count(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        if on_progress is not None:
            on_progress(done, total)

    for path in paths:
        report.shards.append(_ShardCheck(path, options, report, count).run())
    _judge_labels(report, options.num_classes)
    return report


def verify_manifest(
    path: Path, num_classes: int = 0, on_progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check a manifest by itself: its format, the form of its uris, its labels; the files are not looked for."""
    report = VerifyReport()
    if not path.is_file():
        report.add("", f"{path}: no such file, expected a manifest", kind="manifest-missing")
        return report
    findings = ShardFindings(name=path.name)
    size = path.stat().st_size
    scan = ManifestScan(lambda: path.open("rb"))
    for number, item in enumerate(_manifest_items(scan, path.name, findings, report)):
        _check_uri(item, PurePosixPath("/data"), path.name, findings, report)
        if on_progress is not None and number % 1000 == 0:
            on_progress(scan.position, size)
    report.shards.append(findings)
    _judge_labels(report, num_classes)
    return report


class _ShardCheck:
    """The check of one shard."""

    def __init__(self, path: Path, options: VerifyOptions, report: VerifyReport, count: Callable[[int], None]) -> None:
        self._path = path
        self._options = options
        self._report = report
        self._count = count
        self._findings = ShardFindings(name=path.name)
        self._root = PurePosixPath(options.data_dir) / str(shard_index(path.name))

    def run(self) -> ShardFindings:
        """Report every problem."""
        try:
            with open_archive(self._path, self._options.limits) as archive:
                before = self._report.num_problems
                for problem in archive.problems():
                    self._problem(problem)
                # What breaks the structure may be a trap to read.
                if self._report.num_problems == before:
                    self._check_contents(archive)
        except ShardError as error:
            self._problem(str(error).removeprefix(f"{self._path}: "))
        return self._findings

    def _check_contents(self, archive: ShardArchive) -> None:
        files = [info for info in archive.infos if not is_folder(info)]
        self._findings.num_files = len(files)
        self._findings.num_bytes = sum(info.file_size for info in files)
        manifest = next((info for info in files if info.filename == self._options.manifest_file), None)
        lines: dict[str, int] = {}
        if manifest is not None:
            lines = self._check_manifest(archive, manifest, {info.filename for info in files})
        elif self._options.manifest_file:
            self._problem(
                f"found no {self._options.manifest_file} at the root. Put one there, or check shards without one",
                kind="manifest-missing",
            )
        for info in files:
            if info is not manifest:
                self._check_file(archive, info, lines.get(info.filename))
        if self._options.manifest_file:
            self._findings.num_unlisted = len(files) - len(lines) - (manifest is not None)

    def _check_manifest(self, archive: ShardArchive, info: zipfile.ZipInfo, names: set[str]) -> dict[str, int]:
        """Return the first line that names each file."""
        lines: dict[str, int] = {}
        scan = ManifestScan(lambda: cast("BinaryIO", io.BufferedReader(_EntryFile(archive.read(info)), 1 << 20)))
        for entry in _manifest_items(scan, self._path.name, self._findings, self._report):
            name = _check_uri(entry, self._root, self._path.name, self._findings, self._report)
            if name is not None and name not in names:
                what = f"sample {entry.id!r}: uri: found {entry.uri!r}, expected a file in the ZIP"
                self._problem(what, entry.line, kind="file-missing")
            elif name is not None:
                lines.setdefault(name, entry.line)
        self._count(info.compress_size)
        return lines

    def _check_file(self, archive: ShardArchive, info: zipfile.ZipInfo, line: int | None) -> None:
        from rt_flare.data.image_decoding import decode_square

        decode = self._options.images and line is not None
        content = bytearray()
        try:
            if decode and info.file_size > MAX_IMAGE_BYTES:
                raise DataError(f"{info.file_size} bytes, expected at most {MAX_IMAGE_BYTES} for an image")
            for piece in archive.read(info):
                if decode:
                    content += piece
            if decode:
                decode_square(bytes(content), 3, 8)
        except DataError as error:
            kind = "image" if decode else "shard-structure"
            self._problem(f"{info.filename!r}: {str(error).removeprefix(f'{self._path}: ')}", line, kind=kind)
        self._count(info.compress_size)

    def _problem(self, what: str, line: int | None = None, *, kind: str = "shard-structure") -> None:
        self._report.add(self._path.name, what, line, kind=kind)


def _manifest_items(
    scan: ManifestScan, name: str, findings: ShardFindings, report: VerifyReport
) -> Iterator[ManifestEntry]:
    """Yield the entries, with their labels counted and all problems reported."""
    for item in scan:
        if isinstance(item, ManifestProblem):
            what = f"{item.field}: found {item.found}, expected {item.expected}"
            report.add(name, what, item.line, kind="manifest-line")
            continue
        findings.num_samples += 1
        for label in item.y:
            if label < MAX_COUNTED_LABELS:
                findings.label_counts[label] = findings.label_counts.get(label, 0) + 1
            if label > findings.max_label:
                findings.max_label, findings.max_label_line, findings.max_label_id = label, item.line, item.id
        if len(item.y) != 1 and findings.odd_line is None:
            findings.odd_line = item.line
        yield item
    report.num_problems += scan.num_more


def _check_uri(
    entry: ManifestEntry, root: PurePosixPath, name: str, findings: ShardFindings, report: VerifyReport
) -> str | None:
    """Return the name of the entry's file in the shard; None for a remote one, or one that is refused."""
    if is_remote(entry.uri):
        findings.num_remote += 1
        return None
    try:
        return entry_name(entry.uri, root)
    except DataError as error:
        report.add(name, f"sample {entry.id!r}: {error}", entry.line, kind="uri")
        return None


def _judge_labels(report: VerifyReport, num_classes: int) -> None:
    report.num_classes = max((shard.max_label for shard in report.shards), default=-1) + 1
    for shard in report.shards:
        if 0 < num_classes <= shard.max_label:
            report.add(
                shard.name,
                f"sample {shard.max_label_id!r}: found label {shard.max_label}, expected 0 to {num_classes - 1}. Set "
                f"num_classes to at least {report.num_classes}, or to 0 to infer it.",
                shard.max_label_line,
                kind="label",
            )
        if shard.num_unlisted:
            report.notes.append(f"{shard.name}: {shard.num_unlisted} files are not named by the manifest")
        if shard.num_remote:
            report.notes.append(f"{shard.name}: {shard.num_remote} images are remote and were not fetched")
    odd = [shard for shard in report.shards if shard.odd_line is not None]
    if odd and len(odd) < sum(shard.num_samples > 0 for shard in report.shards):
        report.notes.append(
            f"{odd[0].name}:{odd[0].odd_line} has not exactly one label, and other shards have one everywhere: set the "
            f"adapter's option multi_label, or sites train with targets of different shapes"
        )
    seen = {label for shard in report.shards for label in shard.label_counts}
    missing = sorted(set(range(report.num_classes)) - seen) if report.num_classes <= MAX_COUNTED_LABELS else []
    if missing:
        more = ", ..." if len(missing) > 10 else ""
        report.notes.append(f"no sample has the labels {', '.join(map(str, missing[:10]))}{more}")


class _EntryFile(io.RawIOBase):
    """An entry of an archive as a file that is read from its start to its end."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` with what comes next; 0 at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
