"""The log of one process, read once: traces of failures, and what tells its clock, its beginning and its end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from rt_flare.jobs.doctor.evidence import Evidence, Weight, judge_record, shown
from rt_flare.jobs.doctor.failure_rows import FailureTable
from rt_flare.jobs.doctor.log_records import LogRecord, ReadLimit, read_records
from rt_flare.jobs.doctor.log_sources import SERVER, LogKind, ProcessLog

__all__ = ["ChildExit", "ProcessStory", "read_story"]

_MAX_TRACES = 200
_MAX_TASKS = 200
_TASK = re.compile(r"(?:got task assignment|assigned task to client \S+): name=\S+, id=([0-9a-f-]{36})")
_ROUND = re.compile(r"Round (\d{1,9}) (started|finished)")
_EXIT = re.compile(
    r"run \((\S{1,64})\): child worker process finished with RC (\S+)|"
    r"Job: (\S{1,64}) child process exit with return code (\S+)"
)
_BEGINS = ("client runner started", "Server runner starting", "starting workflow")
_ENDS = ("END_RUN fired", "Server runner finished", "End the Simulator run", "Server app stopped")
_SERVER_LOGGERS = {"ServerRunner", "RtFedAvg", "WFCommServer", "ServerEngine", "FederatedServer"}
_SITE_LOGGERS = {"ClientRunner", "PayloadExecutor", "SiteFileSender"}
_DIGITS = re.compile(r"\d+|[0-9a-f]{8}-[0-9a-f-]{27}")


@dataclass(frozen=True)
class ChildExit:
    """A parent's word on how a job's process ended: job, exit code as text, and where it stands."""

    job_id: str
    code: str
    evidence: Evidence


@dataclass
class ProcessStory:
    """What a process's log holds.

    Attributes:
        log: which log.
        process: ``server`` or the site's name.
        traces: of failures, in order, each kind once.
        counts: how often each of ``traces`` came.
        tasks: time at which it had each task, by NVFlare's id.
        rounds: time at which each round began, of the first 200.
        last_round: the last round that ended well.
        exits: of jobs' processes.
        first_time, last_time: of its records.
        last_stamp: as the log has it.
        begun, ended: whether the job began and ended in it.
        job_ids: jobs that its records name.
        limited: only the beginning was read.
    """

    log: ProcessLog
    process: str
    traces: list[Evidence] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    tasks: dict[str, float] = field(default_factory=dict)
    rounds: dict[int, float] = field(default_factory=dict)
    last_round: int | None = None
    exits: list[ChildExit] = field(default_factory=list)
    first_time: float | None = None
    last_time: float | None = None
    last_stamp: str = ""
    begun: bool = False
    ended: bool = False
    job_ids: set[str] = field(default_factory=set)
    limited: bool = False

    @property
    def is_server(self) -> bool:
        """Whether it is the server's."""
        return self.process == SERVER


def read_story(log: ProcessLog, table: FailureTable) -> ProcessStory:
    """Read a log, all of its files, up to `log_records.MAX_LOG_BYTES`.

    Raises:
        OSError: a file cannot be read.
    """
    story, limit = ProcessStory(log, log.process), ReadLimit()
    seen: dict[tuple[object, ...], int] = {}
    before: LogRecord | None = None
    for file in log.files:
        place = log.place(file)
        with log.open(file) as stream:
            for record in read_records(stream, limit):
                if _note(story, record, place):
                    continue
                joined = _joined(before, record)
                trace = judge_record(joined, story.process, place, table)
                if trace is not None:
                    _keep(story, seen, trace, replaces=before if joined is not record else None)
                before = joined if joined.is_alarming else before
    story.limited = limit.met
    if not story.process:
        story.process = log.files[0].stem if log.files[0].name.startswith("client_") else SERVER
    if not log.process:
        _rename(story)
    return story


def _joined(before: LogRecord | None, record: LogRecord) -> LogRecord:
    """NVFlare logs a message and then its traceback: one record of both."""
    if before is None or not record.text.startswith("Traceback (most recent call last)"):
        return record
    together = (before.logger, before.level) == (record.logger, record.level) and not before.rest
    if not together or before.time is None or record.time is None or not 0 <= record.time - before.time < 1:
        return record
    return replace(before, rest=[record.text, *record.rest])


def _keep(
    story: ProcessStory, seen: dict[tuple[object, ...], int], trace: Evidence, *, replaces: LogRecord | None
) -> None:
    if replaces is not None and story.traces and story.traces[-1].log_line == replaces.line_number:
        del story.traces[-1]
    key = (trace.row and trace.row.id, trace.site, trace.round, _DIGITS.sub("#", trace.message[:200]))
    index = seen.get(key)
    if index is not None and index < len(story.traces):
        story.counts[index] = story.counts.get(index, 1) + 1
    elif len(story.traces) < _MAX_TRACES:
        seen[key] = len(story.traces)
        story.traces.append(trace)


def _note(story: ProcessStory, record: LogRecord, place: str) -> bool:
    """Take what is no failure from a record; True when nothing else is in it."""
    if record.time is not None:
        story.first_time = record.time if story.first_time is None else story.first_time
        story.last_time, story.last_stamp = record.time, record.stamp
    if run := record.context.get("run"):
        if run != "?" and len(story.job_ids) < 100:
            story.job_ids.add(run)
        if not story.process:
            story.process = _process_of(record)
    if record.is_alarming:
        return False
    text = record.text
    if record.time is not None:
        if (task := _TASK.search(text)) and len(story.tasks) < _MAX_TASKS:
            story.tasks.setdefault(task[1], record.time)
        elif found := _ROUND.match(text):
            _note_round(story, int(found[1]), found[2], record.time)
    if text.startswith(_BEGINS):
        story.begun = True
    elif text.startswith(_ENDS):
        story.ended = True
    if story.log.kind is LogKind.PARENT and (found := _EXIT.search(text)):
        evidence = _exit_trace(story, record, place)
        story.exits.append(ChildExit(found[1] or found[3], (found[2] or found[4]).rstrip("."), evidence))
        return True
    return False


def _note_round(story: ProcessStory, number: int, what: str, time: float) -> None:
    if what == "finished":
        story.last_round = max(number, -1 if story.last_round is None else story.last_round)
    elif len(story.rounds) < _MAX_TASKS:
        story.rounds.setdefault(number, time)


def _exit_trace(story: ProcessStory, record: LogRecord, place: str) -> Evidence:
    """The bare trace of a child's end; what it means is decided when all logs are known."""
    return Evidence(
        process=story.process,
        site=None if story.is_server else story.process,
        time=record.time,
        stamp=record.stamp,
        weight=Weight.CONSEQUENCE,
        row=None,
        message=shown(record.text),
        log=place,
        log_line=record.line_number,
    )


def _process_of(record: LogRecord) -> str:
    if record.logger in _SERVER_LOGGERS:
        return SERVER
    return record.context["identity"] if record.logger in _SITE_LOGGERS else ""


def _rename(story: ProcessStory) -> None:
    """Give the traces from before the process was known its name."""
    own = None if story.is_server else story.process
    story.traces = [
        trace if trace.process == story.process else replace(trace, process=story.process, site=trace.site or own)
        for trace in story.traces
    ]
