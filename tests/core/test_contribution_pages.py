"""The contributions of a large job, in files beside its record (J10)."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.contribution_pages import ContributionPages, read_page, with_paged_contributions
from rt_flare.core.ledger import Ledger, read_ledger
from rt_flare.core.round_record import Contribution, ContributionStatus, Failure, RoundRecord, Verdict

SITES = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 6 contributions, from the 7th contribution of a job on; two stay in a record."""
    monkeypatch.setattr("rt_flare.core.contribution_pages.PAGE_SIZE", 6)
    monkeypatch.setattr("rt_flare.core.contribution_pages.MAX_LISTED", 2)
    monkeypatch.setattr("rt_flare.core.ledger.MAX_CONTRIBUTIONS", 6)


def contribution(site: str, **fields: Any) -> Contribution:
    values: dict[str, Any] = {"status": ContributionStatus.ACCEPTED, "num_samples": 5, "train_metrics": {"loss": 1.0}}
    return Contribution(site=site, **(values | fields))


def record(number: int, contributions: list[Contribution] | None = None, **fields: Any) -> RoundRecord:
    given = [contribution(site) for site in SITES] if contributions is None else contributions
    values: dict[str, Any] = {"verdict": Verdict.OK, "started_at": "2024-01-01T00:00:00+00:00", "seconds": 1.5}
    return RoundRecord(round=number, num_samples=15, contributions=given, **(values | fields))


class Job:
    """A ledger and the folder that its writer keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(job_id="j", num_rounds=9)
        self.pages = ContributionPages()

    def close(self, closed: RoundRecord) -> None:
        for file, moved in self.ledger.put(closed):
            self.pages.add(self.folder, file, moved)
        self.pages.write(self.folder)
        self.ledger.write_round_summary(self.folder)

    def found(self) -> dict[str, list[tuple[int, str]]]:
        """(round, site) of every line, by file."""
        return {
            path.name: [(number, c.site) for number, c in read_page(path)]
            for path in sorted(self.folder.glob("contributions.d/*"))
        }


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_a_small_job_is_as_it_was(job: Job) -> None:
    """J10: up to the limit, the record holds every contribution."""
    for number in range(2):
        job.close(record(number))
    assert [len(r.contributions) for r in read_ledger(job.folder / "fl_round_complete.json").rounds] == [3, 3]
    assert all(r.paged is None for r in job.ledger.rounds)
    assert job.found() == {}


def test_beyond_the_limit_every_contribution_is_in_a_file_once(job: Job) -> None:
    """J10: none is lost or doubled, those of earlier rounds neither, and a round stays in one file."""
    for number in range(5):
        job.close(record(number))
    assert job.found() == {
        "000000.ndjson": [(number, site) for number in (0, 1) for site in SITES],
        "000002.ndjson": [(number, site) for number in (2, 3) for site in SITES],
        "000004.ndjson": [(4, site) for site in SITES],
    }
    rounds = read_ledger(job.folder / "fl_round_complete.json").rounds
    assert [r.paged and Path(r.paged.file).stem for r in rounds] == ["000000", "000000", "000002", "000002", "000004"]
    assert [(r.num_sites, r.num_accepted, r.contributions) for r in rounds] == [(3, 3, [])] * 5


def test_a_round_that_is_closed_again_stands_once(job: Job) -> None:
    """M5: when its model was evaluated; of a file that is full nothing is written again."""
    for number in range(3):
        job.close(record(number))
    last = record(3)
    job.close(last)
    full = job.folder / "contributions.d" / "000002.ndjson"
    before = full.stat().st_mtime_ns
    job.close(last.model_copy(update={"global_metrics": {"loss": 0.5}}))
    assert full.stat().st_mtime_ns == before
    assert job.found()["000002.ndjson"] == [(number, site) for number in (2, 3) for site in SITES]
    assert job.ledger.rounds[3].global_metrics == {"loss": 0.5}


def test_a_job_that_resumes_goes_on_in_its_files(job: Job) -> None:
    """X8: rounds that come again replace themselves."""
    for number in range(5):
        job.close(record(number))
    resumed = Job(job.folder)
    resumed.ledger = read_ledger(job.folder / "fl_round_complete.json")
    resumed.ledger.rounds = resumed.ledger.rounds[:4]
    again = [contribution(site, num_samples=7) for site in SITES]
    resumed.close(record(3, again))
    resumed.close(record(4, again))
    assert resumed.found() == {
        "000000.ndjson": [(number, site) for number in (0, 1) for site in SITES],
        "000002.ndjson": [(number, site) for number in (2, 3) for site in SITES],
        "000004.ndjson": [(4, site) for site in SITES],
    }
    samples = {(n, c.num_samples) for n, c in read_page(job.folder / "contributions.d" / "000002.ndjson")}
    assert samples == {(2, 5), (3, 7)}


def test_what_could_not_be_written_is_written_later(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """J10: a disk that is full for a moment."""
    for number in range(3):
        job.close(record(number))

    def refuse(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("rt_flare.core.contribution_pages.write_bytes", refuse)
        for number in (3, 4):
            with pytest.raises(OSError, match="No space left"):
                job.close(record(number))
    job.close(record(5))
    lines = [line for found in job.found().values() for line in found]
    assert lines == [(number, site) for number in range(6) for site in SITES]


def test_a_summary_counts_the_sites_and_names_the_first_that_failed(job: Job) -> None:
    """J10, X1: with the spread of times and metrics over the sites."""
    failure = Failure(kind="exception", message="boom", traceback="many lines")
    parts = [
        contribution("a", train_metrics={"loss": 1.0, "f1": math.nan}, seconds=1.0),
        contribution("b", train_metrics={"loss": 2.0}, seconds=3.0, work_seconds=2.0),
        contribution("c", train_metrics={"loss": 4.0}, seconds=8.0),
        contribution("d", status=ContributionStatus.FAILED, failure=failure, train_metrics={}),
        contribution("e", status=ContributionStatus.REJECTED, reason="not_finite", train_metrics={"loss": math.inf}),
        contribution("f", status=ContributionStatus.MISSING, reason="no answer", train_metrics={}),
        contribution("g", status=ContributionStatus.MISSING, reason="no answer", train_metrics={}),
    ]
    reasons = [f"{part.site} is missing" for part in parts[3:]]
    job.close(record(0, parts, verdict=Verdict.DEGRADED, verdict_reasons=reasons, train_metrics={"loss": 2.3}))
    (found,) = read_ledger(job.folder / "fl_round_complete.json").rounds
    assert found.paged is not None
    assert (found.paged.accepted, found.paged.rejected, found.paged.failed, found.paged.missing) == (3, 1, 1, 2)
    loss = found.paged.train_metrics["loss"]
    assert (loss.low, loss.median, loss.high, loss.num_sites) == (1.0, 2.0, 4.0, 4)
    assert found.paged.train_metrics["f1"].model_dump() == {"low": None, "median": None, "high": None, "num_sites": 1}
    assert found.paged.seconds is not None
    assert (found.paged.seconds.median, found.paged.seconds.num_sites) == (3.0, 3)
    assert found.paged.work_seconds is not None
    assert [c.site for c in found.contributions] == ["d", "e"]
    assert found.contributions[0].failure is not None
    assert found.contributions[0].failure.traceback is None
    assert found.verdict_reasons == [*reasons[:2], "and 2 more, in contributions.d/000000.ndjson"]
    assert (found.num_sites, found.num_accepted, found.train_metrics) == (7, 3, {"loss": 2.3})
    whole = {c.site: c for _, c in read_page(job.folder / "contributions.d" / "000000.ndjson")}
    assert repr([whole[part.site] for part in parts]) == repr(parts)


text = st.text(max_size=8)


@given(
    st.builds(
        Contribution,
        site=text,
        status=st.sampled_from(ContributionStatus),
        reason=st.none() | text,
        train_metrics=st.dictionaries(text, st.floats(), max_size=3),
        seconds=st.none() | st.floats(),
        warnings=st.lists(text, max_size=2),
        failure=st.none() | st.builds(Failure, kind=text, message=text),
    )
)
def test_every_line_keeps_to_the_published_schema(tmp_path_factory: pytest.TempPathFactory, one: Contribution) -> None:
    """J10: strict JSON, one line a contribution, whatever is in its texts."""
    folder = tmp_path_factory.getbasetemp() / "lines"
    pages = ContributionPages()
    pages.add(folder, "contributions.d/000003.ndjson", record(3, [one]))
    pages.write(folder)
    (line,) = (folder / "contributions.d" / "000003.ndjson").read_bytes().splitlines()
    schema = json.loads(files("rt_flare").joinpath("schemas", "contribution.schema.json").read_text(encoding="utf-8"))
    document = json.loads(line, parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert list(document) == list(schema["properties"]) == schema["required"]
    ((number, found),) = read_page(folder / "contributions.d" / "000003.ndjson")
    assert number == 3
    assert repr(found) == repr(one)


def test_text_that_is_not_unicode_comes_with_question_marks(tmp_path: Path) -> None:
    """J10: as in every other file."""
    pages = ContributionPages()
    one = contribution("a", reason="name \udcff", seconds=math.inf)
    pages.add(tmp_path, "contributions.d/000003.ndjson", record(3, [one]))
    pages.write(tmp_path)
    ((_, found),) = read_page(tmp_path / "contributions.d" / "000003.ndjson")
    assert (found.reason, found.seconds) == ("name ?", math.inf)


@pytest.mark.parametrize("line", ["[]", "{}", '{"round": 1, "site": "a"}', '{"round":', "1"])
def test_a_line_that_is_no_contribution_is_named(tmp_path: Path, line: str) -> None:
    """J10"""
    (tmp_path / "x.ndjson").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"x\.ndjson, line 1: expected a contribution"):
        list(read_page(tmp_path / "x.ndjson"))


def test_no_summary_names_a_file_elsewhere() -> None:
    """J10: what reads the files goes nowhere else."""
    (found,) = with_paged_contributions([record(0)])
    document = found.to_json()
    document["paged"]["file"] = "contributions.d/../../000000.ndjson"
    with pytest.raises(ValueError, match=r"paged\.file"):
        RoundRecord.model_validate(document)
