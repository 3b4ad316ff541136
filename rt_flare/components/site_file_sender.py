"""The site's end: its log and the files of its user code go to the server while the job runs."""

from __future__ import annotations

import threading
import time
import uuid
from functools import partial
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode, SiteType, WorkspaceConstants
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.logging.constants import is_log_streaming_allowed
from nvflare.widgets.widget import Widget

from rt_flare.components.site import run_dir
from rt_flare.components.site_file_message import (
    ALIVE,
    CLOSED,
    DATA,
    INTERVAL,
    KEEP_ALIVE_SECONDS,
    KIND,
    LAST,
    OFFSET,
    PARTS,
    PIECE,
    REFUSAL,
    ROUND,
    SESSION,
    SIZE,
    TOPIC,
)
from rt_flare.core.outbox import Outbox, Piece, Receipt
from rt_flare.errors import ConfigError, LinkError

__all__ = ["SiteFileSender"]

_LOGS = (WorkspaceConstants.LOG_FILE_NAME, "log.json")
_ANSWER_SECONDS = 10.0
_MAX_FAILURES = 3


class SiteFileSender(Widget):
    """Sends the site's log, and the files of ``out_dir`` when user code has left their round, to the server.

    A thread of its own sends one piece at a time, as NVFlare's aux messages; a piece without an answer is sent again
    when the link is back. Beside it nothing waits, except that the job's end waits ``end_seconds`` at most for what
    is still unsent. A site whose ``resources.json`` has ``"allow_log_streaming": false`` sends neither log nor
    files. In NVFlare's simulator nothing is sent: all folders are on one machine.

    NVFlare's own log streaming is not used for this because it ends at the first failure of the link and at the
    job's abort, has no limit, and files a stream under the name that the sender gives itself.

    Args:
        end_seconds: how long the end of the job may wait.

    Raises:
        ConfigError: ``end_seconds`` is negative.
    """

    def __init__(self, end_seconds: float = 20.0) -> None:
        super().__init__()
        self.end_seconds = end_seconds
        if not isinstance(end_seconds, int | float) or end_seconds < 0:
            raise ConfigError(f"SiteFileSender: end_seconds must be a number of at least 0, found {end_seconds!r}")
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ending = False
        self._round: int | None = None
        self._left_round: int | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Follow the job."""
        match event_type:
            case EventType.START_RUN:
                self._start(fl_ctx)
            case EventType.BEFORE_TASK_EXECUTION:
                task = fl_ctx.get_prop(FLContextKey.TASK_DATA)
                self._round = task.get_header(AppConstants.CURRENT_ROUND) if isinstance(task, Shareable) else None
            case EventType.AFTER_TASK_EXECUTION:
                self._left_round = self._round
            case EventType.ABOUT_TO_END_RUN:
                self._ending = True
                self._wake.set()
            case EventType.END_RUN:
                self._end(fl_ctx)

    def _start(self, fl_ctx: FLContext) -> None:
        if fl_ctx.get_prop(FLContextKey.SIMULATE_MODE):
            return
        link = _ServerLink(fl_ctx)
        if is_log_streaming_allowed(fl_ctx):
            folder = Path(fl_ctx.get_engine().get_workspace().get_log_root(fl_ctx.get_job_id()))
            outbox = Outbox([folder / name for name in _LOGS], run_dir(fl_ctx) / "out", link.send, self.logger.info)
            work = partial(self._send_all, link, outbox)
        else:
            self.log_info(fl_ctx, "allow_log_streaming is false in resources.json: the log and all files stay here")
            work = partial(self._tell_closed, link)
        self._thread = threading.Thread(target=work, name="rt-flare-site-files", daemon=True)
        self._thread.start()

    def _end(self, fl_ctx: FLContext) -> None:
        if self._thread is None:
            return
        self._thread.join(self.end_seconds)
        if self._thread.is_alive():
            self.log_warning(fl_ctx, f"log and files: not all was sent within {self.end_seconds:g} s of the job's end")
        self._thread = None

    def _tell_closed(self, link: _ServerLink) -> None:
        try:
            link.tell(CLOSED)
        except LinkError as error:
            self.logger.warning(f"the server was not told that nothing is sent from here: {error}")

    def _send_all(self, link: _ServerLink, outbox: Outbox) -> None:
        failures, ending = 0, False
        try:
            while True:
                if self._ending and not ending:
                    failures, ending = 0, True
                try:
                    self._send_news(link, outbox, ending)
                    failures = 0
                except LinkError as error:
                    failures += 1
                    if failures == 1:
                        self.logger.warning(f"log and files: {error}; trying again")
                    if failures >= _MAX_FAILURES and (ending or link.nobody_listens):
                        self.logger.warning(f"log and files: {error}; given up")
                        return
                if ending and not failures:
                    return
                self._wake.wait(0.5 if ending else link.interval_seconds)
                self._wake.clear()
        except Exception:  # a thread has nobody to pass it to; the job goes on without its files
            self.logger.exception("log and files: sending them failed")
        finally:
            outbox.close()

    def _send_news(self, link: _ServerLink, outbox: Outbox, ending: bool) -> None:
        outbox.send_logs()
        if ending:
            outbox.send_files()
            outbox.send_logs()
            link.tell(LAST)
        elif (left_round := self._left_round) is not None:
            outbox.send_files(left_round)
            if self._left_round == left_round:
                self._left_round = None
        if link.silent_seconds > KEEP_ALIVE_SECONDS:
            link.tell(ALIVE)


class _ServerLink:
    """Sends messages to the server of the running job, from a thread of its own.

    Attributes:
        interval_seconds: how often the server wants to hear of a log that grows.
        nobody_listens: the server has no `SiteFileReceiver`.
    """

    def __init__(self, fl_ctx: FLContext) -> None:
        self._engine = fl_ctx.get_engine()
        self._context = self._engine.new_context()
        # Messages stop at the job's abort signal; the last ones come after it. Only `put` can take its place.
        self._context.put(key=ReservedKey.RUN_ABORT_SIGNAL, value=Signal(), private=True, sticky=False)
        self._session = uuid.uuid4().hex
        self._last_message = time.monotonic()
        self.interval_seconds = 1.0
        self.nobody_listens = False

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._last_message

    def send(self, piece: Piece) -> Receipt:
        """Send a piece (see `Outbox`)."""
        request = self._request(PIECE)
        request[ROUND], request[PARTS], request[OFFSET] = piece.round, list(piece.parts), piece.offset
        request[DATA], request[SIZE] = piece.data, piece.size
        return Receipt(self._exchange(request).get(REFUSAL))

    def tell(self, kind: str) -> None:
        """Send a message without content.

        Raises:
            LinkError: there is no answer.
        """
        self._exchange(self._request(kind))

    def _request(self, kind: str) -> Shareable:
        request = Shareable()
        request[KIND], request[SESSION] = kind, self._session
        return request

    def _exchange(self, request: Shareable) -> Shareable:
        replies = self._engine.send_aux_request(
            targets=[SiteType.SERVER],
            topic=TOPIC,
            request=request,
            timeout=_ANSWER_SECONDS,
            fl_ctx=self._context,
            optional=True,
        )
        reply = (replies or {}).get(SiteType.SERVER) or make_reply(ReturnCode.COMMUNICATION_ERROR)
        code = reply.get_return_code()
        self.nobody_listens = code == ReturnCode.TOPIC_UNKNOWN
        if self.nobody_listens:
            raise LinkError("the job has no SiteFileReceiver among its server components")
        if code != ReturnCode.OK:
            raise LinkError(f"the server does not answer ({code})")
        self._last_message = time.monotonic()
        self.interval_seconds = float(reply.get(INTERVAL, 1.0))
        return reply
