"""The report as HTML text (X10)."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.core.round_record import Contribution, RoundRecord
from rt_flare.report.contents import report_contents
from rt_flare.report.page import render_html
from rt_flare.report.rendering import asset
from rt_flare.report.run_folder import read_run

Run = Callable[..., Path]
Make = Callable[..., RoundRecord]
names = st.text(max_size=12) | st.sampled_from(["<script>", "</script>", "'\"><img>", "{{ 1 }}", "&lt;", "]]>", "<!--"])


def _html(folder: Path) -> str:
    return render_html(report_contents(read_run(folder), seen_from=folder))


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attributes]


def _outline(html: str) -> _Outline:
    outline = _Outline()
    outline.feed(html)
    return outline


@given(names, names, st.floats())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_of_a_site_or_metric_changes_the_pages_structure(
    tmp_path: Path, make_run: Run, make_record: Make, site: str, metric: str, value: float
) -> None:
    """X10: the same elements as with plain names."""

    def record(site: str, metric: str) -> RoundRecord:
        return make_record(0, [site], {metric: value}, {site: {"warnings": [metric]}}, verdict_reasons=[site])

    outlines = [
        _outline(_html(make_run(tmp_path / "run", [record(*pair)], stop_reason=pair[0])))
        for pair in (("plain", "name"), (site or "s", metric))
    ]
    assert outlines[0].tags == outlines[1].tags
    assert not [v for v in outlines[1].values if re.match(r"(?i)\s*(javascript|vbscript):|data:text", v)]


def test_the_same_run_gives_the_same_bytes(troubled_run: Path) -> None:
    """X10: no clock, no order of a set; the report's own file does not count."""
    first = _html(troubled_run)
    (troubled_run / "report.html").write_text(first)
    assert _html(troubled_run) == first


def test_the_page_lets_its_own_script_and_style_run_and_nothing_else(troubled_run: Path) -> None:
    """X10: by policy, not by hope."""
    html = _html(troubled_run)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    assert "unsafe" not in policy[1]
    for tag in ("style", "script"):
        inline = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert inline is not None
        digest = base64.b64encode(hashlib.sha256(inline[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", html)


def test_configuration_versions_and_links_are_there_and_secrets_are_not(troubled_run: Path) -> None:
    """X10, C3"""
    html = _html(troubled_run)
    assert "NUM_ROUNDS" in html
    assert "s3cret" not in html
    assert "torch 2.9" in html
    assert 'href="files_out/server.log"' in html


def test_links_start_where_the_report_stands_and_a_hostile_file_name_is_no_address(
    tmp_path: Path, make_run: Run, make_record: Make
) -> None:
    """X10, J8"""
    folder = make_run(tmp_path / "a run", [make_record(0, ["a"])])
    (folder / "files_out" / "javascript:hacked()").write_text("x")
    (tmp_path / "else").mkdir()
    html = render_html(report_contents(read_run(folder), seen_from=tmp_path / "else"))
    assert 'href="../a%20run/files_out/javascript%3Ahacked%28%29"' in html


def test_a_run_without_a_round_has_a_report(tmp_path: Path, make_run: Run) -> None:
    """X10, J5"""
    html = _html(make_run(tmp_path, [], state="RUNNING", num_rounds=5))
    assert "No round has ended." in html
    assert "0 of 5" in html
    assert "rt-flare doctor" in html


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_against_its_background(scheme: str) -> None:
    """X10: contrast of 4.5 to 1 for text, 3 to 1 for curves (WCAG 2, AA)."""
    blocks = re.findall(r":root \{(.*?)\}", asset("report.css"), re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w{6})", blocks[["light", "dark"].index(scheme)]))
    for ground in ("page", "panel"):
        for name in ("text", "soft", "link", "ok", "warn", "bad"):
            assert _contrast(colours[name], colours[ground]) >= 4.5, name
        for number in range(10):
            assert _contrast(colours[f"s{number}"], colours[ground]) >= 3, number


def _contrast(one: str, other: str) -> float:
    def brightness(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("num_sites", "num_rounds"), [(10_000, 10), (10, 1_000), (300, 300)])
def test_a_large_job_has_a_page_that_a_browser_opens(
    tmp_path: Path, make_run: Run, make_record: Make, browser: object, num_sites: int, num_rounds: int
) -> None:
    """X10: summarised and paged."""
    sites = [f"site-{number:05}" for number in range(num_sites)]
    first = make_record(0, sites)
    records = [_again(first, number) for number in range(num_rounds)]
    folder = make_run(tmp_path, records)
    html = _html(folder)
    assert len(html) < 8_000_000
    (folder / "report.html").write_text(html)
    browser.open(folder / "report.html", width=400)  # type: ignore[attr-defined]
    assert browser.complaints == []  # type: ignore[attr-defined]
    assert browser.run("document.scrollingElement.scrollWidth") <= 400  # type: ignore[attr-defined]


def _again(record: RoundRecord, number: int) -> RoundRecord:
    contributions: list[Contribution] = record.contributions
    return record.model_copy(update={"round": number, "contributions": contributions})
