"""The quickstart's job on a real deployment: submitted, awaited and downloaded with NVFlare's own commands."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from rt_flare.core.ledger import Ledger, read_ledger
from rt_flare.jobs.poc import PocDeployment
from rt_flare.quickstart.demo import QuickstartResult, run_quickstart

pytestmark = [pytest.mark.poc, pytest.mark.simulator, pytest.mark.timeout(600)]

SITES = ["site-1", "site-2", "site-3"]
NUM_ROUNDS = 3


@dataclass(frozen=True)
class Deployed:
    """What the deployment gave.

    Attributes:
        simulated: the same job in the simulator.
        reply: data of `nvflare job download`.
        status: that of `nvflare job wait`.
        folder: the download.
        left_over: processes that were alive after everything was stopped.
    """

    simulated: QuickstartResult
    reply: dict[str, Any]
    status: str
    folder: Path
    left_over: list[psutil.Process]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """Runs the quickstart's job in the simulator, then the same job folder on a server and three sites."""
    folder = tmp_path_factory.mktemp("deployment")
    simulated = run_quickstart(folder / "quickstart", num_rounds=NUM_ROUNDS, seed=0)
    started: set[psutil.Process] = set()
    with PocDeployment(folder / "poc", SITES) as poc:
        job_id = poc.nvflare("job", "submit", "-j", str(simulated.job_dir / "job"))["job_id"]
        status = poc.nvflare("job", "wait", job_id, timeout_seconds=300)["status"]
        for site in ["server", *SITES]:
            started.update(poc.site_processes(site))
        reply = poc.nvflare("job", "download", job_id, "-o", str(folder / "download"))
    _, left_over = psutil.wait_procs(started, timeout=5)
    return Deployed(simulated, reply, status, folder / "download" / job_id, left_over)


def _ledger(deployed: Deployed) -> Ledger:
    return read_ledger(deployed.folder / "workspace" / "files_out" / "fl_round_complete.json")


def test_the_job_completes(deployed: Deployed) -> None:
    """N2: the same job folder, unchanged."""
    assert deployed.status == "FINISHED:COMPLETED"
    assert _ledger(deployed).state == "FINISHED"
    assert len(_ledger(deployed).rounds) == NUM_ROUNDS


def test_nvflare_finds_the_model_and_the_metrics(deployed: Deployed) -> None:
    """N4: as artifacts of `nvflare job download`."""
    artifacts = deployed.reply["artifacts"]
    model = torch.load(artifacts["global_model"], weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in model.values())
    metrics = json.loads(Path(artifacts["metrics_summary"]).read_text())
    assert metrics["num_rounds_completed"] == NUM_ROUNDS


def test_simulator_and_deployment_give_the_same_model_byte_for_byte(deployed: Deployed) -> None:
    """X3: deterministic mode and a fixed seed."""
    simulated = deployed.simulated.job_dir / "model_out"
    models = sorted(path.name for path in simulated.glob("*.pt"))
    assert models == ["global_model.pt", *(f"model_round_{i}.pt" for i in range(NUM_ROUNDS))]
    for name in models:
        here, there = simulated / name, deployed.folder / "workspace" / "model_out" / name
        assert hashlib.sha256(here.read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest(), name


def test_both_tell_the_same_story(deployed: Deployed) -> None:
    """J10: verdicts, samples and metrics of every site and round."""
    for here, there in zip(deployed.simulated.outcome.rounds, _ledger(deployed).rounds, strict=True):
        assert (here.verdict, here.num_samples) == (there.verdict, there.num_samples)
        assert here.global_metrics == there.global_metrics
        assert [c.train_metrics for c in here.contributions] == [c.train_metrics for c in there.contributions]


def test_nothing_is_left_running(deployed: Deployed) -> None:
    """Everything that was started is stopped."""
    assert deployed.left_over == []
