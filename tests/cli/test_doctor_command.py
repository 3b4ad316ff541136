"""``rt-flare doctor``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

RtFlare = Callable[..., "subprocess.CompletedProcess[str]"]
LOG = """2026-11-20 15:50:16,998 - PayloadExecutor - ERROR - [identity=site-2, run=4806] - task train failed: \
site-2, round 1: MemoryError: \x1b[31mno [bold]more[/bold] (model_def.py:12)
  Traceback (most recent call last):
    File "model_def.py", line 12, in fl_train_model
      everything = bytearray(1 << 60)
  MemoryError: no more
"""


@pytest.fixture
def failed_run(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "files_out"
    folder.mkdir(parents=True)
    (folder / "client_2.log").write_text(LOG)
    return tmp_path / "run"


def test_the_root_is_shown_with_place_cause_and_fix(rt_flare: RtFlare, failed_run: Path) -> None:
    """X6: text from logs is neither markup nor a command to the terminal."""
    done = rt_flare("doctor", str(failed_run))
    assert done.returncode == 1
    assert "Root cause: Out of memory (out_of_memory)" in done.stdout
    assert "Where:      site-2, round 1, model_def.py:12" in done.stdout
    assert r"MemoryError: \x1b[31mno [bold]more[/bold]" in done.stdout
    assert "Fix:        Lower batch_size" in done.stdout
    assert "everything = bytearray(1 << 60)" in done.stdout
    assert "\x1b" not in done.stdout


def test_json_is_one_document(rt_flare: RtFlare, failed_run: Path) -> None:
    """N6, X6"""
    done = rt_flare("doctor", str(failed_run), "--format", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["command"]) == (1, 1, "doctor")
    assert document["error"] is None
    assert document["root"] == document["findings"][0]
    root = document["root"]
    assert (root["row"], root["kind"], root["site"], root["line"]) == ("out_of_memory", "out_of_memory", "site-2", 12)
    assert root["fix"]


def test_a_healthy_job_is_zero_and_no_log_is_wrong_usage(rt_flare: RtFlare, tmp_path: Path) -> None:
    """N6"""
    (tmp_path / "server.log").write_text("2026-11-20 15:50:16,998 - x - INFO - fine\n")
    done = rt_flare("doctor", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Nothing found that failed the job." in done.stdout
    assert rt_flare("doctor", str(tmp_path / "nowhere")).returncode == 4
