"""A job's results, in a local folder or in a storage: listed, read, downloaded, and lent by a signed URL."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rt_flare.core.durable_io import write_atomic
from rt_flare.data.hash_file import HASH_SUFFIX
from rt_flare.data.storage import open_storage, sign_url, storage_errors
from rt_flare.errors import JobError

__all__ = ["JobResults", "ResultFile", "publish_results"]

_FOLDERS = ("files_out", "model_out")
_COPY_BYTES = 1 << 20
_URL_SECONDS = 3600


@dataclass(frozen=True)
class ResultFile:
    """One file of the results: ``name`` is its path in the job's folder, ``size`` is in bytes."""

    name: str
    size: int


class JobResults:
    """The files in ``files_out/`` and ``model_out/`` of a job.

    Args:
        place: the job's folder, or the URL of its folder in a storage.
    """

    def __init__(self, place: Path | str) -> None:
        self.place = str(place).rstrip("/")

    def list(self) -> list[ResultFile]:
        """All files, in the order of their names; empty before a job has any.

        Raises:
            StorageError: the storage cannot be reached.
        """
        file_system, root = open_storage(self.place)
        found = []
        for folder in _FOLDERS:
            with storage_errors(self.place, "list"):
                listed = file_system.find(f"{root}/{folder}", detail=True)
            for path, info in listed.items():
                name = f"{folder}/{str(path).rpartition(f'{root}/{folder}/')[2]}"
                if not name.endswith(HASH_SUFFIX):
                    found.append(ResultFile(name, int(info["size"])))
        return sorted(found, key=lambda file: file.name)

    def read_text(self, name: str) -> str:
        """The content of a text file; bytes that are not UTF-8 become U+FFFD.

        Raises:
            JobError: there is no such result.
        """
        return self._bytes(name).decode(errors="replace")

    def read_json(self, name: str) -> Any:
        """The content of a JSON file.

        Raises:
            JobError: there is no such result, or it is no JSON.
        """
        try:
            return json.loads(self._bytes(name))
        except ValueError as error:
            raise JobError(f"{self.place}/{name}: not valid JSON: {error}") from error

    def download(self, name: str, target: Path) -> Path:
        """Copy a file to ``target``, whole or not at all; into it, where it is a folder.

        Raises:
            JobError: there is no such result.
            OSError: it cannot be written.
        """
        file_system, path = self._find(name)
        goal = target / PurePosixPath(name).name if target.is_dir() else target
        with storage_errors(self.place, "read"), file_system.open(path, "rb") as source:
            write_atomic(goal, lambda out: shutil.copyfileobj(source, out, _COPY_BYTES))
        return goal

    def url(self, name: str, *, expires_seconds: int = _URL_SECONDS) -> str:
        """A URL that lets whoever has it read the file for ``expires_seconds``.

        Raises:
            JobError: there is no such result.
            ConfigError: the results are not in a storage with signed URLs.
        """
        self._find(name)
        return sign_url(f"{self.place}/{name}", expires_seconds)

    def _bytes(self, name: str) -> bytes:
        file_system, path = self._find(name)
        with storage_errors(self.place, "read"):
            return bytes(file_system.cat_file(path))

    def _find(self, name: str) -> tuple[Any, str]:
        parts = PurePosixPath(name).parts
        if not parts or parts[0] not in _FOLDERS or ".." in parts:
            raise JobError(f"{name!r}: no result; expected a path below {' or '.join(_FOLDERS)}")
        file_system, root = open_storage(self.place)
        path = f"{root}/{'/'.join(parts)}"
        with storage_errors(self.place, "look into"):
            there = file_system.isfile(path)
        if not there:
            raise self._unknown(name)
        return file_system, path

    def _unknown(self, name: str) -> JobError:
        return JobError(f"{self.place}: no result {name!r}; list them with rt-flare results")


def publish_results(folder: Path, url: str) -> None:
    """Copy the results of a job's folder to its folder in a storage, each checked by its hash.

    Raises:
        StorageError: a file did not arrive.
    """
    from rt_flare.data.upload import upload_files

    files = {file.name: folder / file.name for file in JobResults(folder).list()}
    upload_files(files, url)
