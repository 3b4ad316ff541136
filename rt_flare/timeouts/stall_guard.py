"""When NVFlare closes a connection whose sends stall."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MONITOR_TICK_SECONDS", "CloseWindow", "close_window"]

MONITOR_TICK_SECONDS = 5
"""How often NVFlare's heartbeat monitor looks at its connections."""


@dataclass(frozen=True, slots=True)
class CloseWindow:
    """The earliest and the latest moment, in seconds of continuous stall, at which a connection is closed."""

    earliest: float
    latest: float

    def __str__(self) -> str:
        return f"{self.earliest:g} to {self.latest:g} s"


def close_window(stall_timeout: float, consecutive_checks: int) -> CloseWindow:
    """Return the window for ``sfm_send_stall_timeout`` (seconds) and ``sfm_send_stall_consecutive_checks``.

    The first look that counts comes at most one tick after the timeout; the connection is closed at the last of the
    consecutive ones.
    """
    checks = max(1, consecutive_checks)
    earliest = stall_timeout + MONITOR_TICK_SECONDS * (checks - 1)
    return CloseWindow(earliest, earliest + MONITOR_TICK_SECONDS)
