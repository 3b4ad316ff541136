"""Decoded pixels in a mapped file, shared by the epochs, rounds, worker processes and jobs of a site.

The file holds, after its header, one record per entry and then the pixels of one entry after the other. The header is
the key: data and decoder; a file with another one is replaced. A record holds the image file's identity, a digest of
its contents, a sum over the pixels, a random number, and a seal over all of these, without which it does not count.

* A writer takes the turn (an flock that a killed process gives back), takes the seal away, writes the pixels, and
  writes the record last. Readers take no turn: they read the record before and after the pixels, and the random number
  tells them when these were written meanwhile.
* The sum is compared when a process first reads an entry: damaged pixels, and those that a power failure kept from the
  disk, are decoded again.
* Everything is written with pwrite, so that a full disk is an error here, not a signal.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rt_flare.core.durable_io import write_atomic
from rt_flare.data.cache_folder import CacheFullError, folder_turn, make_room
from rt_flare.data.file_identity import FileIdentity
from rt_flare.data.mapped_file import HEADER_BYTES, map_file, pack_header, read_header
from rt_flare.data.pixel_records import NUM_FIELDS, RECORD_BYTES, is_sealed, seal, sum_pixels
from rt_flare.data.reused_buffers import ReusedBuffers

__all__ = ["PIXELS_SUFFIX", "DecodedCache", "open_decoded_cache"]

PIXELS_SUFFIX = ".pixels"
_FORMAT = 1
_TURN_SECONDS = 1.0
_logger = logging.getLogger(__name__)


class DecodedCache:
    """One open cache file; see `open_decoded_cache`.

    Safe with threads, forked and spawned processes.

    Attributes:
        path: the file.
        entry_bytes: pixels of one entry, uint8.
    """

    def __init__(self, path: Path, descriptor: int, num_entries: int, entry_bytes: int) -> None:
        self._descriptor = descriptor  # stays open: its shared flock says that the file is in use
        self._writer: tuple[int, int, threading.Lock] | None = None
        self.path = path
        self.entry_bytes = entry_bytes
        data = map_file(descriptor)
        stride, start, _ = _layout(num_entries, entry_bytes)
        self._records = np.frombuffer(data, np.uint64, num_entries * NUM_FIELDS, HEADER_BYTES).reshape(-1, NUM_FIELDS)
        self._pixels = np.frombuffer(data, np.uint8, num_entries * stride, start).reshape(num_entries, stride)
        self._verified = np.zeros(num_entries, np.bool_)
        self._buffers = ReusedBuffers()
        self._start = start
        self._full = self._complete = False

    def __del__(self) -> None:
        os.close(self._descriptor)
        if self._writer is not None and self._writer[0] == os.getpid():
            os.close(self._writer[1])

    def read(
        self, indices: npt.NDArray[np.int64], identities: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Return the pixels of several entries, shape (n, entry_bytes), and which of these rows are there.

        Args:
            indices: entries, shape (n,).
            identities: their files' `FileIdentity` values now, shape (n, 3); pixels of other files do not count.
        """
        before = self._records[indices]
        there = is_sealed(before) & (before[:, :3] == identities.view(np.uint64)).all(1)
        stride = self._pixels.shape[1]
        rows = self._buffers.take((len(indices), stride), np.uint8)
        if there.all():
            # "clip" takes whole rows straight into `out`; the indices are in range.
            self._pixels.take(indices, 0, out=rows, mode="clip")
        else:
            rows[there] = self._pixels[indices[there]]
        there &= (self._records[indices] == before).all(1)
        unverified = np.flatnonzero(there & ~self._verified[indices])
        if len(unverified):
            right = sum_pixels(rows[unverified]) == before[unverified, 4]
            self._verified[indices[unverified[right]]] = True
            there[unverified[~right]] = False
            if not right.all():
                _logger.warning("%s: found %d damaged entries, decoded again", self.path, int((~right).sum()))
        return rows[:, : self.entry_bytes], there

    def is_complete(self) -> bool:
        """Whether every entry has been stored."""
        if not self._complete:
            steps = range(0, len(self._records), 1 << 16)
            self._complete = all(is_sealed(self._records[start : start + (1 << 16)]).all() for start in steps)
        return self._complete

    def renew(self, index: int, identity: FileIdentity, digest: int) -> bool:
        """Keep entry ``index`` under a new identity if its file has the same contents as before; say if that is so."""
        record = self._records[index].copy()
        if int(record[3]) != digest or not is_sealed(record[None])[0]:
            return False
        record[:3] = np.array(identity, np.int64).view(np.uint64)

        def store() -> None:
            if int(self._records[index, 3]) == digest:
                self._write_record(index, seal(record))

        self._in_turn(store)
        return bool((self._records[index] == record).all())

    def write(
        self,
        indices: Sequence[int],
        identities: Sequence[FileIdentity],
        digests: Sequence[int],
        pixels: npt.NDArray[np.uint8],
    ) -> None:
        """Store the pixels of several entries, shape (n, entry_bytes), with what their files were like.

        Nothing is stored when another process keeps the turn for a second. Once the disk refuses a write, this
        object stores nothing more; the log says so.
        """
        rows = pixels
        if self._pixels.shape[1] != self.entry_bytes:
            rows = np.zeros((len(indices), self._pixels.shape[1]), np.uint8)
            rows[:, : self.entry_bytes] = pixels
        records = np.empty((len(indices), NUM_FIELDS), np.uint64)
        records[:, :3] = np.array(identities, np.int64).view(np.uint64)
        records[:, 3] = np.array(digests, np.uint64)
        records[:, 4] = sum_pixels(rows)
        records[:, 5] = np.frombuffer(os.urandom(8 * len(records)), np.uint64)

        def store() -> None:
            for index, record, row in zip(indices, records, rows, strict=True):
                self._write_entry(index, seal(record), row)

        self._in_turn(store)

    def _write_entry(self, index: int, record: npt.NDArray[np.uint64], row: npt.NDArray[np.uint8]) -> None:
        present = self._records[index]
        if (
            (present[:5] == record[:5]).all()
            and is_sealed(present[None])[0]
            and sum_pixels(self._pixels[index : index + 1])[0] == record[4]
        ):
            return  # another process was faster
        if present.any():
            self._write_record(index, np.zeros(NUM_FIELDS, np.uint64))
        _write_whole(self._descriptor, row, self._start + index * len(row))
        self._write_record(index, record)

    def _write_record(self, index: int, record: npt.NDArray[np.uint64]) -> None:
        _write_whole(self._descriptor, record.view(np.uint8), HEADER_BYTES + index * RECORD_BYTES)

    def _in_turn(self, store: Callable[[], None]) -> None:
        """Call ``store`` while no other process writes; leave it where the turn is not to be had, or the disk full."""
        if self._full:
            return
        try:
            lock_descriptor, lock = self._own_lock()
            with lock, _flock(lock_descriptor) as locked:
                if locked:
                    store()
        except OSError as error:
            self._full = True
            _logger.warning("%s: nothing more is stored, the other images are decoded anew: %s", self.path, error)

    def _own_lock(self) -> tuple[int, threading.Lock]:
        # A forked process shares its parent's flocks, so it needs a file of its own.
        if self._writer is None or self._writer[0] != os.getpid():
            descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._writer = (os.getpid(), descriptor, threading.Lock())
        return self._writer[1:]


def open_decoded_cache(folder: Path, key: Mapping[str, Any], num_entries: int, entry_bytes: int) -> DecodedCache | None:
    """Open the cache file of ``key`` in ``folder``, made if it is missing, damaged or of another key.

    Args:
        folder: see `cache_folder`.
        key: what the pixels depend on besides the image files, JSON values; its hash is the file's name.
        num_entries: number of images, from 1.
        entry_bytes: pixels of one image, uint8.

    Returns:
        None where there is no cache: it does not fit (see `make_room`), or the disk refuses it. The log says why.

    Raises:
        ConfigError: a variable of `make_room` has a wrong value.
    """
    *_, num_bytes = _layout(num_entries, entry_bytes)
    sizes = {"num_entries": num_entries, "entry_bytes": entry_bytes, "num_bytes": num_bytes}
    document = json.loads(json.dumps({"kind": "decoded pixels", "format": _FORMAT, **sizes, **key}))
    name = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]
    path = folder / f"{name}{PIXELS_SUFFIX}"
    try:
        with folder_turn(folder):
            descriptor = _open_whole(path, document)
            if descriptor is None:
                make_room(folder, num_bytes, f"*{PIXELS_SUFFIX}")
                write_atomic(path, lambda file: _write_empty(file, document))
                descriptor = _open_whole(path, document)
        if descriptor is None:
            raise OSError(f"{path} is not what was written")
        return DecodedCache(path, descriptor, num_entries, entry_bytes)
    except (CacheFullError, OSError) as error:
        _logger.warning("decoded images are not kept, every epoch decodes them: %s", error)
        return None


def _open_whole(path: Path, document: Mapping[str, Any]) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if read_header(descriptor) == document and os.fstat(descriptor).st_size == document["num_bytes"]:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.utime(descriptor)
        return descriptor
    os.close(descriptor)
    _logger.warning("%s: not a whole cache of these images, it is made anew", path)
    path.unlink()
    return None


def _write_empty(file: BinaryIO, document: Mapping[str, Any]) -> None:
    file.write(pack_header(document))
    file.flush()
    file.truncate(document["num_bytes"])


def _layout(num_entries: int, entry_bytes: int) -> tuple[int, int, int]:
    """Return the bytes from one entry's pixels to the next one's, where they start, and the file's size."""
    stride = -(-entry_bytes // 8) * 8
    start = HEADER_BYTES + -(-num_entries * RECORD_BYTES // 4096) * 4096
    return stride, start, start + num_entries * stride


@contextlib.contextmanager
def _flock(descriptor: int) -> Iterator[bool]:
    """Hold the flock, or yield False where another process keeps it, stopped perhaps."""
    deadline = time.monotonic() + _TURN_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                yield False
                return
            time.sleep(0.002)
        else:
            break
    try:
        yield True
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _write_whole(descriptor: int, content: npt.NDArray[np.uint8], offset: int) -> None:
    written = os.pwrite(descriptor, content.data, offset)
    if written != len(content):
        raise OSError(f"the disk took {written} of {len(content)} bytes")
