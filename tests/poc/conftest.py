"""A job whose sites can be disturbed while it runs, and what a disturbed job left behind."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.ledger import Ledger, read_ledger
from rt_flare.jobs.outcome import read_summary
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.render import render_job

MODEL_DEF = """
import time

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)


def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    time.sleep(env["site_seconds"].get(env["SITE_NAME"], 1.5))
    logger(f"trained in round {env['CURRENT_ROUND']}")
    return {"weights": payload["initial_weights"], "samples": 5, "metrics": {"loss": 1.0}}
"""


@pytest.fixture
def steady_job(tmp_path: Path) -> Callable[..., Path]:
    """Render a job with the standard preset whose sites train 1.5 s a round, or as long as ``site_seconds`` says.

    Two of ``sites`` are enough for a round, which waits 10 s for the others and ends after ``deadline_seconds``.
    """

    def render(
        sites: Sequence[str], *, num_rounds: int, deadline_seconds: int, site_seconds: dict[str, float] | None = None
    ) -> Path:
        folder = tmp_path / "job"
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "model_def.py").write_text(MODEL_DEF)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # fewer than all sites are enough, on purpose
            return render_job(
                out=folder,
                model_def=tmp_path / "model_def.py",
                training=TrainingConfig(extra={"site_seconds": site_seconds or {}}),
                federation=FederationConfig(
                    num_rounds=num_rounds, min_clients=2, round_timeout_seconds=deadline_seconds, num_threads=1
                ),
                sites=sites,
                data_root=tmp_path / "data",
            )

    return render


@pytest.fixture
def await_round() -> Callable[[PocDeployment, str, int], None]:
    """Wait until a round of a running job is closed."""

    def wait(poc: PocDeployment, job_id: str, round_number: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            summary = read_summary(poc.run_dir(job_id, "server"))
            if summary is not None and len(summary.rounds) > round_number:
                return
            time.sleep(0.1)
        raise AssertionError(f"round {round_number} was not closed within 120 s")

    return wait


@pytest.fixture
def ledger_of(tmp_path: Path) -> Callable[[PocDeployment, str], Ledger]:
    """Download an ended job, and print and return what its rounds were."""

    def read(poc: PocDeployment, job_id: str) -> Ledger:
        [summary] = poc.download(job_id, tmp_path / "download").rglob("fl_round_complete.json")
        ledger = read_ledger(summary)
        print(f"\n{ledger.state}")
        for record in ledger.rounds:
            reasons = "; ".join(record.verdict_reasons)
            print(f"  {record.round} {record.verdict.value:9} {record.seconds:6.1f} s  {reasons}")
        return ledger

    return read
