"""The report as its reader meets it: in a real browser (X10)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rt_flare.core.round_record import RoundRecord
from rt_flare.report.contents import report_contents
from rt_flare.report.page import render_html
from rt_flare.report.run_folder import read_run

Browser = Any
OPEN_ALL = "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
FOCUSABLE = "a[href], button:not(:disabled), input, summary, [tabindex='0']"


def _report(run: Path) -> Path:
    path = run / "report.html"
    path.write_text(render_html(report_contents(read_run(run), seen_from=run)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def page(troubled_run: Path) -> Path:
    return _report(troubled_run)


def _box(browser: Browser, selector: str) -> dict[str, float]:
    script = f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView(); return e; }})()"
    found = browser.run(
        f"(() => {{ const b = {script}.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }})()"
    )
    return dict(zip(("x", "y", "width", "height"), found, strict=True))


def test_it_opens_without_a_complaint_and_asks_for_nothing(browser: Browser, page: Path) -> None:
    """X10: read offline; its own policy lets it connect nowhere."""
    browser.open(page)
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.as_uri()]
    assert browser.run("document.title") == "scans: FAILED"


def test_text_of_sites_stays_text(browser: Browser, page: Path) -> None:
    """X10: hostile names of a site and a metric, a message, a traceback, a warning and a reason."""
    browser.open(page)
    assert browser.run("typeof hacked") == "undefined"
    assert browser.run("document.querySelectorAll('img, b:not(output b), i, u').length") == 0
    text = browser.run(f"({OPEN_ALL}, document.body.innerText)")
    for said in ("<img src=x onerror=hacked()>", "</script><script>", "<b>boom</b>", "</pre>", "<i>odd</i>", "<u>why"):
        assert said in text


def test_every_curve_is_drawn(browser: Browser, page: Path) -> None:
    """X10: three metrics, local and global, and the phases."""
    browser.open(page)
    assert browser.run("document.querySelectorAll('figure[data-chart] > svg').length") == 7
    widths = browser.run(
        "[...document.querySelectorAll('svg g .curve:not(.marks, .dots)')].map((p) => p.getBBox().width)"
    )
    assert len(widths) == 2 * (4 + 4) + 2 * 4
    assert sum(width > 100 for width in widths) >= 2 * 4 + 2
    assert browser.run("document.querySelectorAll('.marks').length") > 0
    assert browser.run("getComputedStyle(document.querySelector('.curve.s0')).stroke") == "rgb(11, 107, 203)"


def test_a_chart_tells_its_values_where_the_mouse_is_and_hides_what_its_legend_turns_off(
    browser: Browser, page: Path
) -> None:
    """X10: hover and click."""
    browser.open(page)
    figure = "figure[data-chart=local0]"
    box = _box(browser, f"{figure} > svg")
    browser.mouse("mouseMoved", box["x"] + box["width"] - 5, box["y"] + 40)
    said = f"document.querySelector({f'{figure} output'!r}).textContent"
    assert browser.run(said).startswith("round 3: ")
    assert "site-1 0.25" in browser.run(said)
    browser.mouse("mouseMoved", box["x"] + box["width"] * 0.7, box["y"] + 40)
    assert "NaN" in browser.run(said)
    entry = _box(browser, f"{figure} label:nth-child(2) input")
    for kind in ("mousePressed", "mouseReleased"):
        browser.mouse(kind, entry["x"] + entry["width"] / 2, entry["y"] + entry["height"] / 2)
    part = f"{figure} [data-part='1']"
    assert browser.run(f"getComputedStyle(document.querySelector({part!r})).visibility") == "hidden"
    assert "<img src=x" not in browser.run(said)
    assert "site-1 " in browser.run(said)


def test_all_of_it_is_reached_and_worked_with_the_keyboard(browser: Browser, page: Path) -> None:
    """X10: every link, control, disclosure and table that scrolls, in the order of the page."""
    browser.open(page, width=400)
    browser.run(OPEN_ALL)
    # A group of controls is visible at once; what a page does not show is not in the way.
    wanted = browser.run(f"document.querySelectorAll({FOCUSABLE!r}).length")
    browser.run("window.seen = []")
    for _ in range(wanted):
        browser.press("Tab", 9)
        browser.run("void seen.push(document.activeElement)")
    assert browser.run("new Set(seen).size") == wanted
    assert browser.run("seen[0].className") == "skip"
    ordered = "seen.every((e, i) => !i || e.compareDocumentPosition(seen[i - 1]) & Node.DOCUMENT_POSITION_PRECEDING)"
    assert browser.run(ordered)
    shown = "seen.every((e) => getComputedStyle(e).outlineStyle === 'none' || e.getClientRects().length)"
    assert browser.run(shown)


def test_keys_open_details_move_through_a_chart_and_follow_the_skip_link(browser: Browser, page: Path) -> None:
    """X10: Enter, arrows and space do what they do everywhere."""
    browser.open(page)
    browser.press("Tab", 9)
    browser.press("Enter", 13, "\r")
    assert browser.run("document.activeElement.id") == "main"
    browser.run("document.querySelector('#rounds ~ details summary').focus()")
    browser.press("Enter", 13, "\r")
    assert browser.run("document.querySelector('#rounds ~ details').open")
    browser.run("document.querySelector('#pick-global0').focus()")
    browser.press("ArrowLeft", 37)
    said = browser.run("document.querySelector('figure[data-chart=global0] output').textContent")
    assert said.startswith("round 2: ")
    browser.run("document.querySelector('figure[data-chart=global0] label input').focus()")
    browser.press(" ", 32, " ")
    assert not browser.run("document.activeElement.checked")


@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_never_scrolls_sideways(browser: Browser, page: Path, width: int) -> None:
    """X10: usable on a phone: tables scroll inside of their own frames."""
    browser.open(page, width=width)
    browser.run(OPEN_ALL)
    assert browser.run("document.scrollingElement.scrollWidth") <= width
    targets = "[...document.querySelectorAll('button, .legend label, summary, .pick input')]"
    assert browser.run(f"Math.min(...{targets}.map((e) => e.getBoundingClientRect().height))") >= 24


@pytest.mark.parametrize(("scheme", "background"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 24, 28)")])
def test_it_follows_the_readers_colours(browser: Browser, page: Path, scheme: str, background: str) -> None:
    """X10: dark and light."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(page)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == background
    browser.call("Emulation.setEmulatedMedia", features=[])


def test_long_tables_come_in_pages_and_are_searched_whole(
    browser: Browser, tmp_path: Path, make_run: Callable[..., Path], make_record: Callable[..., RoundRecord]
) -> None:
    """X10: 300 sites: the first 50 are there, the last one is found."""
    sites = [f"site-{number:03}" for number in range(300)]
    browser.open(_report(make_run(tmp_path, [make_record(number, sites) for number in range(3)])))
    assert browser.complaints == []
    block = "document.querySelector('#sites ~ [data-paged]')"
    visible = (
        f"[...{block}.querySelectorAll('tbody tr')].filter((r) => r.offsetParent).map((r) => r.cells[0].innerText)"
    )
    assert browser.run(visible) == sites[:50]
    browser.run(f"{block}.querySelectorAll('button')[1].click()")
    assert browser.run(visible) == sites[50:100]
    browser.run(f"{block}.querySelector('[type=search]').focus()")
    browser.call("Input.insertText", text="SITE-299")
    assert browser.run(visible) == ["site-299"]
    assert browser.run(f"{block}.querySelector('[role=status]').textContent") == "1 found"
