"""What becomes of a job's status with every answer that a server can give."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.job_def import RunStatus

from rt_flare.core.live_job import STOP_TOPIC, LiveJob, LiveSite
from rt_flare.core.round_record import Failure
from rt_flare.errors import DeploymentError, JobError, UnknownStatusError
from rt_flare.jobs import deployed_job
from rt_flare.jobs.deployed_job import DeployedJob
from rt_flare.jobs.job_status import JobStatus
from rt_flare.jobs.outcome import JobState

SITES = ("a", "b")


class Server:
    """NVFlare's session and the connection to it, in one: what it answers is set by the test."""

    kit = Path("kit")

    def __init__(self) -> None:
        self.status = "SUBMITTED"
        self.history: list[str] = []
        self.started = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
        self.job_started = datetime(2025, 1, 2, tzinfo=UTC).isoformat()
        self.beats = dict.fromkeys(SITES, 1000.0)
        self.live: LiveJob | None = None
        self.stops: list[Any] = []
        self.texts: dict[str, str] = {}

    def call(self, function: Callable[[Any], Any], *, timeout_seconds: float = 5.0) -> Any:
        return function(self)

    def get_job_meta(self, job_id: str) -> dict[str, Any]:
        meta = {"name": "digits", "min_clients": 2, "status": self.status, "schedule_history": self.history}
        return {**meta, "start_time": self.job_started if self.status == "RUNNING" else ""}

    def get_system_info(self) -> Any:
        clients = [SimpleNamespace(name=name, last_connect_time=beat) for name, beat in self.beats.items()]
        return SimpleNamespace(server_info=SimpleNamespace(start_time=self.started), client_info=clients)

    def do_app_command(self, job_id: str, topic: str, data: Any) -> dict[str, Any]:
        if topic == STOP_TOPIC:
            self.stops.append(data)
            return {}
        if self.live is None:
            raise DeploymentError("no app command func for topic")
        return self.live.document()

    def get_job_logs(self, job_id: str, target: str) -> dict[str, Any]:
        return {"logs": self.texts}


@pytest.fixture
def server() -> Server:
    return Server()


def _live(**changes: Any) -> LiveJob:
    return LiveJob(sites={name: LiveSite() for name in SITES}, num_rounds=3, **changes)


def _look(server: Server, times: int = 1) -> tuple[DeployedJob, JobStatus]:
    job = DeployedJob(server, "id")  # type: ignore[arg-type]
    status = job.first_look()
    for _ in range(times - 1):
        status = job.look(status)
    return job, status


@pytest.mark.parametrize("status", list(RunStatus), ids=lambda status: status.value)
@pytest.mark.parametrize("running", [False, True], ids=["at once", "after it ran"])
def test_every_status_of_nvflare_leads_to_its_state(server: Server, status: RunStatus, running: bool) -> None:
    """J1, J4, J5: a failed one always has an error."""
    expected = {
        "SUBMITTED": "PENDING",
        "APPROVED": "PENDING",
        "DISPATCHED": "PENDING",
        "RUNNING": "RUNNING",
        "FINISHED:COMPLETED": "FINISHED",
        "FINISHED:ABORTED": "CANCELLED",
    }.get(status.value, "FAILED")
    server.live = _live()
    if running:
        server.status = "RUNNING"
        job, last = _look(server)
        server.status = status.value
        found = job.look(last)
    else:
        server.status = status.value
        _, found = _look(server)
    assert found.state == expected
    assert (found.error is not None) == (found.state is JobState.FAILED)
    assert (found.ended_at is not None) == found.state.is_final
    assert (found.reason is not None) == (found.state is JobState.PENDING)


def test_an_unknown_status_is_an_error(server: Server) -> None:
    """J1."""
    server.status = "FINISHED:MAYBE"
    with pytest.raises(UnknownStatusError, match="FINISHED:MAYBE"):
        _look(server)


def test_it_runs_only_when_its_own_process_and_the_sites_are_there(server: Server) -> None:
    """J2, J3: NVFlare says RUNNING before."""
    server.status = "RUNNING"
    _, status = _look(server)
    assert status.state is JobState.PENDING
    assert "its processes are starting" in str(status.reason)
    server.live = _live()
    del server.beats["b"]
    _, status = _look(server)
    assert (status.state, status.workers.describe()) == (JobState.PENDING, "1/2 connected")
    server.beats["b"] = 1000.0
    _, status = _look(server)
    assert (status.state, status.workers.describe()) == (JobState.RUNNING, "2/2 connected")
    assert status.started_at is not None


def test_a_job_that_waits_says_what_the_scheduler_said(server: Server) -> None:
    """J2."""
    server.history = ["2025-01-01 00:00:00: not enough sites"]
    del server.beats["b"]
    _, status = _look(server)
    assert status.reason == (
        "not scheduled yet (1 sites connected, at least 2 needed): 2025-01-01 00:00:00: not enough sites"
    )


def test_a_site_that_is_silent_is_lost_and_counted_once_when_it_is_back(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J6: by the change of its heartbeat, whatever the server's clock says."""
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(deployed_job, "time", clock)
    server.status, server.live = "RUNNING", _live()
    job, status = _look(server)
    seen = []
    for second in range(1, 60):
        now += 1.0
        server.beats["a"] += 1
        if second >= 45:
            server.beats["b"] += 1
        status = job.look(status)
        seen.append((second, status.workers.connected, status.workers.disconnected))
    assert [s for s in seen if s[1:] == (1, 1)] == [(second, 1, 1) for second in range(30, 45)]
    assert status.workers.model_dump() == {"total": 2, "connected": 2, "errors": 0, "disconnected": 0}
    assert status.state is JobState.RUNNING


def test_errors_rounds_and_a_wish_to_stop_come_from_the_jobs_own_process(server: Server) -> None:
    """J3, J4, J5."""
    failure = Failure(kind="exception", message="ValueError: x", site="b", round=0, file="model_def.py", line=3)
    server.status = "RUNNING"
    server.live = _live(round=0, stop_requested="enough", metrics={"loss": 0.5})
    server.live.sites["b"].failure = failure
    job, status = _look(server)
    assert (status.workers.errors, status.sites[1].error) == (1, failure)
    assert (status.progress.rounds_done, status.progress.num_rounds) == (1, 3)
    assert status.reason == "to stop after the current round: enough"
    server.status = "FINISHED:COMPLETED"
    status = job.look(status)
    assert (status.state, status.stop_reason) == (JobState.FINISHED, "enough")


def test_a_failure_that_the_job_recorded_goes_before_a_completed_run(server: Server) -> None:
    """X1, J5."""
    error = Failure(kind="server", message="0 of 2 updates accepted", round=1)
    server.status, server.live = "RUNNING", _live(error=error)
    job, status = _look(server)
    server.status = "FINISHED:COMPLETED"
    status = job.look(status)
    assert (status.state, status.error) == (JobState.FAILED, error)


def test_without_one_the_first_error_of_the_logs_is_shown(server: Server) -> None:
    """J5: with site, file and line."""
    server.texts = {
        "server": "2025-01-01 10:00:05,000 - x - ERROR - aborting\n",
        "b": "2025-01-01 10:00:01,000 - x - ERROR - failed\nTraceback (most recent call last):\n"
        '  File "/w/app_b/custom/model_def.py", line 7, in f\n    g()\nValueError: no scanner\n',
    }
    server.status = "FINISHED:EXECUTION_EXCEPTION"
    _, status = _look(server)
    assert status.error is not None
    assert (status.error.site, status.error.message) == ("b", "ValueError: no scanner")
    assert (status.error.file, status.error.line) == ("model_def.py", 7)


def test_a_job_of_before_the_servers_restart_has_failed(server: Server) -> None:
    """J5: NVFlare would show it as RUNNING for ever."""
    server.status, server.live = "RUNNING", _live()
    job, status = _look(server)
    server.live = None
    server.started = datetime(2025, 1, 3, tzinfo=UTC).timestamp()
    status = job.look(status)
    assert status.state is JobState.FAILED
    assert "started again" in str(status.error and status.error.message)


def test_a_workflow_that_cannot_stop_says_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """J4."""
    job = DeployedJob(server, "id")  # type: ignore[arg-type]
    job.stop("enough")
    assert server.stops == [{"reason": "enough"}]

    def refuse(job_id: str, topic: str, data: Any) -> dict[str, Any]:
        raise DeploymentError("no app command func for topic rt_flare.stop")

    monkeypatch.setattr(server, "do_app_command", refuse)
    with pytest.raises(JobError, match="cancel the job instead"):
        job.stop("enough")
