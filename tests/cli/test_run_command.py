"""``rt-flare run``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

RtFlare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.simulator
def test_a_job_runs_and_its_results_are_collected(rt_flare: RtFlare, mini_job: Path, tmp_path: Path) -> None:
    """J8, N6: plain lines in a pipe."""
    done = rt_flare("run", str(mini_job))
    assert done.returncode == 0, done.stderr
    assert "round 1: OK, loss 0.5000" in done.stdout
    assert "FINISHED: 2 of 2 rounds" in done.stdout
    assert "\x1b" not in done.stdout
    assert (tmp_path / "mini_job-run" / "files_out" / "site-2" / "round_0" / "note.txt").read_text() == "site-2"


@pytest.mark.simulator
def test_a_failed_job_is_one_json_document_with_exit_code_1(rt_flare: RtFlare, mini_job: Path, tmp_path: Path) -> None:
    """J5, N6."""
    module = mini_job / "app" / "custom" / "mini.py"
    module.write_text(module.read_text().replace("# TRAIN", "raise ValueError('no scanner')"))
    done = rt_flare("run", str(mini_job), "--sites", "a,b", "--out", "results", "--format", "json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["state"], document["exit_code"]) == ("FAILED", 1)
    assert document["error"]["message"] == "ValueError: no scanner"
    assert document["error"]["file"] == "mini.py"
    assert document["sites"] == ["a", "b"]
    assert all(Path(path).is_file() for path in document["outputs"])
    assert document["job_dir"] == str(tmp_path / "results")
