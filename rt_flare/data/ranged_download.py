"""Download a file over several connections into its place on disk, and go on where an earlier process stopped."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rt_flare.data.archive import DiskError
from rt_flare.data.range_source import ConnectionLostError, RangeReader, RangeSource, RemoteFile
from rt_flare.errors import ShardError

__all__ = ["DownloadAbortedError", "RangedDownload", "map_path"]

_SEGMENT_BYTES = 8 << 20
_POLL_SECONDS = 0.5
_DONE = 1
_HEADER_BYTES = 32


class DownloadAbortedError(ShardError):
    """The job was ended while its shard was on its way."""

    code = "shard_aborted"


def map_path(path: Path) -> Path:
    """Return the file beside ``path`` that records which of its segments are there."""
    return path.with_name(f"{path.name}.map")


class RangedDownload:
    """Fills ``path`` from ``source``; readers `wait` for the bytes that they need next.

    `map_path` beside it records which segments are there. A process that is killed leaves both, and the next one
    fetches the rest, if source and version are the same. The last segment comes first: a ZIP's directory is there.

    Args:
        source: where the file is.
        path: where it goes; one process at a time.
        remote: what ``source`` says about it.
        connections: connections at the same time.
        max_tries: tries in a row without a single byte before the download fails.
        backoff_seconds: pause after the first failed try; doubles up to 30 s.
        on_progress: called with bytes that are there and bytes of the whole file, from the download's threads.
        aborted: asked about twice a second; True ends the download.

    Raises:
        DiskError: ``path`` cannot be made.
    """

    def __init__(
        self,
        source: RangeSource,
        path: Path,
        remote: RemoteFile,
        *,
        connections: int = 4,
        max_tries: int = 6,
        backoff_seconds: float = 0.5,
        on_progress: Callable[[int, int], None] | None = None,
        aborted: Callable[[], bool] | None = None,
    ) -> None:
        self._source = source
        self._remote = remote
        self._max_tries = max_tries
        self._backoff_seconds = backoff_seconds
        self._on_progress = on_progress or (lambda done, total: None)
        self._aborted = aborted or (lambda: False)
        self._segment_bytes = _SEGMENT_BYTES if remote.ranges else max(remote.size, 1)
        try:
            self._file, self._map = _open_files(path, remote, source.shown, self._segment_bytes)
        except OSError as error:
            raise self._disk_error(error) from error
        self._state = bytearray(os.pread(self._map, self._num_segments, _HEADER_BYTES))
        missing = [number for number, state in enumerate(self._state) if state != _DONE]
        self._todo = deque([*missing[-1:], *missing[:-1]])
        self._done_bytes = sum(self._length(number) for number, state in enumerate(self._state) if state == _DONE)
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._readers: list[RangeReader] = []
        count = min(connections, len(self._todo))
        self._threads = [threading.Thread(target=self._work, daemon=True, name="shard download") for _ in range(count)]

    @property
    def missing_bytes(self) -> int:
        """Bytes that are not there yet."""
        return self._remote.size - self._done_bytes

    def start(self) -> None:
        """Begin to download."""
        for thread in self._threads:
            thread.start()

    def wait(self, start: int, stop: int) -> None:
        """Return once the bytes from ``start`` up to ``stop`` are in the file.

        Raises:
            ShardError: the download failed; `DownloadAbortedError` if it was ended.
        """
        needed = range(start // self._segment_bytes, -(-stop // self._segment_bytes))
        with self._changed:
            while any(self._state[number] != _DONE for number in needed):
                if self._error is not None:
                    raise self._error
                if self._stopped.is_set() or self._aborted():
                    raise DownloadAbortedError(f"{self._source.shown}: the job ended before the shard was there")
                self._advance(needed)
                self._changed.wait(_POLL_SECONDS)

    def stop(self) -> None:
        """End the download; a `wait` for bytes that are not there is over."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and close the file; what is there stays for the next process."""
        self.stop()
        with self._changed:
            readers = list(self._readers)
        for reader in readers:
            reader.cancel()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        os.close(self._file)
        os.close(self._map)

    @property
    def _num_segments(self) -> int:
        return -(-self._remote.size // self._segment_bytes)

    def _length(self, number: int) -> int:
        return min(self._segment_bytes, self._remote.size - number * self._segment_bytes)

    def _advance(self, needed: range) -> None:
        """Put what somebody waits for before the rest, if nobody fetches it yet."""
        urgent = [number for number in self._todo if number in needed]
        if urgent and self._todo[0] not in needed:
            for number in reversed(urgent):
                self._todo.remove(number)
                self._todo.appendleft(number)

    def _work(self) -> None:
        try:
            with contextlib.closing(self._source.reader()) as reader:
                with self._changed:
                    self._readers.append(reader)
                while not self._stopped.is_set():
                    with self._changed:
                        if not self._todo:
                            break
                        number = self._todo.popleft()
                    self._fetch(reader, number)
        except OSError as error:
            self._fail(self._disk_error(error))
        except Exception as error:  # noqa: BLE001 - raised again where somebody waits
            self._fail(error)

    def _fetch(self, reader: RangeReader, number: int) -> None:
        start = position = number * self._segment_bytes
        stop = start + self._length(number)
        tries = 0
        while position < stop and not self._stopped.is_set():
            try:
                # Without ranges the file comes from its start only.
                for chunk in reader.read(position if self._remote.ranges else start, stop):
                    _write(self._file, chunk, position)
                    position += len(chunk)
                    tries = 0 if self._remote.ranges else tries
                    if self._stopped.is_set():
                        return
            except ConnectionLostError as error:
                if not self._remote.ranges:
                    position = start
                tries += 1
                if self._stopped.is_set():
                    return
                if tries >= self._max_tries:
                    raise ConnectionLostError(
                        f"{error}. Gave up after {tries} tries in a row; {self._done_bytes} of {self._remote.size} "
                        f"bytes are there, and the next try goes on from them."
                    ) from error
                self._stopped.wait(min(30.0, self._backoff_seconds * 2 ** (tries - 1)) * random.uniform(0.5, 1.0))  # noqa: S311
        if position < stop:
            return
        os.pwrite(self._map, bytes([_DONE]), _HEADER_BYTES + number)
        with self._changed:
            self._state[number] = _DONE
            self._done_bytes += stop - start
            done = self._done_bytes
            self._changed.notify_all()
        self._on_progress(done, self._remote.size)

    def _disk_error(self, error: OSError) -> DiskError:
        return DiskError(f"{self._source.shown}: cannot write the download: {error}. Free some disk.")

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
        self._stopped.set()


def _open_files(path: Path, remote: RemoteFile, shown: str, segment_bytes: int) -> tuple[int, int]:
    """Open file and map, emptied if they are about something else."""
    about = f"{shown}\n{remote.size}\n{remote.version}\n{segment_bytes}"
    header = hashlib.sha256(about.encode()).digest()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    chart = os.open(map_path(path), os.O_RDWR | os.O_CREAT, 0o644)
    # Without a version nothing tells whether the rest belongs to what is there.
    if not remote.version or os.pread(chart, _HEADER_BYTES, 0) != header or os.fstat(file).st_size != remote.size:
        os.ftruncate(chart, 0)
        os.ftruncate(file, 0)
        os.ftruncate(file, remote.size)
        os.ftruncate(chart, _HEADER_BYTES + -(-remote.size // segment_bytes))
        os.pwrite(chart, header, 0)
    return file, chart


def _write(file: int, chunk: memoryview, position: int) -> None:
    # A disk that fills up takes a part first and refuses the rest.
    while chunk:
        count = os.pwrite(file, chunk, position)
        chunk, position = chunk[count:], position + count
