"""A site's own copy of its shard: found by name, unpacked once, found warm by the next job."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rt_flare.data.archive import DEFAULT_LIMITS, ArchiveLimits, open_archive
from rt_flare.data.shard_names import shard_name
from rt_flare.data.site_cache import SiteCache
from rt_flare.errors import ShardError

__all__ = ["place_archive", "prepare_shard"]


def prepare_shard(
    archive: Path,
    data_dir: Path,
    shard_index: int,
    *,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    lock_timeout_seconds: float = 1800.0,
) -> Path:
    """Return ``{data_dir}/{shard_index}`` with the contents of the ZIP ``archive``, for a caller that is alone there.

    See `place_archive`; another job may evict or replace the shard as soon as this function is back.

    Raises:
        ShardError: as in `place_archive`.
    """
    cache = SiteCache(data_dir, lock_timeout_seconds=lock_timeout_seconds)
    try:
        return place_archive(archive, cache, shard_index, limits=limits)
    finally:
        cache.close()


def place_archive(
    archive: Path,
    cache: SiteCache,
    shard_index: int,
    *,
    sha256: str | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> Path:
    """Return the folder with the contents of the ZIP ``archive`` in a site's cache, unpacked if it is not there yet.

    That is ``{data_dir}/{shard_index}``, unless another job has a shard of its own there (see `SiteCache.link`). The
    same archive is found warm, whatever its name and date. A process killed at any point leaves a state that the
    next call recovers from.

    Args:
        archive: the ZIP.
        cache: the site's cache.
        shard_index: the shard's index, from 1.
        sha256: hash that the ZIP must have, in hexadecimal; None takes it as it is.
        limits: what the shard may expand to.

    Raises:
        ShardError: the archive is refused (see `unpack_archive`; what was there stays), its hash is another one,
            something else is in the way, there is no room, or another process held a lock for too long.
    """
    shard_name(shard_index)
    if not archive.is_file():
        raise ShardError(f"{archive}: no such file, expected the shard ZIP of this site")
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and found != sha256:
        raise ShardError(f"{archive}: the hash is wrong: found SHA-256 {found}, expected {sha256}. Get the file again.")
    with cache.preparing(found):
        folder = cache.find(found)
        if folder is None:
            with open_archive(archive, limits) as opened:
                opened.check()
                with cache.staging(str(archive), num_bytes=opened.disk_bytes) as staging:
                    opened.unpack(staging)
                    folder = cache.adopt(staging, found, num_bytes=opened.disk_bytes)
    return cache.link(shard_index, folder)
