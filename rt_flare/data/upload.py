"""Upload files to a storage: checked by hash, and gone on with where an earlier upload stopped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from rt_flare.data.hash_file import HASH_SUFFIX, hash_line, read_hash
from rt_flare.data.shard_names import find_shards, shard_index
from rt_flare.data.storage import StorageError, open_storage, storage_errors
from rt_flare.data.storage_keys import storage_keys
from rt_flare.data.storage_url import check_storage_url, shown_url
from rt_flare.errors import ShardError

__all__ = ["StoredFile", "list_shards", "upload_files", "upload_shards"]

_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file in a storage.

    Attributes:
        name: its path below the folder.
        size: bytes.
        sha256: the hash that stands beside it; None if none does.
        sent: whether this upload sent it, and did not find it there.
    """

    name: str
    size: int
    sha256: str | None
    sent: bool = False


def upload_shards(folder: Path, url: str, **options: Any) -> list[StoredFile]:
    """Upload the shards of ``folder`` to the folder ``url``; see `upload_files` for the options.

    Raises:
        ShardError: ``folder`` holds no complete row of shards (see `find_shards`), or ``url`` holds shards beyond it,
            which would look like more sites.
    """
    check_storage_url(url)
    paths = find_shards(folder)
    stray = [name for name in _listing(url) if (shard_index(name) or 0) > len(paths)]
    if stray:
        raise ShardError(
            f"{shown_url(url)}: {min(stray)} is there, but {folder} holds {len(paths)} shards. Delete it there, or "
            f"choose another folder."
        )
    return upload_files({path.name: path for path in paths}, url, **options)


def upload_files(
    files: Mapping[str, Path],
    url: str,
    *,
    read_back: bool = True,
    max_tries: int = 3,
    backoff_seconds: float = 1.0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[StoredFile]:
    """Upload ``files``, by their paths below the folder ``url``, each with its SHA-256 beside it.

    The hash goes last: a file without it has not been uploaded. One that is there with the hash of the local file is
    left alone, so that an upload that was cut short goes on with the first file that is not.

    Args:
        files: local file by its path below ``url``; stored under the path's `storage_key`.
        url: folder in a storage.
        read_back: read every file that was sent, and compare hashes.
        max_tries: tries per file.
        backoff_seconds: pause after the first failed try; doubles.
        on_progress: called with the file's path, bytes sent and bytes of the file.

    Raises:
        ConfigError: two paths have one key, or ``url`` cannot be used.
        StorageError: the storage refuses, or holds something else than was sent.
    """
    keys = storage_keys(files)
    report = on_progress or (lambda name, done, total: None)
    return [
        _upload(path, f"{url.rstrip('/')}/{keys[name]}", name, read_back, max_tries, backoff_seconds, report)
        for name, path in files.items()
    ]


def list_shards(url: str) -> list[StoredFile]:
    """Return the shards in the folder ``url``, by index.

    Raises:
        StorageError: the storage refuses.
    """
    listing = _listing(url)
    names = sorted((name for name in listing if shard_index(name)), key=lambda name: shard_index(name) or 0)
    return [StoredFile(name=name, size=listing[name], sha256=read_hash(f"{url.rstrip('/')}/{name}")) for name in names]


def _upload(
    path: Path,
    url: str,
    name: str,
    read_back: bool,
    max_tries: int,
    backoff_seconds: float,
    report: Callable[[str, int, int], None],
) -> StoredFile:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    if _size(url) == size and read_hash(url) == sha256:
        report(name, size, size)
        return StoredFile(name=name, size=size, sha256=sha256)
    for number in range(max_tries):
        try:
            _send(path, url, sha256, read_back, _Progress(name, size, report))
            break
        except StorageError:
            if number == max_tries - 1:
                raise
            time.sleep(backoff_seconds * 2**number)
    report(name, size, size)
    return StoredFile(name=name, size=size, sha256=sha256, sent=True)


def _send(path: Path, url: str, sha256: str, read_back: bool, progress: fsspec.Callback) -> None:
    file_system, target = open_storage(url)
    with storage_errors(url, "upload"):
        if file_system.exists(target + HASH_SUFFIX):
            file_system.rm_file(target + HASH_SUFFIX)
        file_system.makedirs(target.rpartition("/")[0], exist_ok=True)
        file_system.put_file(str(path), target, callback=progress)
        found = _remote_hash(file_system, target) if read_back else sha256
        if found != sha256:
            raise StorageError(
                f"{shown_url(url)}: what the storage holds has SHA-256 {found}, sent was {sha256}. Upload it again."
            )
        file_system.pipe_file(target + HASH_SUFFIX, hash_line(target.rpartition("/")[2], sha256))


def _remote_hash(file_system: Any, target: str) -> str:
    digest = hashlib.sha256()
    with file_system.open(target, "rb", block_size=_CHUNK_BYTES, cache_type="readahead") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _size(url: str) -> int | None:
    file_system, path = open_storage(url)
    with storage_errors(url, "find"):
        try:
            return int(file_system.info(path)["size"])
        except FileNotFoundError:
            return None


def _listing(url: str) -> dict[str, int]:
    """Size of each file directly in the folder ``url``; a folder that is not there is empty."""
    file_system, path = open_storage(url)
    with storage_errors(url, "list"):
        try:
            found = file_system.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        return {str(item["name"]).rpartition("/")[2]: int(item["size"]) for item in found if item["type"] == "file"}


class _Progress(fsspec.Callback):  # type: ignore[misc]
    """Reports bytes as fsspec sends them."""

    def __init__(self, name: str, total: int, report: Callable[[str, int, int], None]) -> None:
        super().__init__(size=total)
        self._name, self._total, self._report = name, total, report

    def call(self, *args: Any, **kwargs: Any) -> None:
        """Pass on what has been sent so far."""
        self._report(self._name, min(self.value, self._total), self._total)
