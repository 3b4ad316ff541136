"""The manifest: one JSON object per line, one line per sample.

The format, which every reader of this module enforces:

* UTF-8 without a byte order mark; lines end in ``\\n`` or ``\\r\\n``, the last one may lack it.
* At least one line; a blank line is refused, at the end of the file too; a line with its line end is at most 1 MiB.
* ``id``: non-empty string, unique in the file. ``uri``: non-empty string.
* ``y``: list of integers from 0 to 2**31 - 1; it may be empty (a multi-label sample without a label) and may repeat
  a label. A boolean is not an integer, and neither is ``1.0``.
* ``meta``: an object; null is the same as leaving it out.
* Other fields are ignored. A key that stands twice in an object, ``NaN``, ``Infinity`` and numbers too large for a
  float are refused anywhere in the line.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from rt_flare.core.durable_io import write_atomic
from rt_flare.data.manifest_line import (
    MAX_LABEL,
    MAX_LINE_BYTES,
    ManifestEntry,
    ManifestProblem,
    parse_line,
    repeated_id,
)
from rt_flare.data.manifest_scan import ManifestScan
from rt_flare.errors import ManifestError

__all__ = [
    "MANIFEST_NAME",
    "MAX_LABEL",
    "MAX_LINE_BYTES",
    "ManifestEntry",
    "MissingManifestError",
    "check_manifest",
    "count_entries",
    "describe_problems",
    "iter_manifest",
    "load_manifest",
    "manifest_lines",
    "open_manifest",
    "scan_manifest",
    "write_manifest",
]

MANIFEST_NAME = "manifest.ndjson"
_FIX = "Correct the manifest and build the shard again."


class MissingManifestError(ManifestError, FileNotFoundError):
    """The shard has no manifest where one is needed. It is a `FileNotFoundError` too, and its text says so."""

    code = "manifest_missing"


def iter_manifest(path: Path) -> Iterator[ManifestEntry]:
    """Read the manifest ``path`` entry by entry, in 16 bytes per entry.

    Raises:
        ManifestError: at the first problem; an id that comes twice is one at the end.
        MissingManifestError: there is no such file.
    """
    for item in scan_manifest(path):
        if isinstance(item, ManifestProblem):
            raise ManifestError(describe_problems(path, [item], 1))
        yield item


def load_manifest(path: Path, max_problems: int = 20) -> list[ManifestEntry]:
    """Read the whole manifest ``path``.

    Raises:
        ManifestError: the file breaks the format; the message lists the first ``max_problems`` problems, each with
            file, line, field, found and expected, and counts the others.
        MissingManifestError: there is no such file.
    """
    entries: list[ManifestEntry] = []
    check_manifest(path, entries.append, max_problems)
    return entries


def check_manifest(
    path: Path, take: Callable[[ManifestEntry], None], max_problems: int = 20, scan: ManifestScan | None = None
) -> None:
    """Hand every entry of the manifest ``path`` to ``take``; a ``scan`` of one's own tells where each line starts.

    Raises:
        ManifestError: as in `load_manifest`, at the end.
        MissingManifestError: there is no such file.
    """
    scan = scan or scan_manifest(path)
    problems: list[ManifestProblem] = []
    total = 0
    for item in scan:
        if isinstance(item, ManifestEntry):
            take(item)
            continue
        total += 1
        problems.append(item)
        if len(problems) > 2 * max_problems:
            problems = _first(problems, max_problems)
    total += scan.num_more
    if total:
        raise ManifestError(describe_problems(path, _first(problems, max_problems), total))


def scan_manifest(path: Path) -> ManifestScan:
    """Return a pass over the manifest ``path`` that yields problems too.

    Raises:
        MissingManifestError: there is no such file; raised when the pass begins.
    """
    return ManifestScan(lambda: open_manifest(path))


def count_entries(path: Path) -> int:
    """Return the number of lines of ``path`` that are not blank, without parsing them.

    Raises:
        MissingManifestError: there is no such file.
    """
    with open_manifest(path) as file:
        return sum(1 for line in file if not line.isspace())


def write_manifest(path: Path, entries: Iterable[ManifestEntry]) -> None:
    """Create or replace ``path`` atomically with one line per entry; reading it gives equal entries back.

    Raises:
        ManifestError: there is no entry, an id comes twice, or an entry breaks the format. ``path`` is as it was.
    """

    def write(file: BinaryIO) -> None:
        for line in manifest_lines(entries, path):
            file.write(line)

    write_atomic(path, write)


def manifest_lines(entries: Iterable[ManifestEntry], path: Path) -> Iterator[bytes]:
    """Yield the manifest's lines with their line ends; ``path`` names the manifest in errors.

    Raises:
        ManifestError: as in `write_manifest`.
    """
    seen: dict[str, int] = {}
    number = 0
    for number, entry in enumerate(entries, start=1):
        yield _line_of(entry, number, seen, path)
    if number == 0:
        raise ManifestError(f"{path}: found no entry to write, expected at least one sample. Give the shard samples.")


def describe_problems(path: Path, problems: Sequence[ManifestProblem], total: int) -> str:
    """Say what is wrong with the manifest ``path``: ``problems``, the first of ``total``."""
    lines = [f"{path} breaks the manifest format in {total} {'place' if total == 1 else 'places'}:"]
    lines += [f"  {path.name}:{p.line}: {p.field}: found {p.found}, expected {p.expected}" for p in problems]
    if total > len(problems):
        lines.append(f"  and {total - len(problems)} more")
    return "\n".join([*lines, _FIX])


def _first(problems: list[ManifestProblem], count: int) -> list[ManifestProblem]:
    # Ids that come twice are told at the end, though their lines may be the first ones.
    return sorted(problems, key=lambda problem: problem.line)[:count]


def _line_of(entry: ManifestEntry, number: int, seen: dict[str, int], path: Path) -> bytes:
    document: dict[str, Any] = {"id": entry.id, "uri": entry.uri, "y": list(entry.y)}
    if entry.meta is not None:
        document["meta"] = entry.meta
    try:
        line = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ManifestError(f"{path.name}:{number}: sample {entry.id!r} has no JSON form: {error}") from error
    problems, read = parse_line(line, number)
    if read is not None and read != entry:
        problems = [
            ManifestProblem(number, "entry", "values that change in JSON", "y a tuple, meta of JSON types only")
        ]
    elif read is not None and (first := seen.setdefault(read.id, number)) != number:
        problems = [repeated_id(read.id, number, first)]
    if problems:
        raise ManifestError(describe_problems(path, problems, len(problems)))
    return line


def open_manifest(path: Path) -> BufferedReader:
    """Open ``path`` to read.

    Raises:
        MissingManifestError: there is no such file.
    """
    try:
        return path.open("rb")
    except FileNotFoundError:
        deeper = sorted(path.parent.glob(f"*/{glob.escape(path.name)}"))
        found = f" One lies in the subdirectory {deeper[0].parent.name!r}." if deeper else ""
        raise MissingManifestError(
            f"FileNotFoundError: {path.name}: the shard has no {path.name} at its root {path.parent}.{found} Verify "
            f"the structure of the shard ZIP: the manifest must be at the root, not in a subdirectory. Data that is "
            f"not images needs none: read payload['dataset']['data_root'] yourself, or name another dataset adapter."
        ) from None
