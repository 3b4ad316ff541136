"""A site's own copy of its shard: found by name, unpacked once, found warm by the next job."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rt_flare.core.durable_io import read_json, write_json
from rt_flare.data.archive import DEFAULT_LIMITS, ArchiveLimits, flush_folder, unpack_archive
from rt_flare.errors import ShardError

__all__ = ["find_shards", "prepare_shard", "shard_name"]

_SHARD = re.compile(r"shard_(\d{4,})\.zip")


def shard_name(index: int) -> str:
    """Return the file name of shard ``index``, counted from 1: ``shard_0001.zip``.

    Raises:
        ShardError: ``index`` is below 1.
    """
    if index < 1:
        raise ShardError(f"shard index: found {index}, expected 1 or more")
    return f"shard_{index:04d}.zip"


def find_shards(folder: Path) -> list[Path]:
    """Return the shard ZIPs of ``folder`` in the order of their index.

    Raises:
        ShardError: there is no such folder or no shard in it, an index is missing, or another ZIP lies there, so that
            the number of sites is not what the author thinks.
    """
    if not folder.is_dir():
        raise ShardError(f"{folder}: no such folder, expected one that holds {shard_name(1)}, {shard_name(2)}, ...")
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".zip":
            continue
        match = _SHARD.fullmatch(path.name)
        index = int(match[1]) if match else 0
        if index < 1 or path.name != shard_name(index):
            raise ShardError(
                f"{path}: not a shard's name, expected {shard_name(1)}, {shard_name(2)}, ... Move it away."
            )
        found[index] = path
    if not found:
        raise ShardError(f"{folder}: found no shard, expected {shard_name(1)} and one ZIP per further site")
    for index in range(1, max(found) + 1):
        if index not in found:
            raise ShardError(f"{folder}: {shard_name(index)} is missing, but {found[max(found)].name} is there")
    return [found[index] for index in sorted(found)]


def prepare_shard(
    archive: Path,
    data_dir: Path,
    shard_index: int,
    *,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    lock_timeout_seconds: float = 1800.0,
) -> Path:
    """Return ``{data_dir}/{shard_index}`` with the contents of the ZIP ``archive``, unpacked if it is not there yet.

    ``{shard_index}.json`` beside the folder records the archive's SHA-256: the same archive is found warm, another
    one replaces the folder. A process killed at any point leaves a state that the next call recovers from. Processes
    that share ``data_dir`` take turns through ``{shard_index}.lock``.

    Raises:
        ShardError: the archive is refused (see `unpack_archive`; what was there stays), the folder was not made by
            this function, or another process held the lock for ``lock_timeout_seconds``.
    """
    shard_name(shard_index)
    if not archive.is_file():
        raise ShardError(f"{archive}: no such file, expected the shard ZIP of this site")
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = data_dir / f"{shard_index}.lock"
    try:
        with FileLock(lock, timeout=lock_timeout_seconds):
            return _prepare(archive, data_dir, str(shard_index), limits)
    except Timeout as error:
        raise ShardError(
            f"{lock}: another process held the lock for {lock_timeout_seconds:g} s. Wait for it, or end it if it hangs."
        ) from error


def _prepare(archive: Path, data_dir: Path, index: str, limits: ArchiveLimits) -> Path:
    target, marker = data_dir / index, data_dir / f"{index}.json"
    incoming, outgoing = data_dir / f"{index}.new", data_dir / f"{index}.old"
    known = _read_marker(marker)
    if target.is_symlink() or (target.exists() and known is None):
        raise ShardError(
            f"{target} was not made from a shard ({marker.name} is missing, or it is a link) and will not be replaced. "
            f"Move it away, choose another data_dir, or point the site's data_root at it."
        )
    # What a killed call left: its folders, and the unfinished files of `unpack_archive` and `write_json`.
    for leftover in [incoming, outgoing, *data_dir.glob(f".{incoming.name}.*.part")]:
        _remove(leftover)
    for leftover in data_dir.glob(f".{marker.name}.*.part"):
        leftover.unlink()

    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    record: dict[str, Any] = {"archive_sha256": sha256, "state": "complete"}
    if target.is_dir() and known == record:
        return target

    unpack_archive(archive, incoming, limits)
    # From here to the last marker the folder is not what any marker calls complete.
    write_json(marker, {**record, "state": "replacing"})
    if target.exists():
        target.rename(outgoing)
    incoming.rename(target)
    flush_folder(data_dir)
    write_json(marker, record)
    _remove(outgoing)
    return target


def _read_marker(marker: Path) -> dict[str, Any] | None:
    if not marker.exists():
        return None
    try:
        document = read_json(marker)
    except ValueError as error:
        raise ShardError(f"{error}. Delete {marker.name} and the folder {marker.stem} beside it.") from error
    if not isinstance(document, dict):
        raise ShardError(f"{marker}: found no JSON object. Delete it and the folder {marker.stem} beside it.")
    return document


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
