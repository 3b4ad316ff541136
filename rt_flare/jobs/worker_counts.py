"""How many of a job's sites are there: four counters, taken from sets of names."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["WorkerCounts", "count_workers"]


class WorkerCounts(BaseModel):
    """The sites of a job at one moment.

    Attributes:
        total: sites that the job is assigned to.
        connected: of these, the ones whose heartbeat is seen.
        errors: sites whose last answer was an error, or whose process crashed.
        disconnected: sites that were connected and are not any more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    total: int = Field(default=0, ge=0)
    connected: int = Field(default=0, ge=0)
    errors: int = Field(default=0, ge=0)
    disconnected: int = Field(default=0, ge=0)

    @property
    def healthy(self) -> bool:
        """Whether every site is connected and none has an error."""
        return self.connected == self.total and self.errors == 0

    def describe(self) -> str:
        """One line: ``3/3 connected``, with errors and lost sites where there are any."""
        parts = [f"{self.connected}/{self.total} connected"]
        if self.errors:
            parts.append(f"{self.errors} with errors")
        if self.disconnected:
            parts.append(f"{self.disconnected} disconnected")
        return ", ".join(parts)


def count_workers(
    assigned: Iterable[str], *, connected: Iterable[str], seen: Iterable[str], failed: Iterable[str]
) -> WorkerCounts:
    """Count a job's sites. Sites are counted by name: one that comes back is the same one.

    Args:
        assigned: the job's sites; others are not counted at all.
        connected: sites whose heartbeat is seen now.
        seen: sites that were connected before.
        failed: sites with an error.
    """
    sites = set(assigned)
    here = sites & set(connected)
    return WorkerCounts(
        total=len(sites),
        connected=len(here),
        errors=len(sites & set(failed)),
        disconnected=len(sites & set(seen) - here),
    )
