"""A real deployment in which user code dies, is killed, hangs and exhausts memory, one round after another."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.ledger import Ledger, read_ledger
from rt_flare.core.round_record import Contribution, ContributionStatus, Failure, Verdict
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.render import render_job

pytestmark = [pytest.mark.poc, pytest.mark.timeout(420)]

SITES = ["site-1", "site-2", "site-3"]
MODEL_DEF = """
import os
import time
from pathlib import Path

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)


def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    model = Model()
    model.load_state_dict(payload["initial_weights"])
    match env["SITE_NAME"], env["CURRENT_ROUND"]:
        case "site-1", 1:
            Path(env["STATE_DIR"], "worker.pid").write_text(str(os.getpid()))
            time.sleep(120)
        case "site-2", 2:
            os._exit(139)
        case "site-3", 3:
            time.sleep(120)
        case "site-1", 4:
            torch.zeros(1 << 34)
    return {"weights": model.state_dict(), "samples": 5, "metrics": {"loss": 1.0}}
"""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Runs the job, kills a training worker by its pid on the way, and reads what the server recorded."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "model_def.py").write_text(MODEL_DEF)
    (folder / "data").mkdir()
    with pytest.warns(UserWarning, match="min_clients is 2 of 3 sites"):
        job = _render(folder)
    with PocDeployment(folder / "poc", SITES) as poc:
        job_id = poc.submit(job)
        _kill_worker(poc.run_dir(job_id, "site-1") / "state" / "worker.pid")
        assert poc.wait_for_job(job_id) == "FINISHED:COMPLETED"
        downloaded = poc.download(job_id, folder / "download")
    [summary] = downloaded.rglob("fl_round_complete.json")
    return read_ledger(summary)


def _render(folder: Path) -> Path:
    return render_job(
        out=folder / "job",
        model_def=folder / "model_def.py",
        training=TrainingConfig(),
        federation=FederationConfig(
            num_rounds=6, min_clients=2, wait_time_after_min_received=60, round_timeout_seconds=90, num_threads=1
        ),
        sites=SITES,
        data_root=folder / "data",
        client_variables={"TRAIN_TIMEOUT_SECONDS": 15, "WORKER_MEMORY_LIMIT_BYTES": 4 << 30},
    )


def _kill_worker(pid_file: Path) -> None:
    deadline = time.monotonic() + 120
    while not pid_file.exists() or not pid_file.read_text():
        assert time.monotonic() < deadline, "the training worker of site-1 did not start round 1"
        time.sleep(0.1)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def _contribution(ledger: Ledger, round_number: int, site: str) -> Contribution:
    return next(c for c in ledger.rounds[round_number].contributions if c.site == site)


def _failure(ledger: Ledger, round_number: int, site: str) -> Failure:
    contribution = _contribution(ledger, round_number, site)
    assert contribution.status is ContributionStatus.FAILED
    assert contribution.failure is not None
    return contribution.failure


def test_the_job_finishes_and_only_the_rounds_with_a_fault_are_degraded(ledger: Ledger) -> None:
    """X1: the verdict of each round says what it was; no fault of user code ends the job."""
    assert ledger.state == "FINISHED"
    assert [record.verdict for record in ledger.rounds] == [Verdict.OK, *[Verdict.DEGRADED] * 4, Verdict.OK]


@pytest.mark.parametrize(("fault_round", "site"), [(1, "site-1"), (2, "site-2"), (3, "site-3"), (4, "site-1")])
def test_the_others_complete_the_round_and_the_site_is_back_in_the_next(
    ledger: Ledger, fault_round: int, site: str
) -> None:
    """X7: a new training worker serves the next round."""
    others = [c.status for c in ledger.rounds[fault_round].contributions if c.site != site]
    assert others == [ContributionStatus.ACCEPTED] * 2
    assert _contribution(ledger, fault_round + 1, site).status is ContributionStatus.ACCEPTED


def test_a_worker_killed_from_outside_is_reported(ledger: Ledger) -> None:
    """J12: SIGKILL, as the kernel's out-of-memory killer sends it."""
    failure = _failure(ledger, 1, "site-1")
    assert failure.kind == "worker_died"
    assert "SIGKILL" in failure.message


def test_a_worker_that_exits_is_reported_with_its_code(ledger: Ledger) -> None:
    """J12: os._exit(139), which ends an unprotected job process and with it the whole job."""
    failure = _failure(ledger, 2, "site-2")
    assert failure.kind == "worker_died"
    assert "139" in failure.message


def test_training_beyond_its_deadline_is_ended_and_reported(ledger: Ledger) -> None:
    """X7: a hung site never hangs the job."""
    failure = _failure(ledger, 3, "site-3")
    assert failure.kind == "worker_timeout"
    assert "15 s" in failure.message
    assert failure.file == "model_def.py"
    assert "time.sleep(120)" in MODEL_DEF.splitlines()[(failure.line or 0) - 1]
    assert 15 <= (_contribution(ledger, 3, "site-3").seconds or 0) < 60


def test_an_allocation_that_fails_is_reported_with_its_line(ledger: Ledger) -> None:
    """J12: out of memory under a limit on the worker, as an error of that line and not a dead process."""
    failure = _failure(ledger, 4, "site-1")
    assert failure.kind == "out_of_memory"
    assert failure.file == "model_def.py"
    assert "torch.zeros(1 << 34)" in MODEL_DEF.splitlines()[(failure.line or 0) - 1]
