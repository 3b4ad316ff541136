"""The page of results, written from the file of results and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.figures import Figure, from_json

__all__ = ["render"]

_HEAD = """\
# Benchmarks

`uv run --group bench python -m benchmarks [NAME...]` runs them and writes this page from `docs/benchmarks.json`.

Every measurement is taken beside its peer and its physical limit, in turn, and compared within a repeat: minimum,
median and maximum are those of the repeats. A bound is kept or not by the median. Peers run as they come: NVFlare's
own components from the installed version, the published SDK and Flower from the package index, in environments of
their own.
"""


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page: a table per benchmark, with the command, the machine and the versions that it was run with."""
    return "\n".join([_HEAD, *(_section(name, result) for name, result in results.items())])


def _section(name: str, result: Mapping[str, Any]) -> str:
    figures = [from_json(entry) for entry in result["figures"]]
    machine, versions = result["machine"], result["versions"]
    lines = [f"## {name}", "", f"`{result['command']}`", ""]
    lines += ["| figure | min | median | max | needed | holds |", "|---|---:|---:|---:|---|---|"]
    lines += [_row(figure) for figure in figures]
    notes = [f"- {_text(figure.name)}: {_text(figure.note)}" for figure in figures if figure.note]
    lines += ["", *notes, *([""] if notes else [])]
    lines.append(", ".join([machine["date"], machine["processor"], machine["memory"], machine["system"]]) + "; ")
    lines[-1] += ", ".join(f"{package} {number}" for package, number in versions.items()) + "."
    return "\n".join([*lines, ""])


def _row(figure: Figure) -> str:
    return "| " + " | ".join(_text(cell) for cell in figure.cells) + " |"


def _text(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<=", "≤").replace(">=", "≥")
