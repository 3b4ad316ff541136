"""What a job's server process tells while it runs, and the names under which it is asked."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rt_flare.core.durable_io import to_strict_json
from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import Failure, Verdict

__all__ = ["LIVE_FILE", "STATUS_TOPIC", "STOP_FILE", "STOP_TOPIC", "LiveJob", "LiveSite", "stop_reason_text"]

STATUS_TOPIC = "rt_flare.status"
"""App command of a running job: answers with `LiveJob.document`."""

STOP_TOPIC = "rt_flare.stop"
"""App command of a running job, with ``{"reason": text}``: it ends after the current round."""

LIVE_FILE = "live_status.json"
"""The same document, in the server's run folder of the simulator, where there is nobody to ask."""

STOP_FILE = "stop_requested.txt"
"""In that folder: its text is the reason to end after the current round."""

_MAX_REASON = 200


class LiveSite(BaseModel):
    """A site, as the server's job process knows it.

    Attributes:
        connected: False when NVFlare holds the site's part of the job for lost.
        failure: what it answered last, where that was an error.
    """

    model_config = ConfigDict(extra="ignore")

    connected: bool = True
    failure: Failure | None = None


class LiveJob(BaseModel):
    """A running job, as its server process knows it.

    Attributes:
        sites: the sites that take part, by name.
        round: 0-based number of the last closed round; None before.
        num_rounds: rounds that the job is to run.
        verdict, metrics: of the last closed round.
        stop_requested: why it is to end after the current round; None when it is not.
        stop_reason, error, state: see `Ledger`.
    """

    model_config = ConfigDict(extra="ignore")

    sites: dict[str, LiveSite] = Field(default_factory=dict)
    round: int | None = None
    num_rounds: int = 0
    verdict: Verdict | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    stop_requested: str | None = None
    stop_reason: str | None = None
    error: Failure | None = None
    state: str = "RUNNING"

    def follow(self, ledger: Ledger) -> None:
        """Take over what the round summary says."""
        self.num_rounds, self.state = ledger.num_rounds, ledger.state
        self.stop_reason, self.error = ledger.stop_reason, ledger.error
        if ledger.rounds:
            last = ledger.rounds[-1]
            self.round, self.verdict = last.round, last.verdict
            self.metrics = {**last.train_metrics, **(last.global_metrics or {})}

    def document(self) -> dict[str, Any]:
        """Strict JSON values."""
        return dict(to_strict_json(self.model_dump(mode="json")))


def stop_reason_text(value: object) -> str:
    """A reason to stop as one short printable line, whatever was sent."""
    text = value if isinstance(value, str) else ""
    line = "".join(c if c.isprintable() else " " for c in text)[:_MAX_REASON].strip()
    return line or "asked for"
