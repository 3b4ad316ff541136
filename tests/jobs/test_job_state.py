"""Every status of NVFlare, and what it stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.job_def import RunStatus

from rt_flare.errors import UnknownStatusError
from rt_flare.jobs.job_state import final_state, state_of
from rt_flare.jobs.outcome import JobState

EXPECTED = {
    RunStatus.SUBMITTED: JobState.PENDING,
    RunStatus.APPROVED: JobState.PENDING,
    RunStatus.DISPATCHED: JobState.PENDING,
    RunStatus.RUNNING: JobState.RUNNING,
    RunStatus.FINISHED_COMPLETED: JobState.FINISHED,
    RunStatus.FINISHED_ABORTED: JobState.CANCELLED,
    RunStatus.FINISHED_EXECUTION_EXCEPTION: JobState.FAILED,
    RunStatus.FINISHED_ABNORMAL: JobState.FAILED,
    RunStatus.FINISHED_CANT_SCHEDULE: JobState.FAILED,
    RunStatus.FAILED_TO_RUN: JobState.FAILED,
    RunStatus.ABANDONED: JobState.FAILED,
}


@pytest.mark.parametrize("status", list(RunStatus), ids=lambda status: status.value)
def test_every_status_of_the_installed_nvflare_has_its_state(status: RunStatus) -> None:
    """J4: all of NVFlare's names, none of them guessed."""
    assert state_of(status.value) is EXPECTED[status]


@pytest.mark.parametrize("status", [s for s in RunStatus if EXPECTED[s].is_final], ids=lambda status: status.value)
@pytest.mark.parametrize("recorded", [None, "RUNNING", "FINISHED", "FAILED", "CANCELLED"])
def test_a_failure_that_the_job_recorded_goes_before_a_good_end(status: RunStatus, recorded: str | None) -> None:
    """J4, X1."""
    expected = EXPECTED[status]
    if expected is JobState.FINISHED and recorded == "FAILED":
        expected = JobState.FAILED
    assert final_state(status.value, recorded) is expected


@pytest.mark.parametrize("status", [s for s in RunStatus if not EXPECTED[s].is_final], ids=lambda status: status.value)
def test_a_job_that_goes_on_has_no_final_state(status: RunStatus) -> None:
    """J1."""
    with pytest.raises(ValueError, match="has not ended"):
        final_state(status.value, None)


@given(st.one_of(st.text(), st.none(), st.integers(), st.booleans()))
def test_an_unknown_status_is_an_error_and_never_pending(status: object) -> None:
    """J1."""
    if status in {known.value for known in RunStatus}:
        return
    with pytest.raises(UnknownStatusError, match="expected one of SUBMITTED"):
        state_of(status)


def test_the_states_are_these_five() -> None:
    """J1."""
    assert [state.value for state in JobState] == ["PENDING", "RUNNING", "FINISHED", "FAILED", "CANCELLED"]
    assert {state for state in JobState if state.is_final} == {JobState.FINISHED, JobState.FAILED, JobState.CANCELLED}
