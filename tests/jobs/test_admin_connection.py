"""A connection on which nothing waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.fuel.flare_api import api_spec

from rt_flare.errors import AccessError, DeploymentError, JobError, JobNotRunningError, KitError, LinkError
from rt_flare.jobs import admin_connection
from rt_flare.jobs.admin_connection import AdminConnection


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> AdminConnection:
    """A connection to a session that does nothing."""
    for name in ("_SLACK_SECONDS", "_IDLE_SECONDS"):
        monkeypatch.setattr(admin_connection, name, 0.2)
    found = AdminConnection(Path("kit"))
    sessions: list[Any] = []

    def connect() -> Any:
        session = SimpleNamespace(closed=False, set_timeout=lambda seconds: None)
        session.close = lambda: setattr(session, "closed", True)
        session.api = SimpleNamespace(close=session.close)
        sessions.append(session)
        return session

    monkeypatch.setattr(found, "_connect", connect)
    monkeypatch.setattr(found, "sessions", sessions, raising=False)
    return found


def _sessions(connection: AdminConnection) -> list[Any]:
    return list(connection.sessions)  # type: ignore[attr-defined]


def _until_closed(session: Any) -> None:
    deadline = time.monotonic() + 10
    while not session.closed and time.monotonic() < deadline:
        time.sleep(0.02)
    assert session.closed


@pytest.mark.parametrize(
    ("raised", "expected", "keeps"),
    [
        (api_spec.AuthenticationError("no"), AccessError, True),
        (api_spec.AuthorizationError("no"), AccessError, True),
        (api_spec.JobNotFound("no"), JobError, True),
        (api_spec.InvalidJobDefinition("no"), JobError, True),
        (api_spec.JobNotRunning("no"), JobNotRunningError, True),
        (api_spec.NoReply("no result"), DeploymentError, True),
        (api_spec.InternalError("no"), DeploymentError, True),
        (RuntimeError("runtime error encountered: ERROR_RUNTIME: "), LinkError, False),
        (api_spec.NoConnection("no"), LinkError, False),
        (api_spec.SessionClosed("no"), LinkError, False),
        (api_spec.SessionExpired("no"), LinkError, False),
        (TimeoutError("no"), LinkError, False),
        (KitError("no"), KitError, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_error_of_nvflares_client_has_its_place(
    connection: AdminConnection, raised: Exception, expected: type[Exception], keeps: bool
) -> None:
    """N6, J1: after a lost connection a new one is opened."""

    def fail(session: Any) -> None:
        raise raised

    with pytest.raises(expected):
        connection.call(fail)
    connection.call(lambda session: None)
    assert len(_sessions(connection)) == (1 if keeps else 2)
    if not keeps:
        _until_closed(_sessions(connection)[0])


def test_a_command_without_an_answer_is_given_up(connection: AdminConnection) -> None:
    """J1: no poller hangs."""
    started = time.monotonic()
    with pytest.raises(LinkError, match=r"did not answer within 0\.3 s"):
        connection.call(lambda session: threading.Event().wait(30), timeout_seconds=0.1)
    assert time.monotonic() - started < 5


def test_a_connection_that_is_not_used_is_closed(connection: AdminConnection) -> None:
    """J1: it would keep the process from ending."""
    connection.call(lambda session: None)
    _until_closed(_sessions(connection)[0])
    connection.call(lambda session: None)
    assert len(_sessions(connection)) == 2
    connection.close()
    assert _sessions(connection)[1].closed


def test_a_folder_that_is_no_kit_is_refused(tmp_path: Path) -> None:
    """N6."""
    with pytest.raises(KitError, match="no startup kit of an administrator"):
        AdminConnection(tmp_path).call(lambda session: None)


def test_a_process_that_ends_and_starts_no_thread_any_more_still_ends_nvflares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J4: so it is from Python 3.12 on; the process would otherwise wait for those threads for ever."""

    def refuse(seconds: float, function: Callable[[], Any]) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    ended: list[bool] = []
    connection = AdminConnection(tmp_path)
    connection._session = SimpleNamespace(close=None, api=SimpleNamespace(close=lambda: ended.append(True)))
    monkeypatch.setattr(connection, "_within", refuse)
    connection._close_idle()
    assert ended == [True]
