"""A project is rendered and submitted in one go (C5, K1)."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rt_flare.core.durable_io import read_json
from rt_flare.jobs import submit_project as module
from rt_flare.jobs.destination import Destination
from rt_flare.jobs.project import read_project
from rt_flare.jobs.submit_project import submit_project


def test_the_projects_job_goes_to_its_sites_with_its_data_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C5: what `submit_job` gets is the rendered job, while it exists."""
    (tmp_path / "shards").mkdir()
    with zipfile.ZipFile(tmp_path / "shards" / "shard_0001.zip", "w") as archive:
        archive.writestr("rows.csv", "a\n1\n")
    (tmp_path / "rt_flare.toml").write_text('template = "rt_custom"\n[federation]\njob_name = "mine"\n')
    (tmp_path / "model_def.py").write_text("class Model: ...\n")
    seen: dict[str, Any] = {}

    def submit_job(job: Path, folder: Path, destination: Destination, *, sites: Sequence[str]) -> str:
        seen.update(client=read_json(job / "app/config/config_fed_client.json"), sites=sites)
        return "job"

    monkeypatch.setattr(module, "submit_job", submit_job)
    folder = tmp_path / "jobs" / "mine"
    assert submit_project(read_project(tmp_path), folder, Destination("simulator")) == "job"
    assert seen["sites"] == ["site-1"]
    assert seen["client"]["DATA_DIR"] == str(folder / "data")
