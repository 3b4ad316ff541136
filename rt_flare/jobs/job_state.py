"""From what NVFlare says about a job to one of five states."""

from __future__ import annotations

from rt_flare.errors import UnknownStatusError
from rt_flare.jobs.outcome import JobState

__all__ = ["final_state", "state_of"]

_STATES = {
    "SUBMITTED": JobState.PENDING,
    "APPROVED": JobState.PENDING,
    "DISPATCHED": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "FINISHED:COMPLETED": JobState.FINISHED,
    "FINISHED:ABORTED": JobState.CANCELLED,
    "FINISHED:EXECUTION_EXCEPTION": JobState.FAILED,
    "FINISHED:ABNORMAL": JobState.FAILED,
    "FINISHED:CAN_NOT_SCHEDULE": JobState.FAILED,
    "FINISHED:FAILED_TO_RUN": JobState.FAILED,
    "FINISHED:ABANDONED": JobState.FAILED,
}


def state_of(status: object) -> JobState:
    """Return the state that NVFlare's ``status`` of a job stands for.

    Raises:
        UnknownStatusError: it is none of NVFlare 2.9's statuses.
    """
    state = _STATES.get(status) if isinstance(status, str) else None
    if state is None:
        raise UnknownStatusError(
            f"found the job status {status!r}, expected one of {', '.join(_STATES)}: this server runs another version "
            "of NVFlare than rt_flare knows"
        )
    return state


def final_state(status: object, recorded: str | None) -> JobState:
    """Return the state of a job that has ended.

    Args:
        status: NVFlare's status of it.
        recorded: the state in the job's own round summary; None without one. A job that recorded a failure has failed,
            even if NVFlare saw all its processes end well.

    Raises:
        UnknownStatusError: as `state_of`.
        ValueError: the job has not ended.
    """
    state = state_of(status)
    if not state.is_final:
        raise ValueError(f"the job has not ended: {status}")
    if state is JobState.FINISHED and recorded == JobState.FAILED:
        return JobState.FAILED
    return state
