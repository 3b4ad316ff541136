"""What one record of a log says about a failure: which row, whose, in which round, at which line."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, replace
from enum import IntEnum

from rt_flare.core.durable_io import as_utf8
from rt_flare.jobs.doctor.failure_rows import FailureRow, FailureTable, RowWeight
from rt_flare.jobs.doctor.log_records import LogRecord
from rt_flare.jobs.doctor.tracebacks import ExceptionBlock, choose_block, dumped_place, error_blocks, shown_file

__all__ = ["Evidence", "Weight", "judge_record", "shown"]

MAX_MESSAGE = 2_000
MAX_TRACEBACK = 8_000
_REPORT = re.compile(
    r"(?:task \S{1,100} failed|no update|no evaluation): "
    r"(?P<site>[^,\n]{1,200}), round (?P<round>\d{1,9}): (?P<text>.*)"
)
"""How rt_flare logs a site's failure, at the site and at the server."""
_PLACE = re.compile(r" \((?P<file>[^()\n]{1,300}):(?P<line>\d{1,9})\)$")
_LEVELS_OF_ERRORS = {"ERROR", "CRITICAL"}


class Weight(IntEnum):
    """What goes before what when the root is sought; within a weight, the earlier one does."""

    CAUSE = 0
    """Explains itself: a site's own report, an exception in user code, a row that is a cause."""
    FAILURE = 1
    """Another exception, or a row that is a symptom, reported as an error."""
    WARNING = 2
    """A row that shows in a warning or a remark."""
    KNOWN_CONSEQUENCE = 3
    """Brought about by another failure, and tells its row."""
    LINE = 4
    """A line of level ERROR, of no known row."""
    CONSEQUENCE = 5
    """Brought about by another failure."""


@dataclass(frozen=True)
class Evidence:
    """One trace of a failure. All text is printable and bounded.

    Attributes:
        process: the process whose log it is: ``server`` or a site's name.
        site: whom it concerns; None for the server.
        time: seconds since 1970 on that process's clock, in its zone; None where none is known.
        stamp: the time as the log has it.
        weight: see `Weight`.
        row: the known failure; None for an unknown one.
        message: what happened.
        round: 0-based round; None outside the rounds, or where it is not known.
        file, line: place in user code.
        traceback: of user code, where there is one.
        log: the file that it stands in.
        log_line: 1-based line there.
    """

    process: str
    site: str | None
    time: float | None
    stamp: str
    weight: Weight
    row: FailureRow | None
    message: str
    round: int | None = None
    file: str | None = None
    line: int | None = None
    traceback: str | None = None
    log: str = ""
    log_line: int = 0


def judge_record(record: LogRecord, process: str, log: str, table: FailureTable) -> Evidence | None:
    """What a record says about a failure; None when it says nothing."""
    if record.text.startswith("[user code]") or table.is_noise(record.text):
        return None
    bare = Evidence(
        process=process,
        site=None if process == "server" else process,
        time=record.time,
        stamp=record.stamp,
        weight=Weight.WARNING,
        row=None,
        message=shown(record.text),
        log=log,
        log_line=record.line_number,
    )
    if not record.is_alarming:
        row, site = table.classify(record.text, info=True)
        return None if row is None else replace(bare, site=_named(site) or bare.site, row=row)
    if report := _REPORT.match(record.text):
        return _judge_report(report, record, table, bare)
    blocks = error_blocks([record.text, *record.rest])
    return _judge_blocks(blocks, table, bare) if blocks else _judge_line(record, table, bare)


def _judge_blocks(blocks: list[ExceptionBlock], table: FailureTable, bare: Evidence) -> Evidence:
    block, place = choose_block(blocks)
    row, _ = table.classify(block.message)
    if row is None:
        row = next((found for b in blocks if (found := table.classify(b.error)[0])), None)
    is_cause = place is not None or (row is not None and row.weight is RowWeight.CAUSE)
    weight = Weight.CAUSE if is_cause else Weight.FAILURE
    if any(table.is_consequence(b.error) for b in blocks):
        weight = Weight.KNOWN_CONSEQUENCE if row else Weight.CONSEQUENCE
    return replace(
        bare,
        weight=weight,
        row=row,
        message=shown(block.message),
        file=shown(shown_file(place[0])) if place else None,
        line=place[1] if place else None,
        traceback=shown(block.text, MAX_TRACEBACK, lines=True),
    )


def _judge_line(record: LogRecord, table: FailureTable, bare: Evidence) -> Evidence | None:
    row, site = table.classify(record.text)
    is_error = record.level in _LEVELS_OF_ERRORS
    if row is None and not is_error:
        return None
    if table.is_consequence(record.text):
        weight = Weight.KNOWN_CONSEQUENCE if row else Weight.CONSEQUENCE
    elif row is None:
        weight = Weight.LINE
    elif not is_error:
        weight = Weight.WARNING
    else:
        weight = Weight.CAUSE if row.weight is RowWeight.CAUSE else Weight.FAILURE
    return replace(bare, site=_named(site) or bare.site, weight=weight, row=row)


def _judge_report(report: re.Match[str], record: LogRecord, table: FailureTable, bare: Evidence) -> Evidence:
    text = report["text"]
    place = _PLACE.search(text)
    message = text[: place.start()] if place else text
    blocks = error_blocks(record.rest)
    row, _ = table.classify(message)
    if row is None or row.id == "worker_crashed":
        # A process that died says only in its last lines what of.
        last_words = [b.error for b in blocks] or [line for line in record.rest if line.strip()]
        found = next((r for line in last_words if (r := table.classify(line)[0]) and r.weight is RowWeight.CAUSE), None)
        row = found or row
    file, line = (place["file"], int(place["line"])) if place else (None, None)
    if file is None and (seen := (choose_block(blocks)[1] if blocks else dumped_place(record.rest))):
        file, line = shown_file(seen[0]), seen[1]
    rest = textwrap.dedent("\n".join(record.rest)).strip("\n")
    # That a site gave no answer is the server's word, not the site's.
    is_missing = row is not None and row.id == "worker_timeout"
    return replace(
        bare,
        site=shown(report["site"], 200),
        weight=Weight.FAILURE if is_missing else Weight.CAUSE,
        row=row,
        message=shown(message),
        round=int(report["round"]),
        file=shown(file, 300) if file else None,
        line=line,
        traceback=shown(rest, MAX_TRACEBACK, lines=True) or None,
    )


def shown(text: str, most: int = MAX_MESSAGE, *, lines: bool = False) -> str:
    """``text`` for any terminal or page: bounded, and with escapes for what is not printable.

    Args:
        text: text from elsewhere.
        most: characters that are kept: the first ones, with ``lines`` the last.
        lines: keep line breaks.
    """
    cut = text[-most:] if lines else text[:most]
    return "".join(c if c.isprintable() or (lines and c == "\n") else _escaped(c) for c in as_utf8(cut))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _named(site: str | None) -> str | None:
    return shown(site, 200) if site else None
