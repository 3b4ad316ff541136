"""Many idle sites in one site's job process: threads that ask the server for work as NVFlare's client runner does."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext

_PAUSE_SECONDS = 2.0


class Pollers(FLComponent):
    """Asks for work at several rates, one after the other, once the site has delivered its update.

    Every poller sleeps, asks, and sleeps again; the first sleeps are spread over the interval.

    Args:
        site: name of the site that asks; the others do nothing.
        phases: a list of [number of pollers, seconds between two questions of one, seconds that the phase lasts].
        report: file that gets one line of JSON per phase when it is over: start and end in seconds since 1970, number
            of answers, and the mean seconds that one took.
    """

    def __init__(self, site: str, phases: list[list[float]], report: str) -> None:
        super().__init__()
        self.site = site
        self.phases = phases
        self.report = report
        self._started = False

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Start once, after the site's update."""
        mine = event_type == EventType.AFTER_SEND_TASK_RESULT and fl_ctx.get_identity_name() == self.site
        if mine and not self._started:
            self._started = True
            threading.Thread(target=self._run, args=(fl_ctx.get_engine(),), daemon=True).start()

    def _run(self, engine: Any) -> None:
        for count, interval, seconds in self.phases:
            start, took, lock = time.time(), [], threading.Lock()
            pollers = [
                threading.Thread(target=self._poll, args=(engine, n / count * interval, interval, seconds, took, lock))
                for n in range(int(count))
            ]
            for poller in pollers:
                poller.start()
            time.sleep(seconds)
            for poller in pollers:
                poller.join()
            phase = {"start": start, "end": time.time(), "answers": len(took), "took": sum(took) / max(len(took), 1)}
            with Path(self.report).open("a") as file:
                file.write(json.dumps(phase) + "\n")
            time.sleep(_PAUSE_SECONDS)

    def _poll(
        self, engine: Any, delay: float, interval: float, seconds: float, took: list[float], lock: threading.Lock
    ) -> None:
        end = time.monotonic() + seconds
        time.sleep(delay)
        while time.monotonic() < end:
            asked = time.monotonic()
            with engine.new_context() as fl_ctx:
                engine.get_task_assignment(fl_ctx)
            with lock:
                took.append(time.monotonic() - asked)
            time.sleep(interval)
