"""Events that rt_flare's components fire beside NVFlare's own, and what travels with them."""

from __future__ import annotations

from dataclasses import dataclass

from rt_flare.core.round_record import Failure

__all__ = ["JOB_ENDING", "JOB_RESUMED", "ROUND_CLOSED", "STOP_REQUESTED", "UPDATE_REJECTED", "JobEnding", "Rejection"]

ROUND_CLOSED = "_rt_flare_round_closed"
"""Fired by `RtFedAvg` with a `RoundRecord` under the same key: a round ended, or became better known."""

UPDATE_REJECTED = "_rt_flare_update_rejected"
"""Fired by `GatedAggregator` with a `Rejection` under the same key."""

JOB_ENDING = "_rt_flare_job_ending"
"""Fired by `RtFedAvg` with a `JobEnding` under the same key, before it fails or stops a job."""

JOB_RESUMED = "_rt_flare_job_resumed"
"""Fired by `RtFedAvg` with a `Ledger` under the same key: the job goes on after its rounds."""

STOP_REQUESTED = "_rt_flare_stop_requested"
"""Fired by `RtFedAvg` with the reason under the same key: the job ends after the current round."""


@dataclass(frozen=True)
class Rejection:
    """An update that the gate refused: ``reason`` is the stable name of the rule, ``message`` says it in words."""

    site: str
    reason: str
    message: str


@dataclass(frozen=True)
class JobEnding:
    """Why a job ends before its last round: on purpose (``stop_reason``) or because of ``error``."""

    stop_reason: str | None = None
    error: Failure | None = None
