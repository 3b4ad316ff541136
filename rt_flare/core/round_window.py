"""The time in which a round takes answers: until all are in, enough are, too few can come, or the deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rt_flare.core.round_builder import RoundBuilder

__all__ = ["RoundWindow"]

_POLL_SECONDS = 0.2


class RoundWindow:
    """Takes answers on NVFlare's threads while the controller waits for the round's end.

    Args:
        builder: collects the contributions.
        min_clients: accepted updates that make enough.
        wait_after_min_seconds: how long the others are waited for once there are enough.
        deadline_seconds: how long the window stays open at most.
    """

    def __init__(
        self, builder: RoundBuilder, *, min_clients: int, wait_after_min_seconds: float, deadline_seconds: float
    ) -> None:
        self._builder = builder
        self._min_clients = min_clients
        self._wait_after_min_seconds = wait_after_min_seconds
        self._deadline_seconds = deadline_seconds
        self._answers = threading.Condition()
        self._is_open = True

    def take(self, add: Callable[[RoundBuilder], None]) -> bool:
        """Let ``add`` put an answer into the builder; False, without calling it, when the window is closed."""
        with self._answers:
            if not self._is_open:
                return False
            add(self._builder)
            self._answers.notify_all()
            return True

    def wait(self, interrupted: Callable[[], bool]) -> None:
        """Wait until the window closes; ``interrupted`` is asked about five times a second and closes it too."""
        deadline = time.monotonic() + self._deadline_seconds
        enough_since: float | None = None
        builder = self._builder
        with self._answers:
            while builder.num_outstanding and builder.num_accepted + builder.num_outstanding >= self._min_clients:
                now = time.monotonic()
                if enough_since is None and builder.num_accepted >= self._min_clients:
                    enough_since = now
                if enough_since is not None and now - enough_since >= self._wait_after_min_seconds:
                    break
                if now >= deadline or interrupted():
                    break
                self._answers.wait(_POLL_SECONDS)
            self._is_open = False
