"""The job's record on disk, and the published schemas that it keeps to (J5, J10)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from rt_flare.core.durable_io import json_bytes, read_json, to_strict_json
from rt_flare.core.ledger import (
    METRICS_FILE,
    METRICS_SUMMARY_FILE,
    ROUND_SUMMARY_FILE,
    EncodedRounds,
    Ledger,
    metrics_document,
    metrics_summary_document,
    read_ledger,
)
from rt_flare.core.round_record import (
    Contribution,
    ContributionStatus,
    Failure,
    PagedContributions,
    RoundRecord,
    Spread,
    Verdict,
)

SCHEMAS = {
    "round_summary": ROUND_SUMMARY_FILE,
    "metrics": METRICS_FILE,
    "metrics_summary": METRICS_SUMMARY_FILE,
    "job_status": "status.json",
    "model": "model_round_0.json",
    "environment": "environment.json",
    "contribution": "contributions.d/000000.ndjson",
}
RECORDS = {
    "round": RoundRecord,
    "contribution": Contribution,
    "failure": Failure,
    "paged": PagedContributions,
    "spread": Spread,
}
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
counts = st.integers(0, 2**53)
finite = st.floats(allow_nan=False, allow_infinity=False)
metrics = st.dictionaries(text, st.floats(), max_size=3)
failures = st.builds(
    Failure,
    kind=text,
    message=text,
    site=st.none() | text,
    round=st.none() | counts,
    file=st.none() | text,
    line=st.none() | st.integers(1, 10**6),
    traceback=st.none() | text,
)
contributions = st.builds(
    Contribution,
    site=text,
    status=st.sampled_from(ContributionStatus),
    reason=st.none() | text,
    num_samples=st.none() | counts,
    train_metrics=metrics,
    received_model_metrics=metrics,
    seconds=st.none() | st.floats(),
    warnings=st.lists(text, max_size=2),
    failure=st.none() | failures,
    work_seconds=st.none() | st.floats(),
)
spreads = st.builds(
    Spread, low=st.none() | finite, median=st.none() | finite, high=st.none() | finite, num_sites=st.integers(1, 9)
)
pages = st.builds(
    PagedContributions,
    file=st.just("contributions.d/000000.ndjson"),
    accepted=counts,
    rejected=counts,
    failed=counts,
    missing=counts,
    seconds=st.none() | spreads,
    work_seconds=st.none() | spreads,
    train_metrics=st.dictionaries(text, spreads, max_size=2),
    received_model_metrics=st.dictionaries(text, spreads, max_size=2),
)
records = st.builds(
    RoundRecord,
    round=st.integers(0, 5),
    verdict=st.sampled_from(Verdict),
    verdict_reasons=st.lists(text, max_size=2),
    started_at=st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='milliseconds')}+00:00"),
    seconds=st.floats(),
    num_samples=counts,
    weight_change=st.none() | st.floats(),
    collect_seconds=st.none() | st.floats(),
    aggregate_seconds=st.none() | st.floats(),
    save_seconds=st.none() | st.floats(),
    train_metrics=metrics,
    global_metrics=st.none() | metrics,
    contributions=st.lists(contributions, max_size=3),
    paged=st.none() | pages,
)
ledgers = st.builds(
    Ledger,
    job_id=text,
    num_rounds=counts,
    state=st.sampled_from(["PENDING", "RUNNING", "FINISHED", "FAILED", "CANCELLED"]),
    stop_reason=st.none() | text,
    error=st.none() | failures,
    rounds=st.lists(records, max_size=3, unique_by=lambda record: record.round),
)


def schema(name: str) -> dict[str, Any]:
    return json.loads(files("rt_flare").joinpath("schemas", f"{name}.schema.json").read_text(encoding="utf-8"))


def record(number: int, *, verdict: Verdict = Verdict.OK, **fields: Any) -> RoundRecord:
    values = {"started_at": "2024-01-01T00:00:00+00:00", "seconds": 1.5, "num_samples": 3, "contributions": []}
    return RoundRecord(round=number, verdict=verdict, **(values | fields))


def validate(document: Any, name: str) -> None:
    validator = jsonschema.Draft202012Validator(schema(name), format_checker=jsonschema.FormatChecker())
    validator.validate(document)


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of a schema."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from nodes(child)


def test_a_ledger_survives_its_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    """J10: NaN and infinities too."""
    folder = tmp_path_factory.mktemp("ledger")

    @given(ledgers)
    def check(ledger: Ledger) -> None:
        ledger.write_round_summary(folder)
        found = read_ledger(folder / ROUND_SUMMARY_FILE)
        assert repr(found) == repr(ledger)

    check()


@given(ledgers)
def test_what_is_written_keeps_to_the_published_schemas(
    tmp_path_factory: pytest.TempPathFactory, ledger: Ledger
) -> None:
    """J10: strict JSON, read from the files."""
    folder = tmp_path_factory.getbasetemp() / "schemas"
    ledger.write_round_summary(folder)
    ledger.write_metrics(folder)
    for name, file in list(SCHEMAS.items())[:3]:
        document = json.loads((folder / file).read_bytes(), parse_constant=pytest.fail)
        validate(document, name)


@pytest.mark.parametrize(("name", "record_type"), RECORDS.items())
def test_the_round_summarys_schema_names_exactly_the_fields_of_the_records(
    name: str, record_type: type[BaseModel]
) -> None:
    """J10: drift."""
    definition = schema("round_summary")["$defs"][name]
    assert list(definition["properties"]) == definition["required"] == list(record_type.model_fields)


def test_the_other_schemas_name_exactly_the_fields_that_are_written() -> None:
    """J10: drift."""
    contribution = Contribution(site="a", status=ContributionStatus.ACCEPTED)
    ledger = Ledger(job_id="j", num_rounds=1, rounds=[record(0, contributions=[contribution])])
    documents = {"metrics": metrics_document(ledger), "metrics_summary": metrics_summary_document(ledger)}
    assert list(schema("round_summary")["properties"]) == ["schema", *Ledger.model_fields]
    for name, document in documents.items():
        found = schema(name)
        round_ = document["rounds"][0] if name == "metrics" else document["last_round"]
        for properties, written in (
            (found["properties"], document),
            (found["$defs"]["round"]["properties"], round_),
            (found["$defs"]["site"]["properties"], round_["sites"][0]),
        ):
            assert list(properties) == list(written)
        assert found["properties"]["schema"]["const"] == document["schema"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_valid_closed_and_described(name: str) -> None:
    """J10"""
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for node in nodes(found):
        if isinstance(properties := node.get("properties"), dict) and "required" in node:
            assert node["additionalProperties"] is False
            assert list(properties) == node["required"]
            assert all(len(field["description"]) > 10 for field in properties.values())


def test_every_published_schema_is_tested() -> None:
    """J10: drift."""
    folder = files("rt_flare").joinpath("schemas")
    published = {path.name for path in folder.iterdir() if path.name.endswith(".json")}
    assert published == {f"{name}.schema.json" for name in SCHEMAS}


@pytest.mark.parametrize("change", [{"extra": 1}, {"rounds": None}, {"job_id": 3}, {"state": "DONE"}, {"schema": "x"}])
def test_the_schema_refuses_other_documents(change: dict[str, Any]) -> None:
    """J10"""
    document = to_strict_json({"schema": "rt_flare.round_summary/1", **Ledger(job_id="j", num_rounds=1).model_dump()})
    validate(document, "round_summary")
    with pytest.raises(jsonschema.ValidationError):
        validate(document | change, "round_summary")


@given(st.lists(ledgers, min_size=1, max_size=3))
def test_a_closed_round_is_encoded_once_and_nothing_else_changes(
    tmp_path_factory: pytest.TempPathFactory, versions: list[Ledger]
) -> None:
    """J10: the files are those that a writer without memory writes."""
    folder, encoded = tmp_path_factory.getbasetemp() / "encoded", (EncodedRounds(), EncodedRounds())
    for ledger in versions:
        ledger.write_round_summary(folder, encoded[0])
        ledger.write_metrics(folder, encoded[1])
        rounds = [record.to_json() for record in ledger.rounds]
        head = {"schema": "rt_flare.round_summary/1", **ledger.model_dump(exclude={"rounds"})}
        assert (folder / ROUND_SUMMARY_FILE).read_bytes() == json_bytes({**head, "rounds": rounds})
        assert (folder / METRICS_FILE).read_bytes() == json_bytes(metrics_document(ledger))


def test_a_round_replaces_itself_and_stays_in_order() -> None:
    """J10, X8: as when a job resumes."""
    ledger = Ledger(job_id="j", num_rounds=3)
    for number in (1, 0, 2):
        ledger.put(record(number))
    ledger.put(record(1, num_samples=99))
    assert [(r.round, r.num_samples) for r in ledger.rounds] == [(0, 3), (1, 99), (2, 3)]


def test_the_summary_tells_where_the_job_stands() -> None:
    """N4, X1: a round that failed has not given a model."""
    accepted = Contribution(site="a", status=ContributionStatus.ACCEPTED, num_samples=3)
    ledger = Ledger(job_id="j", num_rounds=3, state="FAILED")
    ledger.put(record(0, contributions=[accepted]))
    ledger.put(record(1, verdict=Verdict.DEGRADED, contributions=[accepted]))
    ledger.put(record(2, verdict=Verdict.FAILED, contributions=[accepted]))
    found = metrics_summary_document(ledger)
    assert (found["num_rounds_completed"], found["state"], found["last_round"]["round"]) == (2, "FAILED", 2)


def test_before_the_first_round_the_files_are_empty_but_valid(tmp_path: Path) -> None:
    """J10"""
    Ledger(job_id="j", num_rounds=3).write_metrics(tmp_path)
    assert read_json(tmp_path / METRICS_FILE) == {"schema": "rt_flare.metrics/1", "job_id": "j", "rounds": []}
    assert read_json(tmp_path / METRICS_SUMMARY_FILE)["last_round"] is None


def test_text_of_a_client_is_a_value(tmp_path: Path) -> None:
    """J10: whatever is in it."""
    nasty = '"},\n</script>\x00\u2028'
    ledger = Ledger(job_id="j", num_rounds=1, error=Failure(kind="exception", message=nasty))
    ledger.write_round_summary(tmp_path)
    error = read_ledger(tmp_path / ROUND_SUMMARY_FILE).error
    assert error is not None
    assert error.message == nasty


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"schema": "rt_flare.metrics/1"}'])
def test_another_document_is_refused(tmp_path: Path, content: bytes) -> None:
    """J10"""
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json: not a rt_flare\.round_summary/1 document"):
        read_ledger(tmp_path / "x.json")


def test_a_wrong_field_is_named(tmp_path: Path) -> None:
    """J10"""
    content = b'{"schema": "rt_flare.round_summary/1", "job_id": "j", "num_rounds": 1, "rounds": [{"round": 0}]}'
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValidationError, match=r"rounds\.0\.verdict"):
        read_ledger(tmp_path / "x.json")
