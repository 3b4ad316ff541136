"""The status of a job, and its file."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from pydantic import BaseModel

from rt_flare.core.round_record import Failure, Verdict
from rt_flare.errors import JobError
from rt_flare.jobs.job_status import (
    STATUS_FILE,
    JobStatus,
    Owner,
    Progress,
    SiteStatus,
    now_text,
    read_status,
    write_status,
)
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.worker_counts import WorkerCounts


def _status() -> JobStatus:
    error = Failure(kind="exception", message="ValueError: x", site="b", round=1, file="model_def.py", line=3)
    return JobStatus(
        name="digits",
        where="simulator",
        job_id="simulate_job",
        state=JobState.FAILED,
        workers=WorkerCounts(total=2, connected=1, errors=1, disconnected=1),
        sites=(SiteStatus(name="a", connected=True, seen=True), SiteStatus(name="b", seen=True, error=error)),
        progress=Progress(round=0, num_rounds=3, verdict=Verdict.OK, metrics={"loss": math.nan, "up": math.inf}),
        error=error,
        submitted_at=now_text(),
        updated_at=now_text(),
        owner=Owner.this_process("mark"),
    )


def test_the_file_is_strict_json_and_reads_back_as_it_was(tmp_path: Path) -> None:
    """J5, J10: NaN and infinity have names."""
    write_status(tmp_path, _status())
    text = (tmp_path / STATUS_FILE).read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    found = read_status(tmp_path)
    assert math.isnan(found.progress.metrics["loss"])
    assert math.isinf(found.progress.metrics["up"])
    assert found.document() | {"progress": None, "updated_at": None, "submitted_at": None} == _status().document() | {
        "progress": None,
        "updated_at": None,
        "submitted_at": None,
    }


def _schema() -> dict[str, Any]:
    return json.loads(files("rt_flare").joinpath("schemas", "job_status.schema.json").read_text())


def _validate(document: Any) -> None:
    validator = jsonschema.Draft202012Validator(_schema(), format_checker=jsonschema.FormatChecker())
    validator.validate(document)


@pytest.mark.parametrize("status", [_status(), _status().model_copy(update={"owner": None, "progress": Progress()})])
def test_the_file_keeps_to_its_published_schema(tmp_path: Path, status: JobStatus) -> None:
    """J10: strict JSON, read from the file."""
    write_status(tmp_path, status)
    _validate(json.loads((tmp_path / STATUS_FILE).read_bytes(), parse_constant=pytest.fail))


def test_the_schema_names_exactly_the_fields_and_states() -> None:
    """J10, J1: drift."""
    schema = _schema()
    assert list(schema["properties"]) == ["schema", *JobStatus.model_fields]
    assert schema["properties"]["state"]["enum"] == [state.value for state in JobState]
    parts: dict[str, type[BaseModel]] = {
        "workers": WorkerCounts,
        "site": SiteStatus,
        "progress": Progress,
        "owner": Owner,
        "failure": Failure,
    }
    for name, part in parts.items():
        assert list(schema["$defs"][name]["properties"]) == list(part.model_fields)


@pytest.mark.parametrize("change", [{"state": "DONE"}, {"more": 1}, {"workers": {}}, {"updated_at": None}])
def test_the_schema_refuses_other_documents(tmp_path: Path, change: dict[str, Any]) -> None:
    """J10"""
    write_status(tmp_path, _status())
    with pytest.raises(jsonschema.ValidationError):
        _validate({**json.loads((tmp_path / STATUS_FILE).read_bytes()), **change})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "rt_flare.job_status/9"}', '{"name": "x"}'])
def test_a_file_that_is_no_status_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    """J1: never taken for a state."""
    (tmp_path / STATUS_FILE).write_text(text)
    with pytest.raises(JobError, match=r"status\.json.*expected a rt_flare\.job_status/1"):
        read_status(tmp_path)


def test_a_folder_without_a_job_is_refused(tmp_path: Path) -> None:
    """N6."""
    with pytest.raises(JobError, match="rt-flare submit"):
        read_status(tmp_path)


def test_a_dead_owner_is_told_from_a_living_one_and_from_a_stranger_with_its_number() -> None:
    """J5: by the process id and its start time."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(process.pid).create_time()
    owner = Owner.this_process("m").model_copy(update={"pid": process.pid, "started": started})
    assert owner.is_here
    assert owner.is_alive
    assert not owner.model_copy(update={"started": started - 60}).is_alive
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not owner.is_alive  # a zombie
    process.wait()
    assert not owner.is_alive
