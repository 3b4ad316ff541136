"""`diagnose`: from a folder to its findings, the root cause first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import Failure
from rt_flare.jobs.doctor.clocks import clock_offsets
from rt_flare.jobs.doctor.evidence import Evidence, Weight
from rt_flare.jobs.doctor.failure_rows import load_failure_table
from rt_flare.jobs.doctor.findings import Diagnosis, Finding
from rt_flare.jobs.doctor.job_choice import JobSpan, choose_job, logs_of_job, stopped_processes
from rt_flare.jobs.doctor.ledger_traces import failed_round, ledger_traces, load_summary
from rt_flare.jobs.doctor.log_records import MAX_LOG_BYTES
from rt_flare.jobs.doctor.log_sources import SERVER, FoundLogs, LogKind, ProcessLog, find_logs
from rt_flare.jobs.doctor.process_ends import unexplained_ends
from rt_flare.jobs.doctor.process_story import ProcessStory, read_story
from rt_flare.jobs.doctor.weighing import Weighed, weigh

__all__ = ["diagnose", "find_root_cause"]

_MAX_FINDINGS = 100


def diagnose(path: Path, *, job_id: str | None = None) -> Diagnosis:
    """Find out what a job failed of.

    Args:
        path: results of ours (``files_out/`` or the folder around it), what ``nvflare job download`` wrote, a
            workspace of the simulator, a folder of startup kits with a running or ended job, or one log file.
        job_id: the job, where the folder holds several; None takes the latest.

    The errors of all processes are put in order by time. Clocks are compared by the tasks that server and sites
    both log; where they cannot be, two errors within `CLOCK_TOLERANCE_SECONDS` count as simultaneous, and that of
    the earlier round, then that of a site, goes first. Of each process's log the first `MAX_LOG_BYTES` are read, in
    memory that does not grow with them.

    Raises:
        JobError: there is no log there, no such job, or a round summary that cannot be read.
        OSError: a log cannot be read.
    """
    found = find_logs(path)
    chosen = choose_job(found, job_id)
    logs = logs_of_job(found, chosen)
    summaries = [load_summary(file, archive) for file, archive in found.summaries]
    ledger = next((s for s in reversed(summaries) if chosen is None or s.job_id == chosen), None)
    return _diagnose(path, found, logs, chosen, ledger)


def find_root_cause(server_log: Path, site_logs: Mapping[str, Path], console: Path | None = None) -> Failure | None:
    """Find the error that a failed run goes back to, in logs whose processes are known.

    Logs that do not exist are skipped.

    Returns:
        The failure, with file and line where the user's code took part; None when no log holds an error.
    """
    named = [(SERVER, server_log), *site_logs.items()]
    logs = [ProcessLog(site, LogKind.JOB, (path,)) for site, path in named if path.is_file()]
    if console is not None and console.is_file():
        logs.append(ProcessLog(SERVER, LogKind.CONSOLE, (console,)))
    root = _diagnose(server_log, FoundLogs(tuple(logs), (), one_clock=True), logs, None, None).root
    return root.failure() if root else None


def _diagnose(
    path: Path, found: FoundLogs, logs: Sequence[ProcessLog], job_id: str | None, ledger: Ledger | None
) -> Diagnosis:
    table = load_failure_table()
    stories = [read_story(log, table) for log in logs if log.kind is not LogKind.CONSOLE]
    job_id = job_id or _only_job(stories)
    offsets = clock_offsets(stories)
    span = JobSpan.of(stories, job_id)
    traces = [*_traces(stories, span)]
    gone = frozenset({SERVER}) if found.is_download else frozenset[str]()
    if found.one_clock and path.is_dir():
        gone = stopped_processes(path)
    traces += [(trace, 1) for trace in unexplained_ends(stories, job_id, table, gone=gone)]
    if ledger is not None:
        rounds = next((s.rounds for s in stories if s.is_server and s.rounds), {})
        summary = next((file for file, _ in found.summaries), path)
        traces += [(trace, 1) for trace in ledger_traces(ledger, rounds, table, log=str(summary))]
    if all(trace.weight > Weight.LINE for trace, _ in traces):
        consoles = [read_story(log, table) for log in logs if log.kind is LogKind.CONSOLE]
        traces += [*_traces(consoles, span)]
        stories += consoles
    weighed = weigh(
        traces,
        table,
        offsets=offsets,
        one_clock=found.one_clock,
        finished=ledger is not None and ledger.state == "FINISHED",
        failed_round=failed_round(ledger) if ledger else _round_behind(stories),
    )
    return Diagnosis(
        path=path,
        job_id=job_id or (ledger.job_id if ledger else None),
        state=ledger.state if ledger else None,
        findings=tuple(_finding(w) for w in weighed[:_MAX_FINDINGS]),
        logs=tuple(s.log.place(file) for s in stories for file in s.log.files),
        notes=(*found.notes, *_notes(stories, offsets, len(weighed))),
    )


def _round_behind(stories: Sequence[ProcessStory]) -> int | None:
    """The round behind the last one that ended well, as the server's log tells."""
    return next((s.last_round + 1 for s in stories if s.is_server and s.last_round is not None), None)


def _traces(stories: Sequence[ProcessStory], span: JobSpan) -> list[tuple[Evidence, int]]:
    return [
        (trace, story.counts.get(index, 1))
        for story in stories
        for index, trace in enumerate(story.traces)
        if story.log.kind is LogKind.JOB or span.holds(trace)
    ]


def _only_job(stories: Sequence[ProcessStory]) -> str | None:
    named = {job for story in stories if story.log.kind is LogKind.JOB for job in story.job_ids}
    return named.pop() if len(named) == 1 else None


def _finding(weighed: Weighed) -> Finding:
    trace = weighed.trace
    return Finding(
        row=trace.row,
        site=trace.site,
        message=trace.message,
        round=trace.round,
        file=trace.file,
        line=trace.line,
        time=trace.stamp,
        log=trace.log,
        log_line=trace.log_line,
        traceback=trace.traceback,
        count=weighed.count,
        is_consequence=trace.weight in {Weight.KNOWN_CONSEQUENCE, Weight.CONSEQUENCE},
        survived=weighed.survived,
    )


def _notes(stories: Sequence[ProcessStory], offsets: Mapping[str, float], num_findings: int) -> list[str]:
    notes = [
        f"{story.log.place(story.log.files[0])}: only the first {MAX_LOG_BYTES >> 20} MiB were read"
        for story in stories
        if story.limited
    ]
    for site, seconds in sorted(offsets.items()):
        if seconds:
            direction = "behind" if seconds > 0 else "ahead of"
            notes.append(
                f"the clock of {site} is {abs(seconds):.0f} s {direction} the server's: times were compared so"
            )
    if num_findings > _MAX_FINDINGS:
        notes.append(f"{num_findings - _MAX_FINDINGS} more findings are left out")
    return notes
