"""A site's own copy of its shard: found by name, unpacked once, found warm by the next job."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from rt_flare.data.archive import DEFAULT_LIMITS, ArchiveLimits, open_archive
from rt_flare.data.site_cache import SiteCache
from rt_flare.errors import ShardError

__all__ = ["find_shards", "list_shard_files", "place_archive", "prepare_shard", "shard_index", "shard_name"]

_SHARD = re.compile(r"shard_(\d{4,})\.zip")


def shard_name(index: int) -> str:
    """Return the file name of shard ``index``, counted from 1: ``shard_0001.zip``.

    Raises:
        ShardError: ``index`` is below 1.
    """
    if index < 1:
        raise ShardError(f"shard index: found {index}, expected 1 or more")
    return f"shard_{index:04d}.zip"


def shard_index(name: str) -> int | None:
    """Return the index of the shard that the file name stands for; None if it is not exactly a shard's."""
    match = _SHARD.fullmatch(name)
    index = int(match[1]) if match else 0
    return index if index >= 1 and name == shard_name(index) else None


def find_shards(folder: Path) -> list[Path]:
    """Return the shard ZIPs of ``folder`` in the order of their index.

    Raises:
        ShardError: the first problem of `list_shard_files`.
    """
    found, problems = list_shard_files(folder)
    if problems:
        raise ShardError(problems[0])
    return found


def list_shard_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the shard ZIPs of ``folder`` in the order of their index, and what is wrong with the row of them.

    There is no such folder or no shard in it, an index is missing, or another ZIP lies there, so that the number of
    sites is not what the author thinks.
    """
    first = f"{shard_name(1)}, {shard_name(2)}, ..."
    if not folder.is_dir():
        return [], [f"{folder}: no such folder, expected one that holds {first}"]
    found: dict[int, Path] = {}
    problems: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".zip":
            continue
        index = shard_index(path.name)
        if index is None:
            problems.append(f"{path}: not a shard's name, expected {first} Move it away.")
        else:
            found[index] = path
    if not found and not problems:
        problems.append(f"{folder}: found no shard, expected {shard_name(1)} and one ZIP per further site")
    last = max(found, default=0)
    for index in range(1, last):
        if index not in found:
            problems.append(f"{folder}: {shard_name(index)} is missing, but {found[last].name} is there")
    return [found[index] for index in sorted(found)], problems


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
