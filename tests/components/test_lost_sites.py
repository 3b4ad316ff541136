"""The server's component: it lets go of sites that were restarted, and of nobody else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReservedKey, RunProcessKey
from nvflare.apis.fl_context import FLContext
from nvflare.private.fed.server.job_runner import JobRunner

from rt_flare.components.lost_sites import LostSiteOutcomes
from rt_flare.errors import ConfigError


def _client(name: str, token: str) -> Any:
    return SimpleNamespace(name=name, token=token)


class Server:
    """NVFlare's own job runner, and what the component asks of the engine around it."""

    def __init__(self) -> None:
        self.job_runner = JobRunner("/nowhere")
        self.clients = [_client("a", "1"), _client("b", "2")]
        self.run_processes: dict[str, dict[str, Any]] = {}

    def start(self, job: str) -> None:
        self.run_processes[job] = {RunProcessKey.PARTICIPANTS: {c.token: c for c in self.clients}}
        self.job_runner._pending_client_outcomes[job] = {c.name for c in self.clients}

    def get_clients(self) -> list[Any]:
        return self.clients

    def waits_for(self, job: str) -> set[str]:
        return {site for site in ("a", "b") if self.job_runner.is_client_outcome_pending(job, site)}


@pytest.fixture
def server() -> Server:
    return Server()


def _fire(component: LostSiteOutcomes, server: Server, event: str) -> None:
    fl_ctx = FLContext()
    fl_ctx.put(key=ReservedKey.ENGINE, value=server, private=True, sticky=False)
    component.handle_event(event, fl_ctx)


def test_a_restarted_site_is_not_waited_for(server: Server) -> None:
    """X7, J4: and the other one is."""
    component = LostSiteOutcomes()
    server.start("job")
    _fire(component, server, EventType.CLIENT_HEARTBEAT_RECEIVED)
    assert server.waits_for("job") == {"a", "b"}
    server.clients[1] = _client("b", "3")
    _fire(component, server, EventType.CLIENT_REGISTER_PROCESSED)
    assert server.waits_for("job") == {"a"}


def test_a_site_that_is_restarted_when_the_job_has_just_ended_is_let_go_too(server: Server) -> None:
    """J4: the server knows the participants of running jobs only."""
    component = LostSiteOutcomes()
    server.start("job")
    _fire(component, server, EventType.CLIENT_HEARTBEAT_RECEIVED)
    server.run_processes.clear()
    server.clients[1] = _client("b", "3")
    _fire(component, server, EventType.CLIENT_REGISTER_PROCESSED)
    assert server.waits_for("job") == {"a"}


def test_a_site_that_is_gone_is_waited_for(server: Server) -> None:
    """J4: it may come back, with its job; how long is NVFlare's to say, with our number."""
    component = LostSiteOutcomes(outcome_wait_seconds=7)
    server.start("job")
    _fire(component, server, EventType.SYSTEM_START)
    _fire(component, server, EventType.CLIENT_HEARTBEAT_RECEIVED)
    server.clients.pop()
    _fire(component, server, EventType.CLIENT_HEARTBEAT_RECEIVED)
    assert server.waits_for("job") == {"a", "b"}
    assert server.job_runner.client_outcome_wait_timeout == 7


def test_a_site_that_takes_part_after_its_restart_is_waited_for(server: Server) -> None:
    """J4: in a job that it entered with its new token."""
    component = LostSiteOutcomes()
    server.start("old")
    _fire(component, server, EventType.CLIENT_HEARTBEAT_RECEIVED)
    server.clients[1] = _client("b", "3")
    server.start("new")
    _fire(component, server, EventType.CLIENT_HEARTBEAT_RECEIVED)
    assert server.waits_for("old") == {"a"}
    assert server.waits_for("new") == {"a", "b"}


def test_ended_jobs_are_forgotten(server: Server) -> None:
    """A server runs for months."""
    component = LostSiteOutcomes()
    server.start("job")
    _fire(component, server, EventType.CLIENT_HEARTBEAT_RECEIVED)
    server.run_processes.clear()
    server.job_runner._pending_client_outcomes.clear()
    _fire(component, server, EventType.CLIENT_HEARTBEAT_RECEIVED)
    assert component._tokens == {}


def test_a_time_that_is_none_is_refused() -> None:
    """J4."""
    with pytest.raises(ConfigError, match="outcome_wait_seconds"):
        LostSiteOutcomes(outcome_wait_seconds=0)
