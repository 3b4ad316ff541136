"""What the server takes from one site: its logs and files, within limits, under names that stay in their place."""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rt_flare.core.durable_io import as_utf8, flush_folder
from rt_flare.core.kept_log import KeptLog

__all__ = ["LEFT_OUT_FILE", "InboxLimits", "SiteInbox", "original_name", "stored_name"]

LEFT_OUT_FILE = "LEFT_OUT.txt"
"""In a site's folder: the files that were refused, and why."""

_SITE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SUFFIX = ".from_site"
_NVFLARE_NAME = re.compile(r"(log\.txt|log\.json|metrics_summary\.json|round_metrics\.jsonl)(\.from_site)*")
_MAX_PIECE_BYTES = 4 << 20
_MAX_PART_BYTES = 200
_MAX_PARTS = 16
_MAX_LEFT_OUT_BYTES = 64 << 10


@dataclass(frozen=True)
class InboxLimits:
    """How much of one site is kept.

    Attributes:
        log_bytes: of each of its logs (see `KeptLog`).
        files_bytes: of all its files together.
        num_files: number of its files.
    """

    log_bytes: int
    files_bytes: int
    num_files: int


class SiteInbox:
    """Receives a site's pieces. Each may come twice, when an answer was lost; nothing is stored twice.

    Everything in a message is a value: a log goes to ``logs/log.txt`` or ``logs/log.json``, a file to
    ``folder/round_<n>/<its own path>``, or it is refused. A file appears under its name when it is whole.

    Args:
        site: the site's name, as NVFlare's server has verified it.
        text_log: second name of ``logs/log.txt``, for users.
        logs: folder for the logs, where NVFlare's ``job logs`` and ``job download`` look for them.
        folder: for the files.
        staging: file for the one that is on its way.
        limits: what is kept.

    Raises:
        ValueError: the site has a name that NVFlare does not allow.
        OSError: the log cannot be made.
    """

    def __init__(
        self, site: str, *, text_log: Path, logs: Path, folder: Path, staging: Path, limits: InboxLimits
    ) -> None:
        if not _SITE_NAME.fullmatch(site):
            raise ValueError(f"site name: found {site!r}, expected letters, digits, '_' and '-'")
        self._folder = folder
        self._staging = staging
        self._limits = limits
        self._lock = threading.Lock()
        self._num_files = 0
        self._total = 0
        self._expected: tuple[Path, int, int] | None = None  # target, bytes in staging, bytes of the whole file
        self._left_out_bytes = 0
        self._closed = False
        self._log_folder = logs
        self._text_log = KeptLog(text_log, limits.log_bytes)
        self._json_log: KeptLog | None = None
        for path in (logs, staging.parent):
            path.mkdir(parents=True, exist_ok=True)
        if not (logs / "log.txt").exists():
            (logs / "log.txt").hardlink_to(text_log)

    def take(self, session: str, round_number: Any, parts: Any, offset: Any, data: Any, size: Any) -> str | None:
        """Store a piece (see `Piece`); return None, or why it is refused for good.

        Args:
            session: a text that the sending process has chosen; a new one begins its log anew.
            round_number, parts, offset, data, size: as they came.

        Raises:
            OSError: it cannot be stored.
        """
        if not (_is_count(offset) and isinstance(data, bytes) and len(data) <= _MAX_PIECE_BYTES and _is_count(size)):
            return "malformed message"
        with self._lock:
            if self._closed:
                return "the job has ended"
            if round_number is None:
                return self._take_log(session, parts, offset, data)
            target, refusal = self._target(round_number, parts)
            if target is None:
                return self._leave_out(round_number, parts, refusal)
            refused = self._take_file(target, offset, data, size)
            return None if refused is None else self._leave_out(round_number, parts, refused)

    def note(self, text: str) -> None:
        """Add a line of the server's own to the log."""
        with self._lock:
            self._text_log.note(text)

    def close(self) -> None:
        """Take no more, and remove a file that did not come whole."""
        with self._lock:
            self._closed = True
            self._staging.unlink(missing_ok=True)

    def _take_log(self, session: str, parts: Any, offset: int, data: bytes) -> str | None:
        match parts:
            case ["log.txt"]:
                return self._text_log.take(session, offset, data)
            case ["log.json"]:
                # NVFlare's `job logs --format json` takes a site's log from here.
                self._json_log = self._json_log or KeptLog(self._log_folder / "log.json", self._limits.log_bytes)
                return self._json_log.take(session, offset, data)
        return "no such log"

    def _target(self, round_number: Any, parts: Any) -> tuple[Path | None, str]:
        if not _is_count(round_number) or round_number >= 10**9:
            return None, "its round is no count"
        if not isinstance(parts, list | tuple) or not 1 <= len(parts) <= _MAX_PARTS:
            return None, f"its path has no names or more than {_MAX_PARTS}"
        for part in parts:
            if refusal := _refused_name(part):
                return None, refusal
        folder = self._folder / f"round_{round_number}"
        return folder.joinpath(*parts[:-1], stored_name(parts[-1])), ""

    def _take_file(self, target: Path, offset: int, data: bytes, size: int) -> str | None:
        if offset == 0:
            if refusal := self._no_room(target, size):
                return refusal
            self._staging.write_bytes(data)
        elif self._expected is None or self._expected[::2] != (target, size):
            return None if _size(target) == size else "a piece from its middle came first"
        elif offset == self._expected[1]:
            with self._staging.open("ab") as file:
                file.write(data)
        elif offset > self._expected[1]:
            return "a piece before this one is missing"
        else:
            return None  # it is here already: the answer was lost
        self._expected = (target, offset + len(data), size)
        if offset + len(data) > size:
            return "it is longer than announced"
        if offset + len(data) == size:
            return self._keep(target, size)
        return None

    def _keep(self, target: Path, size: int) -> str | None:
        self._expected, replaced = None, _size(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                return "a folder has that name"
            with self._staging.open("rb") as file:
                os.fsync(file.fileno())
            self._staging.replace(target)
        except (FileExistsError, NotADirectoryError):
            return "a file has the name of one of its folders"
        flush_folder(target.parent)
        self._num_files += replaced is None
        self._total += size - (replaced or 0)
        return None

    def _no_room(self, target: Path, size: int) -> str | None:
        replaced = _size(target)
        if replaced is None and self._num_files >= self._limits.num_files:
            return f"over the limit of {self._limits.num_files} files per site"
        if self._total - (replaced or 0) + size > self._limits.files_bytes:
            return f"{size} bytes, over the limit of {self._limits.files_bytes} bytes per site"
        return None

    def _leave_out(self, round_number: Any, parts: Any, refusal: str) -> str:
        """Say in a file of the site's folder what is not there."""
        name = "/".join(map(str, parts)) if isinstance(parts, list | tuple) else str(parts)
        line = f"round_{str(round_number)[:12]!s}/{_shown(name)}: {refusal}\n".encode()
        if self._left_out_bytes + len(line) <= _MAX_LEFT_OUT_BYTES:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / LEFT_OUT_FILE).open("ab") as file:
                file.write(line)
        self._left_out_bytes += len(line)
        return refusal


def stored_name(name: str) -> str:
    """The name that a site's file gets at the server, where NVFlare takes four names for files of its own."""
    return f"{name}{_SUFFIX}" if _NVFLARE_NAME.fullmatch(name) else name


def original_name(name: str) -> str:
    """The name that the file had at the site."""
    return name.removesuffix(_SUFFIX) if _NVFLARE_NAME.fullmatch(name) else name


def _refused_name(part: Any) -> str | None:
    if not isinstance(part, str) or part in {"", ".", ".."} or "/" in part or "\\" in part:
        return "its path could lead elsewhere"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in part):
        return "its name has control characters, or is not UTF-8"
    if len(part.encode()) > _MAX_PART_BYTES:
        return f"a name is longer than {_MAX_PART_BYTES} bytes"
    return None


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def _shown(name: str) -> str:
    text = as_utf8(name)
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
