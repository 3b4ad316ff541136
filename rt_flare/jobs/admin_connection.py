"""An administrator's connection to an NVFlare server, on which nothing waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from rt_flare.errors import AccessError, DeploymentError, JobError, JobNotRunningError, KitError, LinkError

__all__ = ["AdminConnection"]

_T = TypeVar("_T")
_CONNECT_SECONDS = 10.0
_COMMAND_SECONDS = 5.0
_SLACK_SECONDS = 5.0
_IDLE_SECONDS = 5.0
# How NVFlare's client words that a request had no answer; most of it has no type of its own.
_LOST = ("FLCommunicationError", "ERROR_SERVER_CONNECTION", "ERROR_RUNTIME", "Failed to communicate")


class AdminConnection:
    """Connects with an administrator's startup kit on first use, and again after the connection was lost.

    Each command runs in a thread of its own and is given up at its deadline: NVFlare's own client may wait for ever
    for a server that is gone. A connection that is not used is closed after a few seconds, and opened again when it
    is: NVFlare's threads would otherwise keep the process from ending.

    Args:
        kit: the administrator's startup kit.
    """

    def __init__(self, kit: Path) -> None:
        self.kit = kit
        self._session: Any = None
        self._lock = threading.RLock()
        self._rest: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, function: Callable[[Any], _T], *, timeout_seconds: float = _COMMAND_SECONDS) -> _T:
        """Return ``function(session)``, where the session is NVFlare's own (`nvflare.fuel.flare_api.Session`).

        Raises:
            LinkError: the server does not answer in time.
            AccessError: the server refuses the user or the command.
            JobError: the server knows no such job, or does not take it.
            JobNotRunningError: the job does not run.
            KitError: the kit cannot be used.
            DeploymentError: the server could not do it.
        """
        with self._lock:
            if self._rest is not None:
                self._rest.cancel()
            try:
                if self._session is None:
                    self._session = self._within(_CONNECT_SECONDS + _SLACK_SECONDS, self._connect)
                session = self._session

                def command() -> _T:
                    session.set_timeout(timeout_seconds)
                    return function(session)

                return self._within(timeout_seconds + _SLACK_SECONDS, command)
            finally:
                self._rest = threading.Timer(_IDLE_SECONDS, self._close_idle)
                self._rest.daemon = True
                self._rest.start()

    def close(self) -> None:
        """Log out; a server that does not answer is not waited for."""
        with self._lock:
            if self._rest is not None:
                self._rest.cancel()
            session, self._session = self._session, None
            if session is None:
                return
            try:
                self._within(_SLACK_SECONDS, session.close)
            except (LinkError, AccessError, DeploymentError):
                return  # the server ends the session by itself

    def _close_idle(self) -> None:
        with self._lock:
            session = self._session
            try:
                self.close()
            except RuntimeError:
                # From Python 3.12 on a process that is ending starts no thread: NVFlare's are ended from this one.
                session.api.close()

    def _connect(self) -> Any:
        from nvflare.fuel.flare_api.flare_api import Session
        from nvflare.tool.kit.kit_config import StartupKitConfigError, resolve_admin_user_and_dir_from_startup_kit

        try:
            user, folder = resolve_admin_user_and_dir_from_startup_kit(str(self.kit))
        except StartupKitConfigError as error:
            raise KitError(f"{self.kit}: no startup kit of an administrator: {error}") from error
        session = Session(username=user, startup_path=folder, secure_mode=True)
        # NVFlare prints what it does to stdout, where the answer of a command stands.
        session.api._print_hci = lambda text: None
        session.api.auto_login_max_tries = 1
        try:
            session.try_connect(_CONNECT_SECONDS)
        except BaseException:
            session.api.close()
            raise
        return session

    def _within(self, seconds: float, function: Callable[[], _T]) -> _T:
        result: list[_T] = []
        failure: list[BaseException] = []

        def work() -> None:
            try:
                result.append(function())
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                failure.append(error)

        thread = threading.Thread(target=work, name="rt-flare-admin", daemon=True)
        thread.start()
        thread.join(seconds)
        if failure:
            raise self._translated(failure[0]) from failure[0]
        if not result:
            self._drop()
            raise LinkError(f"the server of {self.kit} did not answer within {seconds:g} s; is it running?")
        return result[0]

    def _drop(self) -> None:
        """Forget a session that is lost, and end its threads without asking the server."""
        session, self._session = self._session, None
        if session is not None:
            threading.Thread(target=session.api.close, name="rt-flare-admin-end", daemon=True).start()

    def _translated(self, error: BaseException) -> BaseException:
        """The error of ours that says what NVFlare's does."""
        from nvflare.fuel.flare_api import api_spec

        text = f"{type(error).__name__}: {error}"
        match error:
            case KitError():
                return error
            case api_spec.AuthenticationError() | api_spec.AuthorizationError():
                return AccessError(f"the server of {self.kit} refuses: {error}; ask its administrator for the right")
            case api_spec.JobNotFound():
                return JobError(f"the server of {self.kit} knows no such job: {error}")
            case api_spec.InvalidJobDefinition():
                return JobError(f"the server of {self.kit} does not take the job: {error}")
            case api_spec.JobNotRunning():
                return JobNotRunningError(str(error))
            case api_spec.SessionClosed() | ConnectionError() | TimeoutError():
                self._drop()
                return LinkError(f"no connection to the server of {self.kit}: {text}")
            case Exception() if any(sign in text for sign in _LOST):
                self._drop()
                return LinkError(f"the connection to the server of {self.kit} was lost: {text}")
            case Exception():
                return DeploymentError(f"the server of {self.kit} could not do it: {text}")
        return error
