"""The page on results names files, fields and options that there are (X10, J8)."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

from rt_flare.core.environment import ENVIRONMENT_FILE
from rt_flare.core.ledger import METRICS_FILE, METRICS_SUMMARY_FILE, ROUND_SUMMARY_FILE
from rt_flare.report.round_phases import PHASES

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "reading-results.md").read_text()


def test_every_file_of_the_results_is_explained() -> None:
    """J8"""
    for name in (ROUND_SUMMARY_FILE, METRICS_FILE, METRICS_SUMMARY_FILE, ENVIRONMENT_FILE):
        assert f"| `{name}` |" in PAGE


def test_every_phase_and_every_field_exists() -> None:
    """X10: drift."""
    schema = json.loads(files("rt_flare").joinpath("schemas", "round_summary.schema.json").read_text())
    fields = {*schema["$defs"]["round"]["properties"], *schema["$defs"]["contribution"]["properties"]}
    assert set(re.findall(r"`(\w+_(?:seconds|metrics))`", PAGE)) <= fields
    for phase in PHASES:
        assert f"| {phase} |" in PAGE or f"`{phase}`" in PAGE


def test_the_picture_is_there_and_small() -> None:
    """X10"""
    assert 10_000 < (DOCS / "report.png").stat().st_size < 200_000
