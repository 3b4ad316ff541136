"""Which files below a folder are logs of which process: results, a download, a simulator's workspace, a deployment."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from rt_flare.errors import JobError

__all__ = ["FoundLogs", "LogKind", "ProcessLog", "find_logs"]

SERVER = "server"
_MAX_ENTRIES = 200_000
_HEAD_BYTES = 4096
_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|simulate_job")
# Folders of files that user code wrote, of code, of models: a log.txt in there is nobody's log. And of earlier runs.
_NEVER = re.compile(r"round_\d+|model_out|\..*|run\.\d+|earlier_run")
_IN_RUN_FOLDER = {"out", "state", "job"}
_IN_KIT = {"startup", "local", "transfer"}
_SITE_LOG = re.compile(r"client_\d+\.log")
_ROUND_SUMMARY = "fl_round_complete.json"


class LogKind(StrEnum):
    """What a process is there for."""

    JOB = "job"
    """Runs a job, at the server or at a site."""
    PARENT = "parent"
    """Starts the jobs' processes, and says how they ended."""
    CONSOLE = "console"
    """What processes printed; asked last."""


@dataclass(frozen=True)
class ProcessLog:
    """The log of one process.

    Attributes:
        process: ``server`` or the site's name; "" when only the log itself tells.
        kind: see `LogKind`.
        files: its files, the oldest first.
        archive: the ZIP that holds them, under these names; None for files of their own.
        job_id: the job, where the path tells it.
    """

    process: str
    kind: LogKind
    files: tuple[Path, ...]
    archive: Path | None = None
    job_id: str | None = None

    @contextmanager
    def open(self, file: Path) -> Iterator[BinaryIO]:
        """Open one of ``files``."""
        if self.archive is None:
            with file.open("rb") as stream:
                yield stream
        else:
            with zipfile.ZipFile(self.archive) as archive, archive.open(file.as_posix()) as member:
                yield member  # type: ignore[misc]

    def place(self, file: Path) -> str:
        """``file`` for people."""
        return str(file) if self.archive is None else f"{self.archive}:{file.as_posix()}"


@dataclass(frozen=True)
class FoundLogs:
    """What a folder holds.

    Attributes:
        logs: one entry per process.
        summaries: the round summaries, as (file, archive that holds it or None).
        one_clock: all processes ran on one machine.
        is_download: it is what NVFlare hands out of a job that has ended.
        notes: what was left out.
    """

    logs: tuple[ProcessLog, ...]
    summaries: tuple[tuple[Path, Path | None], ...]
    one_clock: bool
    is_download: bool = False
    notes: tuple[str, ...] = ()


def find_logs(path: Path) -> FoundLogs:
    """Look for logs below a folder, or take one log file.

    Raises:
        JobError: there is no such folder, or no log in it.
    """
    if path.is_file():
        name = SERVER if path.name == "server.log" else ""
        return FoundLogs((ProcessLog(name, LogKind.JOB, (path,)),), (), False)
    if not path.is_dir():
        raise JobError(f"{path}: no such folder, expected a job's results, a download, or a workspace of NVFlare")
    folders, summaries, stores, notes = _walk(path)
    logs = [log for folder, names in folders.items() for log in _logs_in(folder, names, path)]
    for store in stores:
        logs += _archived(store)
        with zipfile.ZipFile(store) as archive:
            inside = [Path(n) for n in archive.namelist() if n.endswith(f"files_out/{_ROUND_SUMMARY}")]
        summaries += [(name, store) for name in inside]
    logs = _distinct(logs)
    if not logs and not summaries:
        raise JobError(
            f"{path}: no log below it. Expected files_out/ of a run, what `nvflare job download` wrote, a workspace "
            f"of the simulator, or a folder of startup kits"
        )
    one_clock = any((folder / "simulate_job").is_dir() for folder in folders) or _is_deployment(folders)
    is_download = any(folder.name == "workspace" and (folder.parent / "job").is_dir() for folder in folders)
    return FoundLogs(tuple(logs), tuple(summaries), one_clock, is_download, tuple(notes))


def _walk(root: Path) -> tuple[dict[Path, list[str]], list[tuple[Path, Path | None]], list[Path], list[str]]:
    folders: dict[Path, list[str]] = {}
    summaries: list[tuple[Path, Path | None]] = []
    stores: list[Path] = []
    notes: list[str] = []
    num_entries = 0

    def unreadable(error: OSError) -> None:
        notes.append(f"{error.filename}: cannot be read ({error.strerror})")

    for place, below, names in os.walk(root, onerror=unreadable):
        num_entries += len(below) + len(names)
        if num_entries > _MAX_ENTRIES:
            notes.append(f"only the first {_MAX_ENTRIES} files and folders below {root} were looked at")
            break
        folder = Path(place)
        below[:] = sorted(name for name in below if not _is_skipped(folder, name, below))
        logs = [name for name in names if _is_log(name) and not (folder / name).is_symlink()]
        if logs:
            folders[folder] = sorted(logs)
        if _ROUND_SUMMARY in names:
            summaries.append((folder / _ROUND_SUMMARY, None))
        # NVFlare's store of ended jobs: the server's run folder as a ZIP, and the sites' errors.
        if "workspace" in names and _JOB_ID.fullmatch(folder.name) and zipfile.is_zipfile(folder / "workspace"):
            stores.append(folder / "workspace")
    return folders, summaries, stores, notes


def _is_skipped(folder: Path, name: str, beside: list[str]) -> bool:
    if _NEVER.fullmatch(name):
        return True
    if "startup" in beside:
        return name in _IN_KIT
    in_run_folder = _JOB_ID.fullmatch(folder.name) or "files_out" in beside
    return bool(in_run_folder) and (name in _IN_RUN_FOLDER or name.startswith("app_"))


def _is_log(name: str) -> bool:
    return (
        name in {"server.log", "log.txt", "error_log.txt", "console.log"}
        or bool(_SITE_LOG.fullmatch(name))
        or bool(re.fullmatch(r"log\.txt\.\d{1,3}", name))
        or name.startswith("ERRORLOG_")
    )


def _logs_in(folder: Path, names: list[str], root: Path) -> Iterator[ProcessLog]:
    process, kind, job_id = _owner(folder, root)
    # A full log is renamed to log.txt.1, the one before to log.txt.2: the highest number is the oldest.
    rotated = sorted((n for n in names if n.startswith("log.txt.")), key=lambda n: -int(n.rpartition(".")[2]))
    if "log.txt" in names or rotated:
        files = [folder / name for name in [*rotated, *(["log.txt"] if "log.txt" in names else [])]]
        yield ProcessLog(process, kind, tuple(files), job_id=job_id)
    elif "error_log.txt" in names:
        yield ProcessLog(process, kind, (folder / "error_log.txt",), job_id=job_id)
    for name in names:
        if name == "server.log":
            yield ProcessLog(SERVER, LogKind.JOB, (folder / name,), job_id=job_id)
        elif _SITE_LOG.fullmatch(name):
            yield ProcessLog("", LogKind.JOB, (folder / name,), job_id=job_id)
        elif name.startswith("ERRORLOG_"):
            yield ProcessLog(name.removeprefix("ERRORLOG_"), LogKind.JOB, (folder / name,), job_id=folder.name)
        elif name == "console.log":
            yield ProcessLog(process, LogKind.CONSOLE, (folder / name,), job_id=job_id)


def _owner(folder: Path, root: Path) -> tuple[str, LogKind, str | None]:
    """Whose ``log.txt`` lies in ``folder``: process, kind, job."""
    if (folder / "startup" / "fed_server.json").is_file():
        return SERVER, LogKind.PARENT, None
    if (folder / "startup" / "fed_client.json").is_file():
        return folder.name, LogKind.PARENT, None
    if (folder / "simulate_job").is_dir():  # the simulator's processes log beside their job's folder
        return folder.name, LogKind.JOB, "simulate_job"
    if _JOB_ID.fullmatch(folder.name):
        process, _, _ = _owner(folder.parent, root) if folder != root else ("", LogKind.JOB, None)
        return process, LogKind.JOB, folder.name
    if (folder / "files_out").is_dir() or (folder / "app_server").is_dir():
        return SERVER, LogKind.JOB, folder.parent.name if _JOB_ID.fullmatch(folder.parent.name) else None
    if (folder.parent / "files_out").is_dir():  # a site's log in the server's run folder
        return folder.name, LogKind.JOB, None
    return "", LogKind.JOB, None


def _archived(store: Path) -> Iterator[ProcessLog]:
    """The logs in the run folder that NVFlare's server keeps of an ended job."""
    with zipfile.ZipFile(store) as archive:
        names = [Path(name) for name in archive.namelist()]
    for name in names:
        if name.as_posix() == "log.txt":
            yield ProcessLog(SERVER, LogKind.JOB, (name,), store, store.parent.name)
        elif len(name.parts) == 2 and name.name == "log.txt" and name.parts[0] not in _IN_RUN_FOLDER:
            yield ProcessLog(name.parts[0], LogKind.JOB, (name,), store, store.parent.name)


def _distinct(logs: list[ProcessLog]) -> list[ProcessLog]:
    """Each log once: copies begin alike. The longest one counts, and the one whose process is known."""
    best: dict[tuple[bytes, LogKind], tuple[int, ProcessLog]] = {}
    kept: list[ProcessLog] = []
    for log in logs:
        first = log.files[0]
        with log.open(first) as stream:
            head = stream.read(_HEAD_BYTES)
        if not head:
            continue
        size = _size(log)
        known = best.get((head, log.kind))
        if len(head) < _HEAD_BYTES and known is None:
            # A short log may be the beginning of a longer copy.
            known = next((b for (h, kind), b in best.items() if kind is log.kind and h.startswith(head)), None)
        if known is None:
            best[head, log.kind] = (size, log)
            kept.append(log)
        elif (bool(log.process), size) > (bool(known[1].process), known[0]):
            kept[kept.index(known[1])] = log
            best[head, log.kind] = (size, log)
    return kept


def _size(log: ProcessLog) -> int:
    if log.archive is None:
        return sum(file.stat().st_size for file in log.files)
    with zipfile.ZipFile(log.archive) as archive:
        return sum(archive.getinfo(file.as_posix()).file_size for file in log.files)


def _is_deployment(folders: dict[Path, list[str]]) -> bool:
    kits = [folder for folder in folders if (folder / "startup").is_dir()]
    return any((kit / "startup" / "fed_server.json").is_file() for kit in kits) and len(kits) > 1
