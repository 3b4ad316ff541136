"""``rt-flare resume`` after an interrupted ``rt-flare run``, and of a submitted job."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.render import render_job

RtFlare = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.slow, pytest.mark.simulator, pytest.mark.timeout(300)]

MODEL_DEF = """
import time

import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(4))


def fl_train_model(payload, out_dir, logger=None):
    time.sleep(1.5)
    return {"weights": {"w": payload["initial_weights"]["w"] + 1}, "samples": 5, "metrics": {"loss": 1.0}}
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job folder of four rounds for two sites, which train 1.5 s a round."""
    (tmp_path / "data").mkdir()
    (tmp_path / "model_def.py").write_text(MODEL_DEF)
    federation = FederationConfig(num_rounds=4, min_clients=2, num_threads=1, job_name="steady")
    return render_job(
        out=tmp_path / "steady",
        model_def=tmp_path / "model_def.py",
        training=TrainingConfig(),
        federation=federation,
        sites=["site-1", "site-2"],
        data_root=tmp_path / "data",
    )


def _interrupt_after_a_round(tmp_path: Path, *arguments: str) -> str:
    command = [sys.executable, "-c", "from rt_flare.cli.app import main; main()", *arguments]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    model = tmp_path / "steady-run" / "workspace" / "simulator" / "server" / "simulate_job" / "model_out"
    deadline = time.monotonic() + 90
    while not (model / "global_model.json").exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=30)
    assert run.returncode == 130
    return stderr


def test_an_interrupted_run_goes_on_where_it_was(rt_flare: RtFlare, job: Path, tmp_path: Path) -> None:
    """X8, N6: as many rounds as it was to have, each once, all models, and the logs of both runs."""
    stderr = _interrupt_after_a_round(tmp_path, "run", str(job), "-n", "2")
    assert "rt-flare resume goes on after its last complete round" in stderr
    done = rt_flare("resume", "steady-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FINISHED: 4 of 4 rounds" in done.stdout
    results = tmp_path / "steady-run"
    ledger = json.loads((results / "files_out" / "fl_round_complete.json").read_text())
    assert [record["round"] for record in ledger["rounds"]] == [0, 1, 2, 3]
    assert len(list((results / "model_out").glob("model_round_*.pt"))) == 4
    assert (results / "files_out" / "run.1" / "server.log").is_file()
    again = rt_flare("resume", "steady-run", "--format", "json")
    assert again.returncode == 1
    assert "all its 4 rounds are done" in json.loads(again.stdout)["error"]["message"]
