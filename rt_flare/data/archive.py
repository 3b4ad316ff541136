"""Check a shard ZIP from its headers, and unpack it so that the target folder exists only complete."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path

from rt_flare.data.archive_names import check_names
from rt_flare.errors import ShardError

__all__ = ["DEFAULT_LIMITS", "ArchiveContents", "ArchiveLimits", "check_archive", "flush_folder", "unpack_archive"]

_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 4096
_ENCRYPTED = 0x1 | 0x40
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, NotImplementedError, OSError)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What a shard may expand to.

    Attributes:
        max_total_bytes: size of all files together, unpacked.
        max_entries: files and folders.
        max_ratio: unpacked size over the size of the ZIP.
    """

    max_total_bytes: int = 256 << 30
    max_entries: int = 2_000_000
    max_ratio: float = 200.0


DEFAULT_LIMITS = ArchiveLimits()


@dataclass(frozen=True, kw_only=True)
class ArchiveContents:
    """What a shard holds: the number of files (folders not counted) and their unpacked size."""

    num_files: int
    total_bytes: int


def check_archive(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> ArchiveContents:
    """Check everything that the headers of the ZIP ``path`` tell; file contents are checked when unpacking.

    Raises:
        ShardError: with a message of its own for each of: no such file, no or a damaged ZIP, empty, a wrapper folder,
            a limit, links and devices, encryption, a compression method other than stored or deflated, names (see
            `check_names`).
    """
    with _open(path) as archive:
        return _check_headers(archive, path, limits)


def unpack_archive(path: Path, target: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> ArchiveContents:
    """Unpack the ZIP ``path`` flat into the new folder ``target``, which appears complete and on disk, or not at all.

    The files go to a sibling folder ``.{target.name}.*.part``, are flushed and renamed. A process that is killed
    leaves that sibling behind. Files are 0644, folders 0755, whatever the archive says.

    Raises:
        ShardError: as in `check_archive`; ``target`` exists; too little disk; a file's contents do not match its
            CRC or its announced size; the disk refuses a write.
    """
    if target.exists() or target.is_symlink():
        raise ShardError(f"{target} exists already: expected a folder that is yet to be made")
    with _open(path) as archive:
        contents = _check_headers(archive, path, limits)
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_disk(path, target.parent, contents, len(archive.infolist()))
        staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
        try:
            for info in archive.infolist():
                _unpack_entry(archive, info, staging, path)
            staging.chmod(0o755)
            _flush_file_system(staging)
            staging.rename(target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    flush_folder(target.parent)
    return contents


def flush_folder(folder: Path) -> None:
    """Flush the names in ``folder`` to disk, so that a rename outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_file_system(folder: Path) -> None:
    # One call for all files: a flush per file takes ten times as long on a shard of many small images.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "syncfs failed", str(folder))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    if not path.is_file():
        raise ShardError(f"{path}: no such file, expected a shard ZIP")
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    with archive:
        yield archive


def _damaged(path: Path, error: Exception) -> ShardError:
    return ShardError(f"{path}: truncated or corrupt ZIP ({error}). Build or download the shard again.")


def _check_headers(archive: zipfile.ZipFile, path: Path, limits: ArchiveLimits) -> ArchiveContents:
    infos = archive.infolist()
    if len(infos) > limits.max_entries:
        raise ShardError(
            f"{path}: too many entries: found {len(infos)}, expected at most {limits.max_entries}. "
            f"Make more, smaller shards or raise max_entries."
        )
    for info in infos:
        _check_entry(info, path)
    check_names([info.filename for info in infos], str(path))

    files = [info for info in infos if not _is_folder(info)]
    if not files:
        raise ShardError(f"{path}: found no file in the ZIP, expected the shard's data")
    _check_root(files, path)
    total = sum(info.file_size for info in files)
    if total > limits.max_total_bytes:
        raise ShardError(
            f"{path}: expands to {total} bytes, expected at most {limits.max_total_bytes}. "
            f"Make more, smaller shards or raise max_total_bytes."
        )
    size = path.stat().st_size
    if total > limits.max_ratio * size:
        raise ShardError(
            f"{path}: expansion ratio: {size} bytes expand to {total}, expected at most {limits.max_ratio:g} times. "
            f"Raise max_ratio if the data is truly so regular."
        )
    if sum(info.compress_size for info in files) > size:
        raise ShardError(f"{path}: truncated or corrupt ZIP (entries overlap). Build the shard again.")
    return ArchiveContents(num_files=len(files), total_bytes=total)


def _check_entry(info: zipfile.ZipInfo, path: Path) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    # zipfile cuts a name at its first NUL, which can hide another name.
    if info.orig_filename != info.filename:
        problem = "a control character in the name. Rename the file."
    elif kind == stat.S_IFLNK:
        problem = "a link. Pack the file that it points to."
    elif kind not in {0, stat.S_IFDIR if _is_folder(info) else stat.S_IFREG}:
        problem = "a device or other special file. Pack plain files and folders only."
    elif info.flag_bits & _ENCRYPTED:
        problem = "encrypted. Pack the shard without a password."
    elif info.compress_type not in _METHODS:
        problem = f"compression method {info.compress_type}, expected stored or deflated. Pack the shard with either."
    elif _is_folder(info) and info.file_size:
        problem = "a folder that holds bytes: truncated or corrupt ZIP. Build the shard again."
    else:
        return
    raise ShardError(f"{path}: entry {info.orig_filename!r}: {problem}")


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith("/")  # ZipInfo.is_dir fails on an empty name


def _check_root(files: list[zipfile.ZipInfo], path: Path) -> None:
    # macOS adds a __MACOSX folder beside the wrapper.
    tops = {info.filename.partition("/")[0] for info in files} - {"__MACOSX"}
    if len(tops) == 1 and all("/" in info.filename for info in files):
        (top,) = tops
        raise ShardError(
            f"{path}: a wrapper folder: all files lie in {top + '/'!r} and none at the root. Pack the contents of "
            f"the folder, not the folder: (cd {top} && zip -r ../{path.name} .)"
        )


def _check_disk(path: Path, folder: Path, contents: ArchiveContents, num_entries: int) -> None:
    needed = contents.total_bytes + _BLOCK_BYTES * num_entries
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ShardError(
            f"{path}: too little disk: {folder} has {free} bytes free, the shard needs {needed}. Free some."
        )


def _unpack_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, path: Path) -> None:
    place = folder / info.filename
    try:
        if _is_folder(info):
            place.mkdir(parents=True, exist_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:
            for chunk in _read_chunks(archive, info, path):
                file.write(chunk)
    except OSError as error:
        raise ShardError(f"{path}: cannot write {info.filename!r} below {folder.parent}: {error}") from error


def _read_chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Iterator[bytes]:
    # zipfile stops at the announced size; a larger one makes it show a stream that goes on.
    probe = copy(info)
    probe.file_size += 2 * _CHUNK_BYTES
    size = 0
    try:
        with archive.open(probe) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > info.file_size:
                    break
                yield chunk
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    if size != info.file_size:
        found = "more" if size > info.file_size else f"{size}"
        raise ShardError(
            f"{path}: entry {info.filename!r}: the ZIP announces {info.file_size} bytes and holds {found}. "
            f"Build the shard again."
        )
