"""Answers administrators who ask how a running job is; in the simulator, keeps a file that says so."""

from __future__ import annotations

import threading

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from rt_flare.components.events import STOP_REQUESTED
from rt_flare.components.sender import sender
from rt_flare.components.site import run_dir
from rt_flare.components.wire import read_report
from rt_flare.core.durable_io import write_json
from rt_flare.core.ledger import Ledger
from rt_flare.core.live_job import LIVE_FILE, STATUS_TOPIC, LiveJob, LiveSite
from rt_flare.core.round_record import Failure

__all__ = ["LiveStatus"]


class LiveStatus:
    """Follows a job's sites and rounds in the server's job process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job = LiveJob()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Note what concerns a site, and a wish to stop."""
        match event_type:
            case EventType.START_RUN:
                self._start(fl_ctx)
            case EventType.AFTER_PROCESS_SUBMISSION:
                self._note_answer(fl_ctx)
            case EventType.CLIENT_DISCONNECTED:
                self._note_site(str(fl_ctx.get_prop(FLContextKey.DISCONNECTED_CLIENT_NAME)), fl_ctx, connected=False)
            case EventType.CLIENT_RECONNECTED:
                self._note_site(str(fl_ctx.get_prop(FLContextKey.RECONNECTED_CLIENT_NAME)), fl_ctx, connected=True)
            case _ if event_type == STOP_REQUESTED:
                with self._lock:
                    self._job.stop_requested = str(fl_ctx.get_prop(STOP_REQUESTED))
                self._write(fl_ctx)

    def follow(self, ledger: Ledger) -> None:
        """Take over what the round summary says."""
        with self._lock:
            self._job.follow(ledger)

    def answer(self, topic: str, data: object, fl_ctx: FLContext) -> dict[str, object]:
        """Answer the app command `STATUS_TOPIC`; called on a thread of its own."""
        with self._lock:
            return self._job.document()

    def _start(self, fl_ctx: FLContext) -> None:
        engine = fl_ctx.get_engine()
        with self._lock:
            self._job.sites = {client.name: LiveSite() for client in engine.get_clients()}
        if not fl_ctx.get_prop(FLContextKey.SIMULATE_MODE):
            engine.register_app_command(STATUS_TOPIC, self.answer)
        self._write(fl_ctx)

    def _note_answer(self, fl_ctx: FLContext) -> None:
        reply = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        if not isinstance(reply, Shareable):
            return
        site = sender(reply, fl_ctx)
        failure: Failure | None = None
        if reply.get_return_code(ReturnCode.OK) != ReturnCode.OK:
            failure = read_report(reply, fl_ctx).failure
        with self._lock:
            known = self._job.sites.setdefault(site, LiveSite())
            changed, known.failure = known.failure != failure, failure
        if changed:
            self._write(fl_ctx)

    def _note_site(self, site: str, fl_ctx: FLContext, *, connected: bool) -> None:
        with self._lock:
            self._job.sites.setdefault(site, LiveSite()).connected = connected
        self._write(fl_ctx)

    def _write(self, fl_ctx: FLContext) -> None:
        # Not once per round: the round summary says the rest, and a file costs a flush of the disk.
        if fl_ctx.get_prop(FLContextKey.SIMULATE_MODE):
            write_json(run_dir(fl_ctx) / LIVE_FILE, self.answer("", None, fl_ctx))
