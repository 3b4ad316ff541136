"""A job as people read it: a live table on a terminal, a line per change in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rt_flare.jobs.job_status import JobStatus
from rt_flare.jobs.outcome import JobState

__all__ = ["JobView", "job_view", "print_status", "status_line"]

_STYLES = {
    JobState.PENDING: "yellow",
    JobState.RUNNING: "cyan",
    JobState.FINISHED: "bold green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "bold yellow",
}
_PENDING_SECONDS = 60.0
_MAX_SITES = 20
_BAR_WIDTH = 30


class JobView(Protocol):
    """Shows a job while it runs."""

    def show(self, status: JobStatus) -> None:
        """The job's status now."""


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def show(self, status: JobStatus) -> None:
        line = status_line(status)
        if line != self._last:
            self._console.print(Text(line), soft_wrap=True)
            self._last = line


class _Table:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, status: JobStatus) -> None:
        bar = ProgressBar(
            total=max(status.progress.num_rounds, 1), completed=status.progress.rounds_done, width=_BAR_WIDTH
        )
        self._live.update(Group(_headline(status), bar, _site_table(status)))


@contextmanager
def job_view(console: Console) -> Iterator[JobView]:
    """Show a job on ``console`` while the block runs."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        yield _Table(live)


def status_line(status: JobStatus) -> str:
    """One line without anything that changes by itself: state, sites, rounds, metrics, and what is going on."""
    parts = [f"{status.state.value}: {status.workers.describe()}", _rounds(status)]
    if status.stop_reason:
        parts.append(f"stopped: {status.stop_reason}")
    if status.reason:
        parts.append(status.reason)
    return ", ".join(part for part in parts if part)


def print_status(console: Console, status: JobStatus) -> None:
    """Print the whole status, with a line for every site that is not as it should be."""
    console.print(_headline(status), soft_wrap=True)
    for site in status.sites:
        if site.error is not None:
            console.print(Text(f"  {site.error.describe()}"), soft_wrap=True)
        elif site.seen and not site.connected and not status.state.is_final:
            console.print(Text(f"  {site.name}: disconnected"), soft_wrap=True)
    if status.error is not None:
        console.print(Text.assemble(("Root cause: ", "bold"), status.error.describe()), soft_wrap=True)


def _headline(status: JobStatus) -> Text:
    line = Text.assemble(f"{status.name}: ", (status.state.value, _STYLES[status.state]))
    line.append(status_line(status).removeprefix(status.state.value))
    if status.pending_seconds > _PENDING_SECONDS:
        line.append(f" (for {status.pending_seconds:.0f} s)", style="yellow")
    return line


def _rounds(status: JobStatus) -> str:
    progress = status.progress
    if not progress.num_rounds:
        return ""
    metrics = "".join(f", {name} {value:.4f}" for name, value in sorted(progress.metrics.items())[:3])
    return f"{progress.rounds_done} of {progress.num_rounds} rounds{metrics}"


def _site_table(status: JobStatus) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("site")
    table.add_column("is")
    table.add_column("error")
    for site in status.sites[:_MAX_SITES]:
        state = Text("connected", style="green") if site.connected else Text("lost" if site.seen else "awaited", "red")
        table.add_row(Text(site.name), state, Text(site.error.message if site.error else "", "red"))
    if len(status.sites) > _MAX_SITES:
        table.add_row(Text(f"... {len(status.sites) - _MAX_SITES} more"), "", "")
    return table
