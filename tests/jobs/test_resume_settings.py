"""A job folder's settings for going on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rt_flare.errors import ResumeError
from rt_flare.jobs.resume_settings import set_resumption

RT = "rt_flare.components.controller.RtFedAvg"


def _job(folder: Path, *workflows: dict[str, Any], name: str = "config_fed_server.json", **top: Any) -> Path:
    config = folder / "app" / "config"
    config.mkdir(parents=True)
    (config / name).write_text(json.dumps({**top, "workflows": list(workflows)}))
    return folder


def _written(job: Path) -> dict[str, Any]:
    return dict(json.loads((job / "app" / "config" / "config_fed_server.json").read_text()))


def test_the_variable_that_holds_the_rounds_is_changed(tmp_path: Path) -> None:
    """X8, N1: as the templates have it."""
    job = _job(tmp_path, {"path": RT, "args": {"num_rounds": "{NUM_ROUNDS}"}}, NUM_ROUNDS=10)
    assert set_resumption(job, ["b", "a"], None) == 10
    assert set_resumption(job, ["b", "a"], 12) == 12
    assert _written(job)["NUM_ROUNDS"] == 12
    assert _written(job)["workflows"][0]["args"] == {"num_rounds": "{NUM_ROUNDS}", "resume_from": ["b", "a"]}
    set_resumption(job, [], None)
    assert _written(job)["workflows"][0]["args"] == {"num_rounds": "{NUM_ROUNDS}"}


def test_a_conf_file_becomes_json_so_that_nvflare_reads_one_only(tmp_path: Path) -> None:
    """X8, N1: a number that stands in the arguments, or in none."""
    job = _job(tmp_path / "a", {"path": RT, "args": {"num_rounds": 3}}, name="config_fed_server.conf")
    assert set_resumption(job, ["x"], 4) == 4
    assert _written(job)["workflows"][0]["args"] == {"num_rounds": 4, "resume_from": ["x"]}
    assert not (job / "app" / "config" / "config_fed_server.conf").exists()
    assert set_resumption(_job(tmp_path / "b", {"path": RT}), ["x"], None) == 5


def test_another_workflow_is_refused_by_name(tmp_path: Path) -> None:
    """X8: NVFlare's own cannot go on."""
    job = _job(tmp_path / "a", {"path": "nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather", "args": {}})
    with pytest.raises(ResumeError, match=r"scatter_and_gather\.ScatterAndGather, expected rt_flare.*others do not"):
        set_resumption(job, ["x"], None)
    with pytest.raises(ResumeError, match="found 0 server configurations, expected one"):
        set_resumption(tmp_path / "nowhere", ["x"], None)
