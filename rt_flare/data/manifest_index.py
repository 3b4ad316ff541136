"""A manifest of any size as a sequence: checked once, then opened by mapping a file, parsed line by line on demand."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, overload

import numpy as np
import numpy.typing as npt
import orjson

from rt_flare.core.durable_io import write_atomic
from rt_flare.data.cache_home import cache_home
from rt_flare.data.manifest import ManifestEntry, check_manifest, scan_manifest
from rt_flare.data.manifest_line import parse_line
from rt_flare.errors import ManifestError

__all__ = ["LabelStats", "MappedManifest", "indexed_count"]

_SCHEMA = "rt_flare.manifest_index/1"
_HEADER_BYTES = 4096
_SETTLED_SECONDS = 2.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelStats:
    """What a dataset needs to know about all labels at once; -1 and 0 where there are none.

    Attributes:
        max_label, max_label_line: the largest label, and the first line that has it.
        fewest, fewest_line: the smallest number of labels of an entry, and the first line with so many.
        most, most_line: the largest.
    """

    max_label: int = -1
    max_label_line: int = 0
    fewest: int = -1
    fewest_line: int = 0
    most: int = -1
    most_line: int = 0


class MappedManifest(Sequence[ManifestEntry]):
    """The entries of a manifest, each parsed when it is asked for.

    Opening one for the first time reads and checks the manifest and writes where its lines start to `cache_home`.
    From then on that file is mapped, and the manifest is not read again until its size, date or inode change. Can be
    pickled: the other process opens the same files.

    Attributes:
        path: the manifest.
        labels: what is known of all labels.
    """

    def __init__(self, path: Path, offsets: npt.NDArray[np.uint64], size: int, labels: LabelStats) -> None:
        self.path = path
        self.labels = labels
        self._offsets = offsets
        self._size = size
        self._file = path.open("rb", buffering=0)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the manifest ``path``.

        Raises:
            ManifestError: the manifest breaks its format; all problems at once (see `load_manifest`).
            MissingManifestError: there is no such file.
        """
        found = _read_index(path)
        if found is not None:
            return cls(path, *found)
        return cls(path, *_make_index(path))

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> ManifestEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[ManifestEntry]: ...
    def __getitem__(self, index: int | slice) -> ManifestEntry | list[ManifestEntry]:
        """Parse one line, or several.

        Raises:
            IndexError: there is no such entry.
            ManifestError: the manifest has been changed since it was opened.
        """
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start = int(self._offsets[place])
        stop = int(self._offsets[place + 1]) if place + 1 < len(self) else self._size
        entry = parse_line(os.pread(self._file.fileno(), stop - start, start), place + 1)[1]
        if entry is None:
            raise ManifestError(f"{self.path}:{place + 1}: the file was changed while it was in use. Start again.")
        return entry

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedManifest.open, (self.path,)


def indexed_count(path: Path) -> int | None:
    """Return the number of entries of a manifest that was opened before; None if it was not, or has changed."""
    found = _read_index(path)
    return len(found[0]) if found is not None else None


def _make_index(path: Path) -> tuple[npt.NDArray[np.uint64], int, LabelStats]:
    before = time.time()
    state = _state(path) if path.exists() else {}
    offsets = array("Q")
    seen = LabelStats()
    values = asdict(seen)
    scan = scan_manifest(path)

    def take(entry: ManifestEntry) -> None:
        offsets.append(scan.offset)
        count = len(entry.y)
        if count > values["most"]:
            values["most"], values["most_line"] = count, entry.line
        if count < values["fewest"] or not values["fewest_line"]:
            values["fewest"], values["fewest_line"] = count, entry.line
        if count and (largest := max(entry.y)) > values["max_label"]:
            values["max_label"], values["max_label_line"] = largest, entry.line

    check_manifest(path, take, scan=scan)
    places = np.asarray(offsets, dtype=np.uint64)
    # A file that was written just now may be written again within the precision of its date.
    if before - state["ctime_ns"] / 1e9 > _SETTLED_SECONDS and _state(path) == state:
        _write_index(path, {"schema": _SCHEMA, "count": len(places), **state, "labels": values}, places)
    return places, state["size"], LabelStats(**values)


def _read_index(path: Path) -> tuple[npt.NDArray[np.uint64], int, LabelStats] | None:
    index = _index_path(path)
    header = _header(index)
    if header is None:
        return None
    state = _state(path)
    if {key: header[key] for key in state} != state:
        return None
    offsets: npt.NDArray[np.uint64] = np.memmap(
        index, dtype="<u8", mode="r", offset=_HEADER_BYTES, shape=(header["count"],)
    )
    return offsets, state["size"], LabelStats(**header["labels"])


def _header(index: Path) -> dict[str, Any] | None:
    try:
        with index.open("rb") as file:
            header = orjson.loads(file.read(_HEADER_BYTES))
            size = os.fstat(file.fileno()).st_size
    except (OSError, orjson.JSONDecodeError):
        return None  # there is none, or one of another make: it is made anew
    if not isinstance(header, dict) or header.get("schema") != _SCHEMA or size != _HEADER_BYTES + 8 * header["count"]:
        return None
    return header


def _write_index(path: Path, header: dict[str, Any], offsets: npt.NDArray[np.uint64]) -> None:
    def write(file: BinaryIO) -> None:
        file.write(orjson.dumps(header).ljust(_HEADER_BYTES))
        file.write(offsets.astype("<u8", copy=False).data)

    index = _index_path(path)
    try:
        write_atomic(index, write)
    except OSError as error:
        # The next process reads the manifest again, no more than that.
        _logger.warning("%s: the index of %s cannot be kept: %s. Set RT_FLARE_CACHE_DIR.", index, path, error)
        return
    for other in index.parent.glob("*.index"):
        about = _header(other)
        if about is not None and not Path(about["path"]).exists():
            other.unlink(missing_ok=True)


def _state(path: Path) -> dict[str, Any]:
    about = path.stat()
    return {
        "path": str(path.resolve()),
        "size": about.st_size,
        "mtime_ns": about.st_mtime_ns,
        "ctime_ns": about.st_ctime_ns,
        "inode": about.st_ino,
    }


def _index_path(path: Path) -> Path:
    return cache_home() / "manifests" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.index"
