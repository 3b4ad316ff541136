"""Figures, their bounds, and the page that is made of them (T6)."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as runner
from benchmarks.figures import Figure
from benchmarks.page import render
from rt_flare.core.durable_io import read_json

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("values", "bounds", "holds"),
    [
        ((0.1, 0.8, 0.9), {"at_least": 0.75}, True),
        ((0.1, 0.7, 0.9), {"at_least": 0.75}, False),
        ((1.0, 1.5, 9.0), {"at_most": 1.5}, True),
        ((1.0, 1.6, 1.7), {"at_most": 1.5}, False),
        ((1.0,), {}, None),
    ],
)
def test_the_median_keeps_the_bound_or_not(values: tuple[float, ...], bounds: dict[str, float], holds: bool) -> None:
    """T6"""
    assert Figure("a / b", values, **bounds).holds is holds


def test_a_row_tells_spread_bound_and_verdict() -> None:
    """T6"""
    cells = Figure("cost", (3.0, 1.0, 2.25), at_most=2.0, unit="ms").cells
    assert cells == ["cost, ms", "1", "2.25", "3", "<= 2", "NO"]


@pytest.mark.parametrize("name", runner.BENCHMARKS)
def test_every_benchmark_is_there_and_has_a_command_line(name: str) -> None:
    """T6"""
    module, *_ = runner.BENCHMARKS[name]
    assert callable(importlib.import_module(module).main)


def test_a_run_replaces_its_part_of_the_results_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T6: the others' stay."""
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    monkeypatch.setattr(runner, "BENCHMARKS", {"index": ["benchmarks.index", "--entries", "10"]})
    monkeypatch.setattr(sys, "argv", ["", "index", "--repeats", "1", "--json", str(results), "--page", str(page)])
    assert runner.main() == 0
    found = read_json(results)["index"]
    assert found["command"] == "python -m benchmarks.index --entries 10 --repeats 1"
    assert {"date", "processor", "memory", "system"} == set(found["machine"])
    assert {"python", "nvflare", "torch", "resontech", "flwr"} <= set(found["versions"])
    assert "| 10 lines, opened warm, ms |" in page.read_text(encoding="utf-8")


def test_an_unknown_name_is_refused() -> None:
    """T6"""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "agregation"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "found agregation, expected some of aggregation-25M, " in done.stderr


def test_the_page_in_the_documentation_is_that_of_its_results() -> None:
    """T6: nobody writes into it by hand."""
    results = read_json(runner.RESULTS)
    ordered = {name: results[name] for name in runner.BENCHMARKS if name in results}
    assert runner.PAGE.read_text(encoding="utf-8") == render(ordered)
