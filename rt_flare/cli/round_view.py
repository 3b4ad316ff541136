"""Rounds as people read them: a live table on a terminal, a line per round in a pipe, a table at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from rt_flare.core.round_record import Contribution, RoundRecord

__all__ = ["RoundView", "SilentView", "make_console", "round_table", "round_view"]

_PIPE_WIDTH = 120
_MAX_SITE_COLUMNS = 8
_STYLES = {"OK": "green", "DEGRADED": "yellow", "FAILED": "red"}


class RoundView(Protocol):
    """Shows what happens while a job runs."""

    def stage(self, text: str) -> None:
        """Something begins."""

    def round(self, record: RoundRecord) -> None:
        """A round was closed."""


class SilentView:
    """Shows nothing: stdout belongs to the JSON document."""

    def stage(self, text: str) -> None:
        """Something begins."""

    def round(self, record: RoundRecord) -> None:
        """A round was closed."""


class _PlainView:
    def __init__(self, console: Console) -> None:
        self._console = console

    def stage(self, text: str) -> None:
        self._console.print(Text(text))

    def round(self, record: RoundRecord) -> None:
        parts = [
            f"round {record.round}: {record.verdict.value}",
            *(f"{name} {value:.4f}" for name, value in _shown_metrics([record], record)),
            f"{record.num_samples} samples",
            f"{record.num_accepted} of {record.num_sites} sites",
            f"{record.seconds:.1f} s",
        ]
        self._console.print(Text(", ".join(parts)))


class _LiveView:
    def __init__(self, live: Live) -> None:
        self._live = live
        self._text = ""
        self._records: list[RoundRecord] = []

    def stage(self, text: str) -> None:
        self._text = text
        self._refresh()

    def round(self, record: RoundRecord) -> None:
        self._records.append(record)
        self._refresh()

    def _refresh(self) -> None:
        spinner = Spinner("dots", text=Text(self._text))
        self._live.update(Group(round_table(self._records), spinner) if self._records else spinner)


def make_console() -> Console:
    """A console on stdout; a pipe gets lines wide enough for a table."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


@contextmanager
def round_view(console: Console) -> Iterator[RoundView]:
    """Show progress on ``console`` while the block runs."""
    if not console.is_terminal:
        yield _PlainView(console)
        return
    # The table at the end replaces this one.
    with Live(console=console, transient=True, refresh_per_second=8) as live:
        yield _LiveView(live)


def round_table(records: Sequence[RoundRecord]) -> Table:
    """One row per round: verdict, mean metrics, samples, seconds, and every site's part."""
    names = _metric_names(records)
    sites = list(dict.fromkeys(c.site for record in records for c in record.contributions))
    has_all = all(record.paged is None for record in records)
    shown_sites = sites if has_all and len(sites) <= _MAX_SITE_COLUMNS else []
    table = Table(box=None, pad_edge=False)
    table.add_column("round", justify="right")
    table.add_column("verdict")
    for name in names:
        table.add_column(Text(f"train {name}"), justify="right")
    if has_global := any(record.global_metrics for record in records):
        table.add_column(Text(f"global {names[-1]}" if names else "global"), justify="right")
    table.add_column("samples", justify="right")
    table.add_column("seconds", justify="right")
    for site in shown_sites or ["sites"]:
        table.add_column(Text(site), justify="right")
    for record in records:
        cells = [Text(str(record.round)), Text(record.verdict.value, style=_STYLES.get(record.verdict.value, ""))]
        cells += [Text(_number(record.train_metrics.get(name))) for name in names]
        if has_global:
            cells.append(Text(_number((record.global_metrics or {}).get(names[-1]) if names else None)))
        cells += [Text(str(record.num_samples)), Text(f"{record.seconds:.1f}")]
        parts = {contribution.site: contribution for contribution in record.contributions}
        if shown_sites:
            cells += [Text(_part(parts.get(site), names)) for site in shown_sites]
        else:
            cells.append(Text(f"{record.num_accepted} of {record.num_sites}"))
        table.add_row(*cells)
    return table


def _metric_names(records: Sequence[RoundRecord]) -> list[str]:
    """The metrics to show: loss and accuracy, else the first two in the alphabet."""
    found = {name for record in records for name in record.train_metrics}
    usual: list[str] = [name for name in ("loss", "accuracy") if name in found]
    return usual or sorted(found)[:2]


def _shown_metrics(records: Sequence[RoundRecord], record: RoundRecord) -> list[tuple[str, float]]:
    return [(name, record.train_metrics[name]) for name in _metric_names(records) if name in record.train_metrics]


def _part(contribution: Contribution | None, names: Sequence[str]) -> str:
    if contribution is None:
        return "-"
    if contribution.status.value != "accepted":
        return contribution.status.value
    value = contribution.train_metrics.get(names[-1]) if names else None
    return f"{_number(value)} of {contribution.num_samples}" if value is not None else str(contribution.num_samples)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
