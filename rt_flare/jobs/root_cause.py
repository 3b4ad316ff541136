"""From the logs of a failed run to the error that came first, in the user's code if it is there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rt_flare.core.round_record import Failure

__all__ = ["find_root_cause"]

_RECORD = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d+) - (?:.* - )?(INFO|WARNING|ERROR|CRITICAL|DEBUG) - (.*)")
_FRAME = re.compile(r'^\s+File "([^"]+)", line (\d+)')
_CHAINED = re.compile(
    r"^(?:During handling of the above exception, another exception occurred|"
    r"The above exception was the direct cause of the following exception):$"
)
_TRACEBACK = "Traceback (most recent call last):"
_OURS = "rt_flare.errors."
_KINDS = {
    "ImportError": "import",
    "ModuleNotFoundError": "import",
    "NameError": "import",
    "SyntaxError": "import",
    "IndentationError": "import",
    "FileNotFoundError": "data",
    "MemoryError": "out_of_memory",
    "OutOfMemoryError": "out_of_memory",
}
_MAX_LOG_BYTES = 64 << 20
_MAX_TRACEBACK = 8_000


@dataclass(frozen=True)
class _Block:
    """One exception of a traceback: its last line, and its frames from the outermost to the innermost."""

    error: str
    frames: tuple[tuple[str, int], ...]
    text: str

    @property
    def user_frame(self) -> tuple[str, int] | None:
        return next((frame for frame in reversed(self.frames) if _is_users(frame[0])), None)


@dataclass(frozen=True)
class _Finding:
    rank: int
    time: str
    failure: Failure


def find_root_cause(server_log: Path, site_logs: Mapping[str, Path], console: Path | None = None) -> Failure | None:
    """Find the error that a failed run goes back to.

    Sought in this order, the earliest of its kind by the time in the logs: an exception that passed through the
    user's code, any other exception, a line of level ERROR. Logs that do not exist are skipped; of a log over 64 MiB
    the first 64 MiB are read, because the root cause comes first.

    Returns:
        The failure, with file and line where the user's code took part; None when no log holds an error.
    """
    sources: list[tuple[str | None, Path]] = [(None, server_log), *site_logs.items()]
    findings = [f for site, path in sources if path.is_file() for f in _findings(path, site)]
    if not findings and console is not None and console.is_file():
        findings = list(_findings(console, None))
    if not findings:
        return None
    return min(findings, key=lambda finding: (finding.rank, finding.time)).failure


def _findings(path: Path, site: str | None) -> Iterator[_Finding]:
    for time, level, lines in _records(path):
        blocks = _blocks(lines)
        if blocks:
            chosen, place = _choose(blocks)
            yield _Finding(0 if place else 1, time, _failure(chosen, place, site))
        elif level in {"ERROR", "CRITICAL"}:
            yield _Finding(
                2, time, Failure(kind="server" if site is None else "exception", message=lines[0], site=site)
            )


def _records(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Log records as (time, level, lines); lines without a time of their own belong to the record before them."""
    time, level, lines = "", "", list[str]()
    with path.open("rb") as file:
        text = file.read(_MAX_LOG_BYTES).decode(errors="replace")
    for line in text.splitlines():
        if match := _RECORD.match(line):
            if lines:
                yield time, level, lines
            time, level, lines = match[1], match[2], [match[3]]
        else:
            lines.append(line)
    if lines:
        yield time, level, lines


def _blocks(lines: list[str]) -> list[_Block]:
    """The exceptions of the first traceback in ``lines``; the first of them is the one that came first."""
    blocks: list[_Block] = []
    start = next((i for i, line in enumerate(lines) if _TRACEBACK in line), None)
    while start is not None:
        end = start + 1
        # Frames, source lines and markers are indented; the exception itself is the first line that is not.
        while end < len(lines) and (lines[end].startswith((" ", "\t")) or not lines[end].strip()):
            end += 1
        if end >= len(lines):
            break
        frames = tuple((m[1], int(m[2])) for m in map(_FRAME.match, lines[start + 1 : end]) if m)
        blocks.append(_Block(lines[end].strip(), frames, "\n".join(lines[start : end + 1])))
        link = next((i for i in range(end + 1, len(lines)) if _CHAINED.match(lines[i])), None)
        start = next((i for i in range(link, len(lines)) if _TRACEBACK in lines[i]), None) if link else None
    return blocks


def _choose(blocks: list[_Block]) -> tuple[_Block, tuple[str, int] | None]:
    """The exception to show, and the place in the user's code to show with it."""
    place = next((block.user_frame for block in blocks if block.user_frame), None)
    # An error of ours says what to do, and names what it goes back to.
    ours = next((block for block in blocks if block.error.startswith(_OURS)), None)
    return ours or blocks[0], place


def _failure(block: _Block, place: tuple[str, int] | None, site: str | None) -> Failure:
    message = block.error.removeprefix(_OURS)
    name = message.partition(":")[0].rpartition(".")[2]
    return Failure(
        kind=_KINDS.get(name, "exception" if place or site else "server"),
        message=message,
        site=site,
        file=_shown(place[0]) if place else None,
        line=place[1] if place else None,
        traceback=block.text[-_MAX_TRACEBACK:],
    )


def _is_users(file: str) -> bool:
    # A job's own code is deployed into a folder "custom" below the run folder.
    return "/custom/" in file and "site-packages" not in file


def _shown(file: str) -> str:
    return file.rpartition("/custom/")[2]
