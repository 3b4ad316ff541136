"""The errors of an ended job's sites."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt_flare.core.round_record import Contribution, ContributionStatus, Failure, RoundRecord, Verdict
from rt_flare.jobs.job_status import JobStatus, SiteStatus, now_text
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.site_errors import with_last_errors
from rt_flare.jobs.worker_counts import WorkerCounts


def _failure(site: str) -> Failure:
    return Failure(kind="exception", message="ValueError: x", site=site, round=0)


@pytest.mark.parametrize(
    ("answers", "root", "expected"),
    [
        ({"a": "accepted", "b": "failed"}, "b", {"b"}),
        ({"a": "accepted", "b": "accepted"}, None, set()),
        ({"a": "failed", "b": "missing"}, "a", {"a", "b"}),
        ({}, "a", {"a", "b"}),
        ({}, None, {"b"}),
    ],
)
def test_the_last_round_and_the_root_error_decide(
    answers: dict[str, str], root: str | None, expected: set[str]
) -> None:
    """J5, J6: b had an error when somebody looked last; a good answer in the last round takes it back."""
    contributions = [
        Contribution(site=site, status=ContributionStatus(how), failure=_failure(site) if how == "failed" else None)
        for site, how in answers.items()
    ]
    record = RoundRecord(
        round=0,
        verdict=Verdict.FAILED,
        started_at="2025-01-01T00:00:00+00:00",
        seconds=1,
        num_samples=1,
        contributions=contributions,
    )
    outcome = RunOutcome(
        state=JobState.FAILED,
        error=_failure(root) if root else None,
        stop_reason=None,
        job_id="id",
        num_rounds=1,
        rounds=(record,) if answers else (),
        server_dir=Path(),
        server_log=Path(),
        site_dirs={},
        site_logs={},
    )
    status = JobStatus(
        name="digits",
        where="kit",
        sites=(SiteStatus(name="a"), SiteStatus(name="b", error=_failure("b"))),
        workers=WorkerCounts(total=2, errors=1),
        submitted_at=now_text(),
        updated_at=now_text(),
    )
    found = with_last_errors(status, outcome)
    assert {site.name for site in found.sites if site.error is not None} == expected
    assert found.workers.errors == len(expected)
