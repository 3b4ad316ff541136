"""Fetch a site's shard from where it lies and unpack it while it arrives."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rt_flare.data.archive import DEFAULT_LIMITS, ArchiveLimits, DiskError, open_archive
from rt_flare.data.range_source import ConnectionLostError, RangeSource, RemoteFile, SourceError
from rt_flare.data.ranged_download import RangedDownload
from rt_flare.data.segment_file import map_path
from rt_flare.data.shard_names import shard_name
from rt_flare.data.site_cache import SiteCache
from rt_flare.errors import DownloadAbortedError, ShardError

__all__ = ["fetch_shard"]

_HASH_CHUNK_BYTES = 1 << 20


def fetch_shard(
    source: RangeSource,
    cache: SiteCache,
    shard_index: int,
    *,
    sha256: str | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    connections: int = 4,
    max_tries: int = 6,
    backoff_seconds: float = 0.5,
    on_progress: Callable[[int, int], None] | None = None,
    aborted: Callable[[], bool] | None = None,
) -> Path:
    """Return the folder with a shard's contents in a site's cache, fetched if it is not there yet.

    That is ``{data_dir}/{shard_index}``, unless another job has a shard of its own there (see `SiteCache.link`).

    The ZIP's directory comes first and is checked before a file is unpacked. The rest comes over several connections,
    is hashed and unpacked as it arrives; the folder appears when hash, sizes and CRCs are right. A fetch that was cut
    short, by whatever, goes on with what is on disk.

    Args:
        source: where the ZIP is.
        cache: the site's cache.
        shard_index: the shard's index, from 1.
        sha256: hash that the ZIP must have, in hexadecimal; where it is known, a shard that is there is found without
            asking ``source``. None takes the source's word for the version.
        limits: what the shard may expand to.
        connections: connections at the same time.
        max_tries: tries in a row without a single byte before the fetch fails.
        backoff_seconds: pause after the first failed try; doubles up to 30 s.
        on_progress: called with bytes fetched and bytes of the whole ZIP, from other threads.
        aborted: asked about twice a second; True ends the fetch.

    Raises:
        SourceError: the source refuses; `ConnectionLostError`, `ExpiredUrlError`, `SourceChangedError` by cause.
        DownloadAbortedError: ``aborted`` returned True.
        ShardError: the archive is refused (see `unpack_archive`), its hash is another one, or there is no room.
    """
    shard_name(shard_index)
    warm = cache.find(sha256) if sha256 else None
    if warm is not None:
        return cache.link(shard_index, warm)
    key = sha256 or hashlib.sha256(source.shown.encode()).hexdigest()
    with cache.preparing(key) as part:
        folder = cache.find(sha256) if sha256 else None
        if folder is None:
            remote = _describe(source, max_tries, backoff_seconds, aborted or (lambda: False))
            folder = None if sha256 else cache.find_version(source.shown, remote.version)
        if folder is None:
            present = part.stat().st_blocks * 512 if part.exists() else 0
            cache.make_room(source.shown, disk_bytes=remote.size - present)
            download = RangedDownload(
                source,
                part,
                remote,
                connections=connections,
                max_tries=max_tries,
                backoff_seconds=backoff_seconds,
                on_progress=on_progress,
                aborted=aborted,
            )
            folder = _receive(download, part, source.shown, remote, cache, sha256, limits)
    return cache.link(shard_index, folder)


def _receive(
    download: RangedDownload,
    part: Path,
    shown: str,
    remote: RemoteFile,
    cache: SiteCache,
    sha256: str | None,
    limits: ArchiveLimits,
) -> Path:
    keep = True
    try:
        download.start()
        with (
            download.follow() as file,
            download.follow() as beside,
            _Hasher(download) as hasher,
            open_archive(file, limits, shown) as archive,
        ):
            archive.check()
            num_bytes = archive.disk_bytes
            with cache.staging(shown, num_bytes=num_bytes, download_bytes=download.missing_bytes) as staging:
                archive.unpack(staging, beside)
                found = hasher.result()
                if sha256 is not None and found != sha256:
                    raise ShardError(
                        f"{shown}: the hash is wrong: found SHA-256 {found}, expected {sha256}. The file was "
                        f"damaged on its way or is another one; what came is thrown away, fetch it again."
                    )
                folder = cache.adopt(staging, found, num_bytes=num_bytes, place=shown, version=remote.version)
                keep = False
                return folder
    except ShardError as error:
        # What came is good as long as nothing says that the archive itself is not.
        keep = isinstance(error, (SourceError, DownloadAbortedError, DiskError))
        raise
    finally:
        download.close()
        if not keep:
            part.unlink()
            map_path(part).unlink()


class _Hasher:
    """Hashes a file as it comes, in a thread of its own."""

    def __init__(self, download: RangedDownload) -> None:
        self._download, self._file = download, download.follow()
        self._sha256 = hashlib.sha256()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="shard hash")

    def __enter__(self) -> _Hasher:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._download.stop()
        self._thread.join()

    def result(self) -> str:
        """Wait for the end of the file and return its hash."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._sha256.hexdigest()

    def _run(self) -> None:
        try:
            with self._file:
                for position in range(0, self._file.size, _HASH_CHUNK_BYTES):
                    self._sha256.update(self._file.read_at(position, _HASH_CHUNK_BYTES))
        except Exception as error:  # noqa: BLE001 - raised again by `result`
            self._error = error


def _describe(source: RangeSource, max_tries: int, backoff_seconds: float, aborted: Callable[[], bool]) -> RemoteFile:
    for number in range(max_tries):
        try:
            return source.describe()
        except ConnectionLostError as error:
            if number == max_tries - 1:
                raise ConnectionLostError(f"{error}. Gave up after {max_tries} tries.") from error
            time.sleep(min(30.0, backoff_seconds * 2**number))
        if aborted():
            raise DownloadAbortedError(f"{source.shown}: the job ended before the shard was there")
    raise AssertionError("max_tries is at least 1")
