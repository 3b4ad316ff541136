"""A folder that nobody vouches for: what is read is a plain file inside of it, and of bounded size."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from rt_flare.core.durable_io import write_atomic
from rt_flare.errors import JobError

__all__ = ["ForeignFolder"]

_MAX_ENTRIES = 10_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A pipe would keep its reader waiting.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class ForeignFolder:
    """Reads below ``root`` and follows no symbolic link there, not even one that is put in its way meanwhile.

    Args:
        root: the folder; may be a link itself.

    Raises:
        JobError: there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        if not self.root.is_dir():
            raise JobError(f"{root}: no such folder")

    def names(self, folder: str = "") -> tuple[list[str], list[str]]:
        """Names of the files and of the folders in ``folder``, sorted; none when there is no such folder.

        Raises:
            JobError: there are more than 10,000, or ``folder`` is a link or no folder.
        """
        try:
            with self._folder(PurePosixPath(folder)) as descriptor, os.scandir(descriptor) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except FileNotFoundError:
            return [], []
        if len(found) > _MAX_ENTRIES:
            raise JobError(f"{self.root / folder}: found {len(found)} entries, expected at most {_MAX_ENTRIES}")
        found.sort()
        return [name for name, is_folder in found if not is_folder], [name for name, is_folder in found if is_folder]

    def has(self, file: str) -> bool:
        """Whether there is something called ``file``."""
        path = PurePosixPath(file)
        return path.name in self.names("" if path.parent == PurePosixPath() else str(path.parent))[0]

    def read(self, file: str, max_bytes: int) -> bytes:
        """Content of ``file``.

        Raises:
            JobError: it is missing, larger, no plain file, or a link leads to it.
        """
        with self._open(file) as content:
            data = content.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise JobError(f"{self.root / file}: larger than {max_bytes} bytes")
        return data

    def check(self, file: str) -> None:
        """Do nothing if ``file`` can be read.

        Raises:
            JobError: as in `read`, whatever its size.
        """
        with self._open(file):
            pass

    def copy(self, file: str, target: Path) -> None:
        """Copy ``file``, of any size, to ``target``, which is whole at every instant.

        Raises:
            JobError: as in `read`.
        """
        with self._open(file) as content:
            write_atomic(target, lambda out: shutil.copyfileobj(content, out, 1 << 20))

    @contextlib.contextmanager
    def _open(self, file: str) -> Iterator[BinaryIO]:
        path = PurePosixPath(file)
        try:
            with self._folder(path.parent) as folder:
                descriptor = os.open(path.name, _FILE, dir_fd=folder)
        except OSError as error:
            raise self._refused(file, error) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise JobError(f"{self.root / file}: not a plain file")
        with os.fdopen(descriptor, "rb") as content:
            yield content

    @contextlib.contextmanager
    def _folder(self, folder: PurePosixPath) -> Iterator[int]:
        descriptor = os.open(self.root, _FOLDER)
        try:
            for part in folder.parts:
                if part == "..":
                    raise JobError(f"{folder}: leads out of {self.root}")
                try:
                    below = os.open(part, _FOLDER, dir_fd=descriptor)
                except FileNotFoundError:
                    raise
                except OSError as error:
                    raise self._refused(str(folder), error) from error
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _refused(self, name: str, error: OSError) -> JobError:
        path = self.root / name
        if path.is_symlink():
            return JobError(f"{path}: a symbolic link, expected the file or folder itself; copy it there")
        return JobError(f"{path}: cannot be read: {error.strerror}")
