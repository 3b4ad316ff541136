"""The one form that every benchmark answers in: figures, each over its repeats, and each with the bound it keeps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from rt_flare.core.durable_io import read_json, write_json

__all__ = ["Figure", "command", "read_figures", "spread"]

_WIDTH = 150


@dataclass(frozen=True)
class Figure:
    """What one comparison gave.

    Attributes:
        name: what is compared with what; "a / b" says that the values are a's divided by b's.
        values: one per repeat.
        at_least, at_most: the bound; both None when there is none.
        unit: of the values; "" for ratios.
        note: what a reader must know.
    """

    name: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def bound(self) -> str:
        """The bound as text; "" when there is none."""
        least = "" if self.at_least is None else f">= {self.at_least:g}"
        most = "" if self.at_most is None else f"<= {self.at_most:g}"
        return " and ".join(filter(None, [least, most]))

    @property
    def holds(self) -> bool | None:
        """Whether the median keeps the bound; None when there is none."""
        if not self.bound:
            return None
        middle = median(self.values)
        return (self.at_least is None or middle >= self.at_least) and (self.at_most is None or middle <= self.at_most)

    @property
    def cells(self) -> list[str]:
        """Name with unit, minimum, median, maximum, bound, and whether it holds."""
        name = f"{self.name}, {self.unit}" if self.unit else self.name
        verdict = {True: "yes", False: "NO", None: ""}[self.holds]
        return [name, *(number(edge(self.values)) for edge in (min, median, max)), self.bound, verdict]


def number(value: float) -> str:
    """Four significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 0.001 else f"{value:.6f}"


def spread(values: Iterable[float]) -> str:
    """Minimum, median and maximum as text."""
    ordered = sorted(values)
    return f"min {number(ordered[0])}, median {number(median(ordered))}, max {number(ordered[-1])}"


def print_figures(figures: Sequence[Figure]) -> None:
    """Print a table, and below it the notes."""
    table = Table("figure", "min", "median", "max", "needed", "holds")
    for column in table.columns[1:4]:
        column.justify = "right"
    for figure in figures:
        table.add_row(*figure.cells)
    console = Console(width=_WIDTH)
    console.print(table)
    for figure in figures:
        if figure.note:
            console.print(f"{figure.name}: {figure.note}", markup=False)


def read_figures(path: Path) -> list[Figure]:
    """Read what `command` wrote."""
    return [from_json(entry) for entry in read_json(path)["figures"]]


def from_json(entry: dict[str, Any]) -> Figure:
    """A figure as it stands in a file."""
    return Figure(**{**entry, "values": tuple(entry["values"])})


def command(
    parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], list[Figure]], *, repeats: int = 5
) -> None:
    """The command line of one benchmark: measure, print the table, and write it where ``--json`` says."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--repeats", type=int, default=repeats, help="of every measurement, interleaved")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures = measure(options)
    sys.stdout.flush()
    print_figures(figures)
    if options.json:
        write_json(options.json, {"figures": [asdict(figure) for figure in figures]})
