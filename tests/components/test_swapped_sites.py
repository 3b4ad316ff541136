"""Sites that share processes in NVFlare's simulator, and lose their memory between two tasks (X3, J8)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.render import render_job
from rt_flare.jobs.simulator import run_simulator

pytestmark = [pytest.mark.slow, pytest.mark.simulator, pytest.mark.timeout(900)]

SITES = [f"site-{number}" for number in range(1, 17)]
NUM_ROUNDS = 2
MODEL_DEF = """
import os
from pathlib import Path

import torch
from torch import nn

calls = 0


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 8)
        self.norm = nn.BatchNorm1d(8)


def fl_train_model(payload, out_dir, logger=None):
    global calls
    calls += 1
    env = payload["env"]
    notes = Path(env["STATE_DIR"], "rounds")
    notes.parent.mkdir(parents=True, exist_ok=True)
    seen = len(notes.read_text()) if notes.exists() else 0
    notes.write_text("x" * (seen + 1))
    Path(out_dir, "process.txt").write_text(f"{os.getpid()} {calls}")
    weights = payload["initial_weights"]
    for tensor in weights.values():
        if tensor.is_floating_point():
            tensor += torch.randn(tensor.shape) * (seen + 1)
        else:
            tensor += 1
    return {"weights": weights, "samples": 3 + int(env["SITE_NAME"][5:]), "metrics": {"seen": seen}}
"""


def _run(folder: Path, threads: int) -> RunOutcome:
    folder.mkdir()
    (folder / "model_def.py").write_text(MODEL_DEF)
    (folder / "data").mkdir()
    job = render_job(
        out=folder / "job",
        model_def=folder / "model_def.py",
        training=TrainingConfig(),
        federation=FederationConfig(
            num_rounds=NUM_ROUNDS, min_clients=len(SITES), deterministic=True, seed=5, num_threads=1
        ),
        sites=SITES,
        data_root=folder / "data",
    )
    outcome = run_simulator(job, folder / "run", SITES, threads=threads)
    assert outcome.state is JobState.FINISHED, outcome.error
    print(f"\n{threads} threads: {outcome.seconds:.0f} s, rounds of {[round(r.seconds) for r in outcome.rounds]} s")
    return outcome


def _processes(outcome: RunOutcome, round_number: int) -> list[tuple[str, str]]:
    """(process id, number of its calls so far) of every site's user code in a round."""
    files = [outcome.site_dirs[site] / "out" / f"round_{round_number}" / "process.txt" for site in SITES]
    return [(pid, calls) for pid, calls in (file.read_text().split() for file in files)]


def test_sixteen_sites_on_two_threads_give_the_model_of_sixteen_threads(tmp_path: Path) -> None:
    """X3: bit for bit, though every task is served by a new process; what is in STATE_DIR is kept (M2)."""
    swapped, resident = _run(tmp_path / "swapped", 2), _run(tmp_path / "resident", 16)
    assert {calls for _, calls in _processes(swapped, 1)} == {"1"}
    assert {calls for _, calls in _processes(resident, 1)} == {"2"}
    assert not set(_processes(swapped, 0)) & set(_processes(swapped, 1))
    for number in range(NUM_ROUNDS):
        one, other = (
            torch.load(run.server_dir / "model_out" / f"model_round_{number}.pt", weights_only=True)
            for run in (swapped, resident)
        )
        assert list(one) == list(other)
        assert all(one[name].numpy().tobytes() == other[name].numpy().tobytes() for name in one)
    for here, there in zip(swapped.rounds, resident.rounds, strict=True):
        assert here.verdict == there.verdict == "OK"
        assert [c.train_metrics for c in here.contributions] == [c.train_metrics for c in there.contributions]
        assert {c.train_metrics["seen"] for c in here.contributions} == {float(here.round)}
