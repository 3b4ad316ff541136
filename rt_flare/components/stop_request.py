"""The wish that a job ends after its current round: sent by an administrator, or put into a file in the simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from rt_flare.components.site import run_dir
from rt_flare.core.live_job import STOP_FILE, STOP_TOPIC, stop_reason_text

__all__ = ["StopRequest"]


class StopRequest:
    """Remembers the first reason to stop.

    Args:
        announce: called with the reason and the context when an administrator asks.
    """

    def __init__(self, announce: Callable[[str, FLContext], None]) -> None:
        self.reason: str | None = None
        self._announce = announce

    def make(self, reason: str) -> None:
        """Ask for it; a reason that was given before stays."""
        self.reason = self.reason or reason

    def listen(self, fl_ctx: FLContext) -> None:
        """Take the app command `STOP_TOPIC` from now on; in the simulator nobody can send one."""
        if not fl_ctx.get_prop(FLContextKey.SIMULATE_MODE):
            fl_ctx.get_engine().register_app_command(STOP_TOPIC, self._take)

    def look(self, fl_ctx: FLContext) -> str | None:
        """Return the reason, after a look for the file `STOP_FILE` in the run folder."""
        path = run_dir(fl_ctx) / STOP_FILE
        if self.reason is None and path.is_file():
            self.make(stop_reason_text(path.read_text(encoding="utf-8", errors="replace")))
        return self.reason

    def _take(self, topic: str, data: Any, fl_ctx: FLContext) -> dict[str, str | None]:
        self.make(stop_reason_text(data.get("reason") if isinstance(data, dict) else None))
        self._announce(str(self.reason), fl_ctx)
        return {"stop_requested": self.reason}
