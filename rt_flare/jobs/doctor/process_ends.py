"""Processes that ended in the middle of a job without saying why: killed, as far as logs can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rt_flare.jobs.doctor.evidence import Evidence, Weight
from rt_flare.jobs.doctor.failure_rows import FailureTable
from rt_flare.jobs.doctor.log_sources import LogKind
from rt_flare.jobs.doctor.process_story import ProcessStory

__all__ = ["unexplained_ends"]

_LAST_WORDS_SECONDS = 5.0
_NORMAL_CODES = {"0", "None"}


def unexplained_ends(
    stories: Sequence[ProcessStory], job_id: str | None, table: FailureTable, *, gone: frozenset[str] = frozenset()
) -> Iterator[Evidence]:
    """Traces of processes that ended while their log was in the middle of the job.

    Args:
        stories: all logs.
        job_id: the job; None when there is only one.
        table: the known failures.
        gone: processes of which it is known that they do not run any more.
    """
    killed = table.row("process_killed")
    jobs = {s.process: s for s in stories if s.log.kind is LogKind.JOB}
    told: set[str] = set()
    for parent in (s for s in stories if s.log.kind is LogKind.PARENT):
        for child in parent.exits:
            if child.code in _NORMAL_CODES or (job_id is not None and child.job_id != job_id):
                continue
            told.add(parent.process)
            job = jobs.get(parent.process)
            if job is None:
                yield replace(child.evidence, weight=Weight.WARNING, row=killed)
            elif not job.ended and not _has_last_words(job):
                message = (
                    f"the job's process ended without a word (exit code {child.code} as NVFlare reports it); "
                    f"its own log ends at {job.last_stamp}"
                )
                yield replace(child.evidence, weight=Weight.CAUSE, row=killed, message=message)
            else:
                yield child.evidence
    for name in sorted(gone - told):
        job = jobs.get(name)
        if job is None or not job.begun or job.ended or _has_last_words(job):
            continue
        yield Evidence(
            process=name,
            site=None if job.is_server else name,
            time=job.last_time,
            stamp=job.last_stamp,
            weight=Weight.CAUSE,
            row=killed,
            message=f"ended without a word: the log ends at {job.last_stamp} in the middle of the job, which does not "
            f"run any more",
            log=job.log.place(job.log.files[-1]),
        )


def _has_last_words(job: ProcessStory) -> bool:
    """Whether an error stands at the log's end: the process ended of that."""
    if job.last_time is None:
        return False
    return any(
        trace.weight <= Weight.LINE and trace.time is not None and job.last_time - trace.time <= _LAST_WORDS_SECONDS
        for trace in job.traces
    )
