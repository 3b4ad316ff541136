"""The server's end: keeps the logs and files that sites send, in their places and within limits."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey
from nvflare.fuel.f3.cellnet.defs import ReturnCode as CellReturnCode
from nvflare.private.defs import CellChannel, CellMessageHeaderKeys, new_cell_message
from nvflare.widgets.widget import Widget

from rt_flare.components.site import run_dir
from rt_flare.components.site_file_message import (
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
from rt_flare.core.inbox import InboxLimits, SiteInbox
from rt_flare.core.ledger import FILES_FOLDER
from rt_flare.core.site_numbers import number_sites
from rt_flare.errors import ConfigError

__all__ = ["SiteFileReceiver"]

_MESSAGES_PER_SECOND = 20
"""Of all sites together, when each has nothing but new lines of its log."""
_SILENCE_SECONDS = 10.0
_STAGING = ".incoming"


class SiteFileReceiver(Widget):
    """Keeps what sites send, in the server's run folder: ``files_out/client_<n>.log`` and ``files_out/<site>/``.

    A site's log stands under ``<site>/log.txt`` too, where ``nvflare job logs`` and ``nvflare job download`` look for
    it. Which site sends is told by headers that NVFlare's server has verified; all else in a message is a value,
    never a path. What is over a limit, or has a name that could lead elsewhere, is refused, and said so in the log
    or in ``files_out/<site>/LEFT_OUT.txt``. Files that are named like one of NVFlare's own (``log.txt``) get
    ``.from_site`` behind their name.

    Storing happens on threads of the messages, beside the rounds. When the job ends, the server waits for sites that
    are still sending: until they have sent all, have been silent for 10 s, or ``end_wait_seconds`` have passed.

    Args:
        site_shards: 1-based number of each site, for ``client_<n>.log``; others get the numbers that are free, in
            the order of their names.
        max_log_bytes: of a site's log.
        max_files_bytes: of all files of a site.
        max_num_files: files of a site.
        end_wait_seconds: see above.

    Raises:
        ConfigError: a limit is negative.
    """

    def __init__(
        self,
        site_shards: dict[str, int] | None = None,
        max_log_bytes: int = 64 << 20,
        max_files_bytes: int = 1 << 30,
        max_num_files: int = 10_000,
        end_wait_seconds: float = 20.0,
    ) -> None:
        super().__init__()
        self.site_shards = site_shards
        self.max_log_bytes = max_log_bytes
        self.max_files_bytes = max_files_bytes
        self.max_num_files = max_num_files
        self.end_wait_seconds = end_wait_seconds
        for name in ("max_log_bytes", "max_files_bytes", "max_num_files", "end_wait_seconds"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or value < 0:
                raise ConfigError(f"SiteFileReceiver: {name} must be a number of at least 0, found {value!r}")
        self._run_dir = Path()
        self._numbers: dict[str, int] = {}
        self._inboxes: dict[str, SiteInbox] = {}
        self._heard: dict[str, float] = {}
        self._changed = threading.Condition()
        self._waited = False
        self._closed = False

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Listen while the job runs, and wait for the last pieces before it ends."""
        if fl_ctx.get_prop(FLContextKey.SIMULATE_MODE):
            return
        if event_type == EventType.START_RUN:
            self._run_dir = run_dir(fl_ctx)
            engine = fl_ctx.get_engine()
            self._numbers = number_sites([client.name for client in engine.get_clients()], self.site_shards or {})
            # As for ShardUrlService: here the headers that the server has verified can be seen.
            cell = engine.server.command_agent.cell
            cell.register_request_cb(channel=CellChannel.AUX_COMMUNICATION, topic=TOPIC, cb=self._receive)
        elif event_type == EventType.CHECK_END_RUN_READINESS:
            self._wait_for_last_pieces()
        elif event_type == EventType.END_RUN:
            with self._changed:
                for inbox in self._inboxes.values():
                    inbox.close()
                if self._inboxes:
                    (self._run_dir / _STAGING).rmdir()
                self._closed = True

    def take(self, site: str, message: Shareable) -> Shareable:
        """Return the answer to a message of ``site``."""
        reply = make_reply(ReturnCode.OK)
        reply[INTERVAL] = max(1.0, len(self._numbers) / _MESSAGES_PER_SECOND)
        kind = message.get(KIND)
        try:
            inbox = self._inbox(site)
            if kind == PIECE:
                reply[REFUSAL] = inbox.take(
                    str(message.get(SESSION)),
                    message.get(ROUND),
                    message.get(PARTS),
                    message.get(OFFSET),
                    message.get(DATA),
                    message.get(SIZE),
                )
            elif kind == CLOSED:
                inbox.note(f"{site} allows no log streaming (allow_log_streaming): its log and files stay there")
        except (OSError, ValueError) as error:
            self.logger.warning(f"log and files of {site}: {error}")
            reply[REFUSAL] = f"the server cannot store it: {error}"
        with self._changed:
            if kind in (LAST, CLOSED):
                self._heard.pop(site, None)
            else:
                self._heard[site] = time.monotonic()
            self._changed.notify_all()
        return reply

    def _inbox(self, site: str) -> SiteInbox:
        with self._changed:
            if self._closed:
                raise ValueError("the job has ended")
            if site not in self._inboxes:
                number = self._numbers.setdefault(site, max(self._numbers.values(), default=0) + 1)
                files = self._run_dir / FILES_FOLDER
                self._inboxes[site] = SiteInbox(
                    site,
                    text_log=files / f"client_{number}.log",
                    logs=self._run_dir / site,
                    folder=files / site,
                    staging=self._run_dir / _STAGING / site,
                    limits=InboxLimits(self.max_log_bytes, self.max_files_bytes, self.max_num_files),
                )
            return self._inboxes[site]

    def _receive(self, request: Any) -> Any:
        site = str(request.get_header(CellMessageHeaderKeys.CLIENT_NAME))
        message = request.payload
        reply = self.take(site, message) if isinstance(message, Shareable) else make_reply(ReturnCode.BAD_REQUEST_DATA)
        return new_cell_message({MessageHeaderKey.RETURN_CODE: CellReturnCode.OK}, reply)

    def _wait_for_last_pieces(self) -> None:
        if self._waited:
            return
        self._waited = True
        started = time.monotonic()
        with self._changed:
            # A site that has kept silent for long before the end is not there any more.
            for site, heard in list(self._heard.items()):
                if started - heard > 2 * KEEP_ALIVE_SECONDS + len(self._numbers) / _MESSAGES_PER_SECOND:
                    del self._heard[site]
            while self._heard:
                now = time.monotonic()
                silence_ends = max(max(heard, started) for heard in self._heard.values()) + _SILENCE_SECONDS
                left = min(started + self.end_wait_seconds, silence_ends) - now
                if left <= 0:
                    self.logger.warning(f"the log of {', '.join(sorted(self._heard))} may lack its last lines")
                    return
                self._changed.wait(left)
