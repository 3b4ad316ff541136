"""Download a file over several connections, hand it on in order, and keep what was slow to get for the next try."""

from __future__ import annotations

import contextlib
import mmap
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rt_flare.data.archive import DiskError
from rt_flare.data.download_reader import DownloadReader
from rt_flare.data.positioned_file import PositionedFile
from rt_flare.data.range_source import ConnectionLostError, RangeReader, RangeSource, RemoteFile
from rt_flare.data.segment_file import SegmentFile
from rt_flare.errors import DownloadAbortedError

__all__ = ["RangedDownload"]

_SEGMENT_BYTES = 8 << 20
_NUM_BUFFERS = 10
_KEEP_SECONDS = 0.5
_KEEP_TOTAL_SECONDS = 60.0
_POLL_SECONDS = 0.5


class RangedDownload:
    """Fetches ``source`` in segments of 8 MiB, for readers that go from its start to its end.

    Segments wait in memory, at most ten of them, until every reader is past them. Those that are read out of turn, and
    those of a slow or long download, go to the `SegmentFile` ``path``: a process that is killed leaves it, and the
    next one fetches the rest. A place that knows no ranges is read into that file as a whole.

    Args:
        source: where the file is.
        path: for what is kept; one process at a time.
        remote: what ``source`` says about it.
        connections: connections at the same time.
        max_tries: tries in a row without a single byte before the download fails.
        backoff_seconds: pause after the first failed try; doubles up to 30 s.
        on_progress: called with bytes that came and bytes of the whole file, from the download's threads.
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
        self.segment_bytes = _SEGMENT_BYTES if remote.ranges else max(remote.size, 1)
        try:
            self._kept = SegmentFile(path, remote, source.shown, self.segment_bytes)
        except OSError as error:
            raise self._disk_error(error) from error
        missing = self._kept.missing()
        self._todo = deque([*missing[-1:], *missing[:-1]])
        self._urgent = set(missing[-1:])  # the directory of a ZIP is there
        self._done_bytes = remote.size - sum(self._length(number) for number in missing)
        self._ready: dict[int, mmap.mmap] = {}
        self._free: list[mmap.mmap | None] = [None] * _NUM_BUFFERS
        self._readers: list[DownloadReader] = []
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._connections: list[RangeReader] = []
        count = min(connections, len(missing))
        self._threads = [threading.Thread(target=self._work, daemon=True, name="shard download") for _ in range(count)]

    @property
    def missing_bytes(self) -> int:
        """Bytes that have not come yet."""
        return self._remote.size - self._done_bytes

    def start(self) -> None:
        """Begin to download."""
        for thread in self._threads:
            thread.start()

    def follow(self) -> PositionedFile:
        """Return a reader of the file; every read waits for its bytes.

        All readers must be asked for before the first one reads. A read raises what made the download fail, or
        `DownloadAbortedError` once it was ended.
        """
        reader = DownloadReader(self, self._remote.size)
        self._readers.append(reader)
        return reader

    def stop(self) -> None:
        """End the download; a read of what has not come is over."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Stop; what was kept stays for the next process."""
        self.stop()
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._kept.close()

    def wait(self, needed: range, *, urgent: bool = False) -> None:
        """Return once these segments can be `view`ed; ``urgent`` ones are fetched next and kept.

        Raises:
            Exception: what made the download fail; `DownloadAbortedError` if it was ended.
        """
        if self._present(needed):  # a reader's segments stay until it is past them, so no lock is needed to look
            return
        with self._changed:
            while not self._present(needed):
                if self._error is not None:
                    raise self._error
                if self._stopped.is_set() or self._aborted():
                    raise DownloadAbortedError(f"{self._source.shown}: the job ended before the shard was there")
                if urgent:
                    self._hurry(needed)
                self._changed.wait(_POLL_SECONDS)

    def _present(self, needed: range) -> bool:
        return all(number in self._ready or number in self._kept for number in needed)

    def view(self, number: int, start: int, stop: int) -> bytes | memoryview:
        """Return bytes ``start`` to ``stop`` of a segment that was waited for."""
        buffer = self._ready.get(number)
        if buffer is not None:
            return memoryview(buffer)[start:stop]
        return self._kept.read(number, start, stop)

    def release(self) -> None:
        """Give the buffers of segments that every reader is past to those that come."""
        with self._changed:
            low = min(reader.low for reader in self._readers)
            for number in [number for number in self._ready if (number + 1) * self.segment_bytes <= low]:
                self._free.append(self._ready.pop(number))
                self._changed.notify_all()

    def _length(self, number: int) -> int:
        return min(self.segment_bytes, self._remote.size - number * self.segment_bytes)

    def _hurry(self, needed: range) -> None:
        late = [number for number in self._todo if number in needed and number not in self._urgent]
        for number in reversed(late):
            self._todo.remove(number)
            self._todo.appendleft(number)
            self._urgent.add(number)
        if late:
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            with contextlib.closing(self._source.reader()) as connection:
                with self._changed:
                    self._connections.append(connection)
                while (claimed := self._claim()) is not None:
                    number, buffer = claimed
                    begun = time.monotonic()
                    if self._remote.ranges:
                        buffer = buffer or _new_buffer(self.segment_bytes)
                        complete = self._fetch(connection, number, buffer)
                    else:
                        complete = self._fetch_whole(connection)
                    if not complete:
                        return
                    self._finish(number, buffer, time.monotonic() - begun)
        except OSError as error:
            self._fail(self._disk_error(error))
        except Exception as error:  # noqa: BLE001 - raised again where somebody waits
            self._fail(error)

    def _claim(self) -> tuple[int, mmap.mmap | None] | None:
        """Take the next segment, with a buffer in hand, so that the first one missing always gets one.

        What is urgent may be what readers wait for before they give buffers back: it gets one of its own.
        """
        with self._changed:
            while self._todo and not self._stopped.is_set():
                if self._todo[0] in self._urgent:
                    return self._todo.popleft(), None
                if self._free:
                    return self._todo.popleft(), self._free.pop()
                self._changed.wait(_POLL_SECONDS)
            return None

    def _fetch(self, connection: RangeReader, number: int, buffer: mmap.mmap) -> bool:
        """Fill ``buffer``; False if the download was stopped meanwhile."""
        length = self._length(number)
        start, done, tries = number * self.segment_bytes, 0, 0
        while done < length:
            try:
                for count in connection.read_into(start + done, memoryview(buffer)[done:length]):
                    done += count
                    tries = 0
                    if self._stopped.is_set():
                        return False
            except ConnectionLostError as error:
                tries += 1
                if not self._try_again(tries, error):
                    return False
        return True

    def _fetch_whole(self, connection: RangeReader) -> bool:
        tries = 0
        while True:
            done = 0
            try:
                for chunk in connection.read_whole(self._remote.size):
                    self._kept.write(0, done, chunk)
                    done += len(chunk)
                    if self._stopped.is_set():
                        return False
            except ConnectionLostError as error:
                tries += 1
                if not self._try_again(tries, error):
                    return False
            else:
                return True

    def _try_again(self, tries: int, error: ConnectionLostError) -> bool:
        if tries >= self._max_tries and not self._stopped.is_set():
            raise ConnectionLostError(
                f"{error}. Gave up after {tries} tries in a row, {self._done_bytes} of {self._remote.size} bytes had "
                f"come; the next try goes on from those that were kept."
            ) from error
        pause = min(30.0, self._backoff_seconds * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
        return not self._stopped.wait(pause)

    def _finish(self, number: int, buffer: mmap.mmap | None, seconds: float) -> None:
        length = self._length(number)
        in_memory = buffer is not None and number not in self._urgent
        keep = not in_memory or self._is_slow(seconds)
        if buffer is not None and keep:
            self._kept.write(number, 0, memoryview(buffer)[:length])
        with self._changed:
            if keep:
                self._kept.mark(number)
            if buffer is not None and in_memory:
                self._ready[number] = buffer
            self._done_bytes += length
            done = self._done_bytes
            self._changed.notify_all()
        self._on_progress(done, self._remote.size)

    def _is_slow(self, seconds: float) -> bool:
        whole = seconds * self._remote.size / self.segment_bytes / len(self._threads)
        return seconds >= _KEEP_SECONDS or whole >= _KEEP_TOTAL_SECONDS

    def _disk_error(self, error: OSError) -> DiskError:
        return DiskError(f"{self._source.shown}: cannot write the download: {error}. Free some disk.")

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
        self._stopped.set()


def _new_buffer(num_bytes: int) -> mmap.mmap:
    """Memory in large pages where the system has them: fewer faults."""
    buffer = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer
