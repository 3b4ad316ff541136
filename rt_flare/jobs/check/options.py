"""What the offline check is told, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from rt_flare.data.verify_report import VerifyReport
from rt_flare.jobs.check.finding import CheckFinding, Severity

__all__ = ["CheckOptions", "CheckReport", "Target"]


class Target(StrEnum):
    """What a path is."""

    MODULE = "module"
    PROJECT = "project"
    SHARDS = "shards"
    JOB = "job"


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What the files do not say.

    Attributes:
        model: name of the model's class or factory, for a module by itself.
        model_args: its keyword arguments, for a module by itself.
        shards: folder of shards to try a module with; None looks for none beside it.
        shard_report: what `verify_shards` has found in a job's shards, images decoded; None reads them.
        num_sites: number of sites; None takes what the project or the job says.
        dry_run: build the model and train it on one batch, in a child process.
        images: decode every image.
        memory_limit_bytes: memory of the dry run; 0 for what is free on this machine.
        deadline_seconds: time for each step of the dry run.
    """

    model: str = "Model"
    model_args: Mapping[str, Any] = field(default_factory=dict)
    shards: Path | None = None
    shard_report: VerifyReport | None = None
    num_sites: int | None = None
    dry_run: bool = True
    images: bool = True
    memory_limit_bytes: int = 0
    deadline_seconds: float = 120.0


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Attributes:
        target: what was looked at.
        kind: what it is.
        findings: errors first, then warnings, then notes; by file and line.
        unchecked: what was not looked at, and why.
    """

    target: Path
    kind: Target
    findings: tuple[CheckFinding, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there is an error or a warning; notes alone are fine."""
        return any(finding.severity is not Severity.INFO for finding in self.findings)

    @property
    def has_errors(self) -> bool:
        """Whether there is an error: the job would fail."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)
