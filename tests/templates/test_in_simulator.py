"""Every template in NVFlare's simulator, as `rt-flare job new` makes it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from rt_flare.core.round_record import Verdict
from rt_flare.jobs.job_folder import create_job
from rt_flare.jobs.outcome import JobState, RunOutcome
from rt_flare.jobs.simulator import run_simulator

pytestmark = [pytest.mark.simulator, pytest.mark.timeout(300)]

SITES = ["site-1", "site-2"]
# Each round adds the site's number, so the mean weighted by 10 and 20 samples grows by 5 / 3.
MODEL_DEF = """
from pathlib import Path

import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2, 3))


class Readings(torch.utils.data.Dataset):
    def __init__(self, data_root):
        self.rows = [float(line) for line in (Path(data_root) / "rows.txt").read_text().split()]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def fl_train_model(payload, out_dir, logger=None):
    number = int(payload["env"]["SITE_NAME"][-1])
    dataset = Readings(payload["dataset"]["data_root"])
    weights = {name: tensor + number for name, tensor in (payload["initial_weights"] or FIRST).items()}
    return {"weights": weights, "samples": len(dataset) * number, "metrics": {"loss": dataset[0]}}


def fl_validate_model(payload, out_dir, logger=None):
    return {"metrics": {"accuracy": 0.5}}
"""
FIRST = 'FIRST = {"weight": torch.zeros(2, 3)}\n'
LORA = FIRST.replace("weight", "layer.lora_A")


def _run(template: str, tmp_path: Path, values: list[str], *, first: str = FIRST, code: bool = True) -> RunOutcome:
    data, module = tmp_path / "data", tmp_path / "model_def.py"
    data.mkdir()
    (data / "rows.txt").write_text("0.25 " * 10)
    module.write_text(MODEL_DEF + first)
    # The simulator's own turnaround makes intervals above 0.4 s a matter of waiting.
    few = ["NUM_ROUNDS=2", "MIN_CLIENTS=2", "min_clients=2", "NUM_THREADS=1", "TASK_REQUEST_INTERVAL=0.4"]
    few += [f"DATA_ROOT={data}", *values]
    create_job(template, tmp_path / "job", few, model_def=module if code else None)
    return run_simulator(tmp_path / "job", tmp_path / "workspace", SITES)


def _assert_trained(outcome: RunOutcome, *, name: str = "weight") -> None:
    assert outcome.state is JobState.FINISHED, outcome.error
    assert [record.verdict for record in outcome.rounds] == [Verdict.OK] * 2
    assert [record.num_samples for record in outcome.rounds] == [30, 30]
    model = torch.load(outcome.server_dir / "model_out/global_model.pt", weights_only=True)
    assert {key: tensor.shape for key, tensor in model.items()} == {name: (2, 3)}
    torch.testing.assert_close(model[name], torch.full((2, 3), 10 / 3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "template", ["rt_fedavg", "rt_custom", "rt_large_model", "rt_high_latency", "rt_hpc", "rt_sag"]
)
def test_the_template_trains(template: str, tmp_path: Path) -> None:
    """N1, N2, M12: two sites, two rounds, the weighted mean; the reader is the module's own."""
    _assert_trained(_run(template, tmp_path, []))


@pytest.mark.slow
def test_adapters_alone_make_the_global_model_of_an_empty_server(tmp_path: Path) -> None:
    """M8, N1: the server neither has the module of the model nor builds it; only adapters travel and are saved."""
    outcome = _run("rt_llm_lora", tmp_path, ["server.MODEL_PATH=base_model_that.the_server_lacks"], first=LORA)
    _assert_trained(outcome, name="layer.lora_A")
    sidecar = json.loads((outcome.server_dir / "model_out/global_model.json").read_text())
    assert sidecar["model_path"] == "base_model_that.the_server_lacks"


@pytest.mark.slow
def test_a_module_that_is_installed_at_the_sites_trains_without_code_in_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N1, N7: the job has no folder for code."""
    package = tmp_path / "installed/our_models"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "readings.py").write_text(MODEL_DEF + FIRST)
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)
    module = ["USER_MODULE=our_models.readings", "MODEL_PATH=our_models.readings.Model"]
    outcome = _run("rt_site_data", tmp_path, module, code=False)
    _assert_trained(outcome)
    assert not (tmp_path / "job/app/custom").exists()
