"""One mistake that a check found, and what a check is told about the deployment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rt_flare.timeouts.placement import Exchange

__all__ = ["Facts", "Finding", "Found", "Severity"]


Found = bool | int | float | str | None
"""What a finding shows of a value."""


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """It breaks the job, or does not do what it says."""
    WARNING = "warning"
    """It may cost rounds, time or traffic."""
    INFO = "info"
    """Worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake.

    Attributes:
        rule: stable id of the check.
        severity: how bad it is.
        file: where it stands.
        key: the key or argument at fault; "" for a file as a whole.
        found: what is there.
        expected: what should be.
        message: what it means and what to do.
    """

    rule: str
    severity: Severity
    file: Path
    key: str
    found: Found
    expected: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the files do not say; None where it is not known.

    Attributes:
        num_sites: number of sites; else a job's own list of shards counts.
        model_bytes: bytes of one update.
        bytes_per_second: bandwidth of the server, all sites together.
        round_seconds: measured seconds of a round.
        exchange: what travels; else the job's components decide.
        simulator_threads: ``-t`` of the simulator.
        nvflare_version: what the job is meant for, as ``2.8``; None for the installed one.
    """

    num_sites: int | None = None
    model_bytes: int | None = None
    bytes_per_second: float | None = None
    round_seconds: float | None = None
    exchange: Exchange | None = None
    simulator_threads: int | None = None
    nvflare_version: str | None = None
