"""``rt-flare run``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

RtFlare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.simulator
@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.simulator
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_cancelled_and_leaves_no_process(
    mini_job: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """J4, N6, X7."""
    module = mini_job / "app" / "custom" / "mini.py"
    busy = "import os, time; Path(os.environ['STARTED']).touch(); time.sleep(600)"
    module.write_text(module.read_text().replace("# TRAIN", busy))
    started = tmp_path / "started"
    command = [sys.executable, "-c", "from rt_flare.cli.app import main; main()", "run", str(mini_job), "--format=json"]
    environment = {**os.environ, "STARTED": str(started)}
    run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not started.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    family = psutil.Process(run.pid).children(recursive=True)
    assert len(family) >= 3
    run.send_signal(number)
    stdout, _ = run.communicate(timeout=30)
    assert run.returncode == 130
    assert json.loads(stdout)["state"] == "CANCELLED"
    assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
