"""A site's logs and the files of its user code, on their way to the server piece by piece."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rt_flare.core.durable_io import as_utf8
from rt_flare.core.log_tail import LogTail

__all__ = ["ROUND_FOLDER", "Outbox", "Piece", "Receipt"]

ROUND_FOLDER = re.compile(r"round_(0|[1-9][0-9]{0,8})")
"""Name of the folder with the files of one round."""

_PIECE_BYTES = 1 << 20
_MAX_REPORTED = 20


@dataclass(frozen=True)
class Piece:
    """A part of one of the site's logs, or of a file.

    Attributes:
        round: 0-based round that the file belongs to; None for a log.
        parts: the file's path below its round's folder; the name of the log.
        offset: place of ``data`` in the file, in bytes; for a log, counted from its first byte in this job.
        data: at most 1 MiB.
        size: bytes of the whole file; 0 for a log, which grows.
    """

    round: int | None
    parts: tuple[str, ...]
    offset: int
    data: bytes
    size: int


@dataclass(frozen=True)
class Receipt:
    """The server's answer: taken (``refusal`` is None), or refused for good, and why."""

    refusal: str | None = None


class Outbox:
    """Sends what is new. What an answer is missing for is sent again, from the same place, with the next call.

    Args:
        logs: the site's logs (see `LogTail`).
        out_dir: folder with ``round_<n>/`` folders of user files. Links in it are not followed.
        send: takes one piece to the server and returns its answer; raises `LinkError` when there is none.
        report: takes a line for people about what was sent and what the server refused.
    """

    def __init__(
        self, logs: Sequence[Path], out_dir: Path, send: Callable[[Piece], Receipt], report: Callable[[str], None]
    ) -> None:
        self._logs = [LogTail(path) for path in logs]
        self._out_dir = out_dir
        self._send = send
        self._report = report
        self._settled: dict[Path, tuple[int, int]] = {}
        self._finished_rounds: set[int] = set()

    def send_logs(self) -> None:
        """Send the logs up to their present end.

        Raises:
            LinkError: the server does not answer.
        """
        for log in self._logs:
            while data := log.piece(_PIECE_BYTES):
                receipt = self._send(Piece(None, (log.path.name,), log.offset, data, 0))
                log.confirm()
                log.refused = receipt.refusal is not None

    def send_files(self, last_round: int | None = None) -> None:
        """Send the files that are new or have changed.

        Args:
            last_round: rounds up to this one, which user code has left; earlier ones are looked at once more only
                with None, which takes all.

        Raises:
            LinkError: the server does not answer.
        """
        for round_number, folder in self._round_folders():
            if last_round is not None and (round_number > last_round or round_number in self._finished_rounds):
                continue
            sent = [path for path in _files(folder) if self._send_file(round_number, path, folder)]
            for path in sent[:_MAX_REPORTED]:
                self._report(f"{self._shown(path)}: {self._settled[path][0]} bytes, sent to the server")
            if len(sent) > _MAX_REPORTED:
                self._report(f"{folder.name}: {len(sent) - _MAX_REPORTED} more files sent to the server")
            self._finished_rounds.add(round_number)

    def close(self) -> None:
        """Close the logs."""
        for log in self._logs:
            log.close()

    def _round_folders(self) -> Iterator[tuple[int, Path]]:
        found = [(ROUND_FOLDER.fullmatch(path.name), path) for path in self._out_dir.glob("round_*")]
        rounds = [(int(match[1]), path) for match, path in found if match and path.is_dir() and not path.is_symlink()]
        yield from sorted(rounds)

    def _send_file(self, round_number: int, path: Path, folder: Path) -> bool:
        """Send one file unless it is as it was; False when nothing was sent, or not all of it."""
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                version = (status.st_size, status.st_mtime_ns)
                if self._settled.get(path) == version:
                    return False
                taken = self._send_content(file, version[0], round_number, path)
        except (FileNotFoundError, PermissionError) as error:
            self._report(f"{self._shown(path)}: not sent: {error.strerror}")
            return False
        if taken is not None:
            self._settled[path] = version
        return bool(taken)

    def _send_content(self, file: BinaryIO, size: int, round_number: int, path: Path) -> bool | None:
        """True: the server has it. False: it refuses. None: the file became shorter meanwhile."""
        offset, parts = 0, path.relative_to(self._out_dir).parts[1:]
        while True:
            data = file.read(min(_PIECE_BYTES, size - offset))
            if len(data) < min(_PIECE_BYTES, size - offset):
                return None
            receipt = self._send(Piece(round_number, parts, offset, data, size))
            if receipt.refusal is not None:
                self._report(f"{self._shown(path)}: not sent: {receipt.refusal}")
                return False
            offset += len(data)
            if offset == size:
                return True

    def _shown(self, path: Path) -> str:
        # User code may name its files so that a line of a log would look like another one.
        return "".join(c if c.isprintable() else "?" for c in as_utf8(str(path.relative_to(self._out_dir))))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
