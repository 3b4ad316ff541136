"""A manifest as a mapped file: read once, then opened without reading a line, whatever its length.

The file holds, after its header, ``num_entries + 1`` ends of the lines, of the label lists and of the uris, then all
labels, then all uris. It is written whole and renamed, so its header and its size vouch for it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import tempfile
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
import numpy.typing as npt

from rt_flare.core.durable_io import write_atomic
from rt_flare.data.file_identity import FileIdentity, identify, is_settled
from rt_flare.data.manifest import ManifestEntry, check_manifest, describe_problems, open_manifest, scan_manifest
from rt_flare.data.manifest_line import parse_line
from rt_flare.data.mapped_file import HEADER_BYTES, map_file, pack_header, read_header
from rt_flare.errors import ManifestError

__all__ = ["INDEX_SUFFIX", "ManifestIndex", "open_index"]

INDEX_SUFFIX = ".index"
_FORMAT = 1
_BLOCK = 1 << 16
_logger = logging.getLogger(__name__)


class ManifestIndex(Sequence[ManifestEntry]):
    """The entries of one manifest, each read from its line when asked for; labels and uris come from the mapped file.

    Attributes:
        path: the manifest.
        sha256: of the manifest's contents, in hexadecimal.
        max_label: the largest label, -1 if there is none.
        label_counts: fewest and most labels of an entry.
        file: the mapped file, None for an index in memory.
    """

    def __init__(self, path: Path, header: dict[str, Any], data: Any, file: Path | None) -> None:
        self.path = path
        self.sha256: str = header["sha256"]
        self.max_label: int = header["max_label"]
        self.label_counts: tuple[int, int] = tuple(header["label_counts"])
        self.file = file
        self._identity = FileIdentity(*header["identity"])
        self._num_entries: int = header["num_entries"]
        ends = 8 * (self._num_entries + 1)
        places = np.cumsum([HEADER_BYTES, ends, ends, ends, 4 * header["num_labels"]]).tolist()
        self._line_ends, self._label_ends, self._uri_ends = (
            np.frombuffer(data, np.uint64, self._num_entries + 1, place).view(np.int64) for place in places[:3]
        )
        self._labels = np.frombuffer(data, np.int32, header["num_labels"], places[3])
        self._uris = memoryview(data)[places[4] :]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.file and self.file.parent, self.sha256)

    def __len__(self) -> int:
        return self._num_entries

    @overload
    def __getitem__(self, index: int) -> ManifestEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[ManifestEntry]: ...
    def __getitem__(self, index: int | slice) -> ManifestEntry | list[ManifestEntry]:
        """Read one entry, or several, from the manifest.

        Raises:
            ManifestError: the manifest has changed since the index was opened.
        """
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        start, end = self._line_ends[position : position + 2].tolist()
        with open_manifest(self.path) as file:
            if identify(os.fstat(file.fileno())) != self._identity:
                raise _changed(self.path)
            file.seek(start)
            problems, entry = parse_line(file.read(end - start), position + 1)
        if entry is None:
            raise ManifestError(describe_problems(self.path, problems, len(problems)))
        return entry

    def uri(self, index: int) -> str:
        """Return the uri of entry ``index``, counted from 0."""
        start, end = self._uri_ends[index : index + 2].tolist()
        return str(self._uris[start:end], "utf-8")

    def labels(self, index: int) -> npt.NDArray[np.int32]:
        """Return the labels of entry ``index``, counted from 0."""
        start, end = self._label_ends[index : index + 2].tolist()
        return self._labels[start:end]

    def single_labels(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return the label of each of these entries, all of which have one or more; the first one counts."""
        return self._labels[self._label_ends[indices]]

    def find_label_count_other_than(self, expected: int) -> int:
        """Return the first entry with another number of labels; there must be one."""
        return int(np.argmax(np.diff(self._label_ends) != expected))

    def find_label_from(self, minimum: int) -> int:
        """Return the first entry with a label of at least ``minimum``; there must be one."""
        return int(np.searchsorted(self._label_ends, np.argmax(self._labels >= minimum), side="right")) - 1


def open_index(manifest: Path, folder: Path | None, *, max_problems: int = 20) -> ManifestIndex:
    """Return the index of ``manifest``, mapped from a file in ``folder``; the manifest is read if it is new there.

    The file counts as long as the manifest has the size and the times that it had when it was read. Without a folder
    the index is made in memory.

    Raises:
        ManifestError: the manifest breaks its format (see `load_manifest`), or changes while it is read.
        MissingManifestError: there is no manifest.
    """
    with open_manifest(manifest) as source:
        if folder is not None:
            name = hashlib.sha256(os.fsencode(manifest.resolve())).hexdigest()[:32]
            file = folder / f"{name}{INDEX_SUFFIX}"
            index = _map(manifest, identify(os.fstat(source.fileno())), file)
            if index is not None:
                return index
            try:
                return _make(manifest, source, file, max_problems)
            except OSError as error:
                _logger.warning("%s: the index of %s stays in memory: %s", file, manifest, error)
                source.seek(0)
        buffer = io.BytesIO()
        header = _write(manifest, source, buffer, None, max_problems)
        return ManifestIndex(manifest, header, buffer.getbuffer(), None)


def _reopen(manifest: Path, folder: Path | None, sha256: str) -> ManifestIndex:
    index = open_index(manifest, folder)
    if index.sha256 != sha256:
        raise _changed(manifest)
    return index


def _changed(manifest: Path) -> ManifestError:
    return ManifestError(f"{manifest} has changed while it was in use. Open the dataset again.")


def _make(manifest: Path, source: io.BufferedReader, file: Path, max_problems: int) -> ManifestIndex:
    headers: list[dict[str, Any]] = []
    write_atomic(file, lambda target: headers.append(_write(manifest, source, target, file.parent, max_problems)))
    with file.open("rb") as mapped:
        return ManifestIndex(manifest, headers[0], map_file(mapped.fileno()), file)


def _map(manifest: Path, identity: FileIdentity, file: Path) -> ManifestIndex | None:
    """Return the index in ``file`` if it is whole and of this manifest."""
    try:
        mapped = file.open("rb")
    except FileNotFoundError:
        return None
    with mapped:
        header = read_header(mapped.fileno())
        expected = {"kind": "manifest index", "format": _FORMAT, "path": _shown(manifest)}
        if header is None or any(header.get(key) != value for key, value in expected.items()):
            _logger.warning("%s: found no index of %s, it is made anew", file, manifest)
            return None
        if FileIdentity(*header["identity"]) != identity or not is_settled(identity, header["read_at_ns"]):
            return None
        if os.fstat(mapped.fileno()).st_size != header["num_bytes"]:
            _logger.warning("%s: found another size than %d bytes, it is made anew", file, header["num_bytes"])
            return None
        return ManifestIndex(manifest, header, map_file(mapped.fileno()), file)


def _shown(manifest: Path) -> str:
    return os.fsencode(manifest.resolve())[-1024:].decode(errors="replace")


def _write(
    manifest: Path, source: io.BufferedReader, target: BinaryIO, folder: Path | None, max_problems: int
) -> dict[str, Any]:
    """Write the index of ``source`` to ``target`` and return its header."""
    identity, read_at_ns = identify(os.fstat(source.fileno())), time.time_ns()
    tables = [_Table(code, folder) for code in "QQQiB"]
    line_ends, label_ends, uri_ends, labels, uris = tables
    num_entries, fewest, most, largest = 0, 1 << 62, 0, -1
    for table in (line_ends, label_ends, uri_ends):
        table.add([0])
    scan = scan_manifest(manifest)

    def take(entry: ManifestEntry) -> None:
        nonlocal num_entries, fewest, most, largest
        num_entries += 1
        fewest, most = min(fewest, len(entry.y)), max(most, len(entry.y))
        largest = max(largest, *entry.y, -1)
        labels.add(entry.y)
        uris.add(entry.uri.encode())
        line_ends.add([scan.position])
        label_ends.add([labels.length])
        uri_ends.add([uris.length])

    check_manifest(manifest, take, max_problems, scan=scan)
    source.seek(0)
    sha256 = hashlib.file_digest(source, "sha256").hexdigest()
    if not identity == identify(os.fstat(source.fileno())) == identify(manifest.stat()):
        raise ManifestError(f"{manifest} changed while it was read. Write it elsewhere and rename it into place.")
    header = {
        "kind": "manifest index",
        "format": _FORMAT,
        "path": _shown(manifest),
        "identity": list(identity),
        "read_at_ns": read_at_ns,
        "sha256": sha256,
        "num_entries": num_entries,
        "num_labels": labels.length,
        "num_bytes": HEADER_BYTES + sum(table.num_bytes for table in tables),
        "max_label": largest,
        "label_counts": [fewest, most],
    }
    target.write(pack_header(header))
    for table in tables:
        table.move_to(target)
    return header


class _Table:
    """Numbers on their way to the index: a block in memory, the others in a temporary file without a name."""

    def __init__(self, code: str, folder: Path | None) -> None:
        self._block = array(code)
        self._file = io.BytesIO() if folder is None else tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.length = 0

    @property
    def num_bytes(self) -> int:
        return self.length * self._block.itemsize

    def add(self, values: Sequence[int]) -> None:
        self.length += len(values)
        self._block.extend(values)
        if len(self._block) >= _BLOCK:
            self._flush()

    def move_to(self, target: BinaryIO) -> None:
        self._flush()
        self._file.seek(0)
        shutil.copyfileobj(self._file, target, 1 << 20)
        self._file.close()

    def _flush(self) -> None:
        self._file.write(self._block.tobytes())
        del self._block[:]
