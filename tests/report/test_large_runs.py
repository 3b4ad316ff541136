"""The report of a job whose contributions stand in files of their own (X10, J10)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.core.contribution_pages import ContributionPages
from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import ContributionStatus, Failure, RoundRecord, Verdict
from rt_flare.jobs.job_status import JobStatus, SiteStatus
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.site_errors import with_last_errors
from rt_flare.report.contents import ReportContents, report_contents
from rt_flare.report.markdown import render_markdown
from rt_flare.report.page import render_html
from rt_flare.report.run_folder import read_run

Make = Callable[..., RoundRecord]
SITES = [f"site-{number:02}" for number in range(20)]
NUM_ROUNDS = 4


@pytest.fixture
def folder(tmp_path: Path, make_record: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 20 sites; in round 2, three of them give an update that is refused, and all warn."""
    monkeypatch.setattr("rt_flare.core.ledger.MAX_CONTRIBUTIONS", 30)
    monkeypatch.setattr("rt_flare.core.contribution_pages.PAGE_SIZE", 30)
    monkeypatch.setattr("rt_flare.core.contribution_pages.MAX_LISTED", 2)
    ledger, pages = Ledger(job_id="j", num_rounds=NUM_ROUNDS, state="FINISHED"), ContributionPages()
    files = tmp_path / "files_out"
    for number in range(NUM_ROUNDS):
        refused = {"status": ContributionStatus.REJECTED, "reason": "not_finite", "warnings": ["odd"], "seconds": 9.0}
        record = make_record(number, SITES, changes=dict.fromkeys(SITES[:3], refused) if number == 2 else {})
        if number == 2:
            reasons = [f"{site} rejected: not_finite" for site in SITES[:3]]
            record = record.model_copy(update={"verdict": Verdict.DEGRADED, "verdict_reasons": reasons})
        for file, moved in ledger.put(record):
            pages.add(files, file, moved)
    pages.write(files)
    ledger.write_round_summary(files)
    return tmp_path


def contents_of(folder: Path) -> ReportContents:
    return report_contents(read_run(folder), seen_from=folder)


def test_every_site_has_its_counts_from_the_files(folder: Path) -> None:
    """X10, X7"""
    contents = contents_of(folder)
    assert [row.num_accepted for row in contents.rounds] == [20, 20, 17, 20]
    assert [row.site for row in contents.sites] == SITES
    assert [row.counts["rejected"] for row in contents.sites[:4]] == [1, 1, 1, 0]
    assert contents.sites[0].problem == "not_finite"
    assert [run.length for run in contents.sites[3].runs] == [NUM_ROUNDS]
    assert [(w.text, w.count, w.first_round, len(w.sites)) for w in contents.warnings] == [("odd", 3, 2, 3)]


def test_the_slowest_sites_of_a_round_are_found_in_its_file(folder: Path) -> None:
    """X10"""
    detail = contents_of(folder).details[2]
    assert [time.site for time, _ in detail.sites[:3]] == SITES[:3]
    assert len(detail.sites) + detail.num_more == 20


def test_a_metric_is_drawn_as_an_area_with_its_median(folder: Path) -> None:
    """X10, M5: of the local models and of the global one."""
    ((_, local, seen), *_) = contents_of(folder).charts
    assert local is not None
    assert seen is not None
    for chart in (local, seen):
        assert chart.band
        assert chart.note == "The area holds all 20 sites."
        assert [curve.style for curve in chart.curves][-1] == "median"


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_both_forms_count_the_sites(folder: Path, render: Callable[[ReportContents], str]) -> None:
    """X10"""
    text = render(contents_of(folder))
    assert "17 of 20" in text
    assert text.count("20 of 20") >= 3


def test_without_its_files_a_run_is_still_reported(folder: Path) -> None:
    """X10: as when only the JSON files were kept; a note says what is missing."""
    for page in (folder / "files_out" / "contributions.d").iterdir():
        page.unlink()
    contents = contents_of(folder)
    assert [row.num_accepted for row in contents.rounds] == [20, 20, 17, 20]
    assert contents.sites == ()
    assert len(contents.run.notes) == 2
    assert all("contributions.d/0000" in note for note in contents.run.notes)
    assert contents.charts[0][1] is not None


def test_a_file_that_is_damaged_is_noted(folder: Path) -> None:
    """X10"""
    page = folder / "files_out" / "contributions.d" / "000000.ndjson"
    page.write_bytes(page.read_bytes()[:-20])
    (note,) = contents_of(folder).run.notes
    assert "line 40" in note


def test_rounds_that_came_again_after_a_resume_count_once(folder: Path) -> None:
    """X8: what an earlier start left in another file does not."""
    page = folder / "files_out" / "contributions.d" / "000000.ndjson"
    other = folder / "files_out" / "contributions.d" / "000002.ndjson"
    page.write_bytes(page.read_bytes() + other.read_bytes())
    assert [row.num_rounds for row in contents_of(folder).sites] == [NUM_ROUNDS] * 20


def test_a_status_takes_the_last_rounds_errors_of_a_large_job(folder: Path) -> None:
    """J6: a site that the record does not name was accepted, when it names all that were not."""
    rounds = read_run(folder).ledger.rounds
    failed = SiteStatus(name="site-07", error=Failure(kind="exception", message="boom", site="site-07"))
    status = JobStatus(name="n", where="poc", submitted_at="", updated_at="", sites=(failed,))
    outcome = RunOutcome(JobState.FINISHED, None, None, "j", 4, tuple(rounds), folder, folder, {}, {})
    assert with_last_errors(status, outcome).sites[0].error is None
