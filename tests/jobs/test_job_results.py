"""Results in a folder and in a storage."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.job_results import JobResults, publish_results


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's folder, with more in it than results."""
    job = tmp_path / "jobs" / "digits"
    for name, content in {
        "files_out/metrics.json": b'{"rounds": []}',
        "files_out/site-1/round_0/notes.txt": b"caf\xe9",
        "model_out/global_model.pt": bytes(1000),
        "status.json": b"{}",
        "workspace/console.log": b"",
    }.items():
        (job / name).parent.mkdir(parents=True, exist_ok=True)
        (job / name).write_bytes(content)
    return job


def _check(results: JobResults, tmp_path: Path) -> None:
    assert [(file.name, file.size) for file in results.list()] == [
        ("files_out/metrics.json", 14),
        ("files_out/site-1/round_0/notes.txt", 4),
        ("model_out/global_model.pt", 1000),
    ]
    assert results.read_json("files_out/metrics.json") == {"rounds": []}
    assert results.read_text("files_out/site-1/round_0/notes.txt") == "caf\N{REPLACEMENT CHARACTER}"
    assert results.download("model_out/global_model.pt", tmp_path / "copy.pt").read_bytes() == bytes(1000)
    assert results.download("files_out/metrics.json", tmp_path) == tmp_path / "metrics.json"
    with pytest.raises(JobError, match="not valid JSON"):
        results.read_json("model_out/global_model.pt")
    for name in ("status.json", "files_out/../status.json", "/etc/passwd", "", "files_out", "files_out/none"):
        with pytest.raises(JobError, match="no result"):
            results.read_text(name)


def test_results_of_a_local_job(folder: Path, tmp_path: Path) -> None:
    """J13: listed, read, downloaded; a path that leads elsewhere is no result."""
    results = JobResults(folder)
    _check(results, tmp_path)
    with pytest.raises(ConfigError, match="no signed URLs"):
        results.url("files_out/metrics.json")
    assert JobResults(tmp_path / "nothing").list() == []


def test_results_in_a_storage_and_a_url_for_an_hour(folder: Path, tmp_path: Path, s3_server: Any) -> None:
    """J7, J13: whoever has the URL can read the file, and the URL holds no secret key."""
    place = f"{s3_server.url}/jobs/digits"
    publish_results(folder, place)
    results = JobResults(place)
    _check(results, tmp_path)
    url = results.url("files_out/metrics.json")
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["3600"]
    assert s3_server.secret not in url
    with urllib.request.urlopen(url, timeout=10) as reply:
        assert json.load(reply) == {"rounds": []}
