"""NVFlare's log lines, read as records from a stream of any size, in bounded memory."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO

__all__ = ["MAX_LOG_BYTES", "LogRecord", "ReadLimit", "read_records"]

MAX_LOG_BYTES = 256 << 20
"""Of one process's log, this much is read: its beginning, where the first error is."""
_MAX_LINE = 1 << 16
_MAX_KEPT = 6_000
_FIRST_LINES = 300
_LAST_LINES = 100
_EPOCH = datetime(1970, 1, 1)  # the times in a log name no zone
_STAMP = re.compile(rb"(?:\x1b\[[\d;]{0,9}m)?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.]\d{1,6}) - ")
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
_HEAD = re.compile(rf"(?:(?P<logger>(?!(?:{_LEVELS}) - )[^\n]{{0,200}}?) - )?(?P<level>{_LEVELS}) - (?P<text>.*)", re.S)
_CONTEXT = re.compile(r"\[(?P<pairs>identity=[^\]\n]{0,2000})\] - (?P<text>.*)", re.S)


@dataclass
class LogRecord:
    """One record: a line with a time, and the lines behind it that have none.

    Attributes:
        time: seconds since 1970 on the clock and in the zone of the process that wrote it; None for what stands
            before the first record.
        stamp: the time as it stands in the log.
        level: ``DEBUG`` to ``CRITICAL``; "" for what stands before the first record.
        logger: name of the logger; "" where the format leaves it out.
        context: NVFlare's context: ``identity``, ``run`` (the job), ``peer``, ``task_name`` ...
        text: the message's first line.
        line_number: 1-based number of that line in its file.
        rest: the lines behind it, the first 300 and the last 100 of them; none for DEBUG and INFO.
    """

    time: float | None
    stamp: str
    level: str
    logger: str
    context: dict[str, str]
    text: str
    line_number: int
    rest: list[str] = field(default_factory=list)

    @property
    def is_alarming(self) -> bool:
        """Whether it is a warning, an error, or no record at all."""
        return self.level not in {"DEBUG", "INFO"}


@dataclass
class ReadLimit:
    """How much of a process's log may still be read, over all of its files.

    Attributes:
        bytes_left: may be below 0 by one line.
        met: something was left out.
    """

    bytes_left: int = MAX_LOG_BYTES
    met: bool = False


def read_records(stream: BinaryIO, limit: ReadLimit) -> Iterator[LogRecord]:
    """Read the records of a log, whatever bytes are in it.

    Of a line, the first 6,000 bytes count; what is no UTF-8 is replaced.
    """
    record: LogRecord | None = None
    last: deque[str] = deque(maxlen=_LAST_LINES)
    number, starts_line = 0, True
    while line := stream.readline(_MAX_LINE):
        if limit.bytes_left <= 0:
            limit.met = True
            break
        limit.bytes_left -= len(line)
        starts, starts_line = starts_line, line.endswith(b"\n")
        if not starts:
            continue  # the remainder of a line that was cut
        number += 1
        new = _record(line, number)
        if new is not None:
            if record is not None:
                yield _closed(record, last)
            record = new
        elif record is None:
            record = LogRecord(None, "", "", "", {}, _text(line[:_MAX_KEPT]), number)
        elif record.is_alarming:
            (record.rest if len(record.rest) < _FIRST_LINES else last).append(_text(line[:_MAX_KEPT]))
    if record is not None:
        yield _closed(record, last)


def _record(line: bytes, number: int) -> LogRecord | None:
    stamp = _STAMP.match(line)
    if stamp is None:
        return None
    head = _HEAD.match(_text(line[stamp.end() : stamp.end() + _MAX_KEPT]))
    if head is None:
        return None
    shown = stamp[1].decode()
    try:
        time = (datetime.fromisoformat(shown.replace(",", ".")) - _EPOCH).total_seconds()
    except ValueError:  # the 31st of February
        return None
    text, context = head["text"], {}
    if text.startswith("[identity=") and (found := _CONTEXT.match(text)):
        context = dict(pair.split("=", 1) for pair in found["pairs"].split(", ") if "=" in pair)
        text = found["text"]
    return LogRecord(time, shown, head["level"], head["logger"] or "", context, text, number)


def _closed(record: LogRecord, last: deque[str]) -> LogRecord:
    record.rest.extend(last)
    last.clear()
    return record


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r\n")
