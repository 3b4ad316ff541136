"""The report as Markdown (X10)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.core.round_record import RoundRecord
from rt_flare.report.contents import report_contents
from rt_flare.report.markdown import render_markdown
from rt_flare.report.run_folder import read_run

Run = Callable[..., Path]
Make = Callable[..., RoundRecord]


def _markdown(folder: Path) -> str:
    return render_markdown(report_contents(read_run(folder), seen_from=folder))


def test_it_tells_how_the_run_ended_and_why(troubled_run: Path) -> None:
    """X10"""
    text = _markdown(troubled_run)
    assert text.startswith("# scans: FAILED\n")
    assert "- Verdicts: 2 OK, 2 DEGRADED\n" in text
    assert r"\<b\>boom\</b\>" in text
    assert "waiting 1.2 s, training 0.8 s, aggregating 0.3 s, saving 0.1 s, other 0.1 s" in text
    assert _markdown(troubled_run) == text


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), st.text(max_size=8))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_breaks_a_table_or_becomes_markup(
    tmp_path: Path, make_run: Run, make_record: Make, site: str, metric: str
) -> None:
    """X10: every row has the columns of its head, and what could be markup is escaped."""
    record = make_record(0, [site], {metric: 1.0}, verdict_reasons=[site])
    lines = _markdown(make_run(tmp_path / "run", [record])).splitlines()
    counts = [len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")]
    assert sorted(set(counts)) == [8, 9]
    assert len(counts) == 6


def test_links_tags_and_mentions_stay_text(tmp_path: Path, make_run: Run, make_record: Make) -> None:
    """X10: a site cannot call somebody, or lead somewhere."""
    site = "[x](http://h) <b> www.h.org @all\n# no\\"
    text = _markdown(make_run(tmp_path, [make_record(0, [site])]))
    assert r"\[x\](http\://h) \<b\> www\.h.org &#64;all \# no\\" in text
