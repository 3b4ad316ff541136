"""Check a shard ZIP from its headers, and unpack it so that the target folder exists only complete."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import IO, cast

from rt_flare.core.durable_io import flush_folder
from rt_flare.data.archive_check import DEFAULT_LIMITS, ArchiveContents, ArchiveLimits, header_problems, is_folder
from rt_flare.data.archive_entry import damaged, read_entry
from rt_flare.data.positioned_file import LocalFile, PositionedFile
from rt_flare.errors import ShardError

__all__ = [
    "DEFAULT_LIMITS",
    "ArchiveContents",
    "ArchiveLimits",
    "DiskError",
    "ShardArchive",
    "check_archive",
    "flush_file_system",
    "open_archive",
    "unpack_archive",
]

_BLOCK_BYTES = 4096
_DIRECTORY_BYTES_PER_ENTRY = 512
_MAX_TAIL_BYTES = 1 << 17
_DIRECTORY_ENTRY = b"PK\x01\x02"
_DAMAGE = (zipfile.BadZipFile, EOFError, struct.error, ValueError, NotImplementedError, OSError)
_libc = ctypes.CDLL(None, use_errno=True)


class DiskError(ShardError):
    """The disk of a site is full or refuses a write: the shard itself may be good."""

    code = "shard_disk"


def check_archive(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> ArchiveContents:
    """Check everything that the headers of the ZIP ``path`` tell; file contents are checked when unpacking.

    Raises:
        ShardError: with a message of its own for each of: no such file, no or a damaged ZIP, empty, a wrapper folder,
            a limit, links and devices, encryption, a compression method other than stored or deflated, names (see
            `name_problems`), entries that overlap.
    """
    with open_archive(path, limits) as archive:
        return archive.check()


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
    with open_archive(path, limits) as archive:
        contents = archive.check()
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if free < archive.disk_bytes:
            raise DiskError(
                f"{path}: too little disk: {target.parent} has {free} bytes free, the shard needs "
                f"{archive.disk_bytes}. Free some."
            )
        staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
        try:
            archive.unpack(staging)
            flush_file_system(staging)
            staging.rename(target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    flush_folder(target.parent)
    return contents


class ShardArchive:
    """An open shard ZIP, whose directory has been read.

    Attributes:
        infos: the entries, in the order of their bytes.
    """

    def __init__(self, file: PositionedFile, archive: zipfile.ZipFile, name: str, limits: ArchiveLimits) -> None:
        self._file, self._archive, self._name, self._limits = file, archive, name, limits
        self.infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        offsets = [info.header_offset for info in self.infos]
        self._ends = dict(pairwise([*offsets, archive.start_dir]))
        self._failed = False

    @property
    def disk_bytes(self) -> int:
        """Disk space that the files take, with a block for each entry."""
        return sum(info.file_size for info in self.infos) + _BLOCK_BYTES * len(self.infos)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the headers (see `header_problems`)."""
        size = self._file.seek(0, os.SEEK_END)
        return header_problems(self._archive, self._name, size, self._limits)

    def check(self) -> ArchiveContents:
        """Return what the headers announce.

        Raises:
            ShardError: the first of `problems`.
        """
        for problem in self.problems():
            raise ShardError(f"{self._name}: {problem}")
        files = [info for info in self.infos if not is_folder(info)]
        return ArchiveContents(num_files=len(files), total_bytes=sum(info.file_size for info in files))

    def read(self, info: zipfile.ZipInfo) -> Iterator[bytes | memoryview]:
        """Yield an entry's contents, each piece valid until the next (see `read_entry`); entries come in order.

        Raises:
            ShardError: they are not what the archive announces.
        """
        return self._read(info, self._file)

    def unpack(self, folder: Path, beside: PositionedFile | None = None) -> None:
        """Write the entries of a checked archive into the empty ``folder``, in the order of their bytes.

        Args:
            folder: the folder.
            beside: the same file, opened once more: every second entry is then read from it, in a thread of its own.

        Raises:
            ShardError: contents that do not match; `DiskError` where the disk refuses. ``folder`` holds a part then.
        """
        if beside is None:
            self._unpack_some(self.infos, self._file, folder)
        else:
            with ThreadPoolExecutor(1, "shard unpack") as pool:
                others = pool.submit(self._unpack_some, self.infos[1::2], beside, folder)
                self._unpack_some(self.infos[::2], self._file, folder)
                others.result()
        folder.chmod(0o755)

    def _read(self, info: zipfile.ZipInfo, file: PositionedFile) -> Iterator[bytes | memoryview]:
        return read_entry(file, info, self._ends[info.header_offset], self._name)

    def _unpack_some(self, infos: Sequence[zipfile.ZipInfo], file: PositionedFile, folder: Path) -> None:
        made: set[str] = set()
        try:
            for info in infos:
                if self._failed:
                    return
                try:
                    self._unpack(info, file, str(folder), made)
                except OSError as error:
                    raise DiskError(
                        f"{self._name}: cannot write {info.filename!r} below {folder.parent}: {error}"
                    ) from error
        except BaseException:
            self._failed = True
            raise
        finally:
            # Nobody waits for a reader that stands still.
            file.skip_to_end()

    def _unpack(self, info: zipfile.ZipInfo, file: PositionedFile, folder: str, made: set[str]) -> None:
        parent, _, name = info.filename.rpartition("/")
        if parent not in made:
            os.makedirs(os.path.join(folder, parent), exist_ok=True)  # noqa: PTH103, PTH118 - ten times as fast
            made.add(parent)
        if not name:
            return
        place = f"{folder}/{info.filename}"
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            for chunk in self._read(info, file):
                view = memoryview(chunk)
                # A disk that fills up takes a part first and refuses the rest.
                while view:
                    view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def open_archive(
    file: PositionedFile | Path, limits: ArchiveLimits = DEFAULT_LIMITS, name: str | None = None
) -> Iterator[ShardArchive]:
    """Open a ZIP; its directory is read, within ``limits``, and not checked yet.

    Raises:
        ShardError: no such file, no or a damaged ZIP, or too many entries; the message starts with ``name``, by default
            the path.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(file, Path):
            name = name or str(file)
            if not file.is_file():
                raise ShardError(f"{name}: no such file, expected a shard ZIP")
            file = stack.enter_context(LocalFile(file))
        name = name or "the archive"
        try:
            archive = zipfile.ZipFile(cast("IO[bytes]", _DirectoryGuard(file, name, limits)))
        except _DAMAGE as error:
            raise damaged(name, error) from error
        yield ShardArchive(file, stack.enter_context(archive), name, limits)


def flush_file_system(folder: Path) -> None:
    """Flush all files of the file system that ``folder`` lies in.

    A flush per file takes ten times as long on a shard of many small images.

    Raises:
        DiskError: the disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _libc.syncfs(descriptor) != 0:
            raise DiskError(f"{folder}: cannot write the files to disk: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)


class _DirectoryGuard:
    """Keeps zipfile from reading a directory into memory that is larger than the limit allows."""

    def __init__(self, file: PositionedFile, name: str, limits: ArchiveLimits) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._file, self._name, self._max_entries = file, name, limits.max_entries

    def read(self, size: int = -1) -> bytes:
        if size > max(_MAX_TAIL_BYTES, self._max_entries * _DIRECTORY_BYTES_PER_ENTRY):
            raise self._refusal(f"a directory of {size} bytes")
        content = self._file.read(size)
        if size > _MAX_TAIL_BYTES and content.startswith(_DIRECTORY_ENTRY):
            count = content.count(_DIRECTORY_ENTRY)
            if count > self._max_entries:
                raise self._refusal(str(count))
        return content

    def close(self) -> None:
        pass

    def _refusal(self, found: str) -> ShardError:
        return ShardError(
            f"{self._name}: too many entries: found {found}, expected at most {self._max_entries}. "
            f"Make more, smaller shards or raise max_entries."
        )
