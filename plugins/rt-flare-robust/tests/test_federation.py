"""One site of four lies: the mean of the updates fails, their median and trimmed mean do not (P4)."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.render import render_job
from rt_flare.jobs.simulator import run_simulator

sklearn_datasets = pytest.importorskip("sklearn.datasets")

MODEL_DEF = Path(__file__).parents[1] / "example" / "model_def.py"
NVFLARE = "nvflare.app_common"
SITES = ["site-1", "site-2", "site-3", "site-4"]


def write_shards(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Write four shards of the digits; returns pixels and labels that no site has."""
    pixels, labels = sklearn_datasets.load_digits(return_X_y=True)
    pixels, labels = (pixels / 16).astype(np.float32), labels.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    held_out, training = order[:360], order[360:]
    folder.mkdir()
    for number in range(1, 5):
        part = training[number - 1 :: 4]
        file = folder / "digits.npz"
        np.savez(file, pixels=pixels[part], labels=labels[part])
        with zipfile.ZipFile(folder / f"shard_{number:04d}.zip", "w") as archive:
            archive.write(file, file.name)
        file.unlink()
    return torch.from_numpy(pixels[held_out]), torch.from_numpy(labels[held_out])


def use_workflow(job: Path, name: str) -> None:
    """Put one of NVFlare's own controllers in the place of RtFedAvg, as its users write it."""
    path = job / "app" / "config" / "config_fed_server.json"
    config = json.loads(path.read_text())
    (aggregator,) = (component for component in config["components"] if component["id"] == "aggregator")
    if name == "ScatterAndGather":
        generator = f"{NVFLARE}.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator"
        config["components"].append({"id": "generator", "path": generator, "args": {}})
        home = "scatter_and_gather"
        ids = {"persistor_id": "persistor", "aggregator_id": "aggregator", "shareable_generator_id": "generator"}
        args = {"min_clients": 4, "num_rounds": 6, **ids}
    else:
        config["components"].remove(aggregator)
        home = "fedavg"
        args = {"num_clients": 4, "num_rounds": 6, "aggregator": {key: aggregator[key] for key in ("path", "args")}}
    config["workflows"] = [{"id": "workflow", "path": f"{NVFLARE}.workflows.{home}.{name}", "args": args}]
    path.write_text(json.dumps(config))


def run(folder: Path, aggregator: str, aggregator_args: dict[str, Any], workflow: str) -> float:
    """Run the federation with one lying site; returns the global model's accuracy on what no site has."""
    pixels, labels = write_shards(folder / "shards")
    job = render_job(
        out=folder / "job",
        model_def=MODEL_DEF,
        training=TrainingConfig(learning_rate=0.005, local_epochs=2, extra={"LYING_SITE": "site-3"}),
        federation=FederationConfig(num_rounds=6, min_clients=4, seed=0, num_threads=1, deterministic=True),
        sites=SITES,
        shards_dir=folder / "shards",
        data_dir=folder / "data",
        aggregator=aggregator,
        aggregator_args=aggregator_args,
        client_variables={"ISOLATION": "none"},
    )
    if workflow != "RtFedAvg":
        use_workflow(job, workflow)
    outcome = run_simulator(job, folder / "run", SITES)
    assert outcome.state is JobState.FINISHED, outcome.error
    assert all(len(record.accepted) == 4 for record in outcome.rounds)
    spec = importlib.util.spec_from_file_location("robust_model_def", MODEL_DEF)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model()
    state = torch.load(outcome.server_dir / "model_out" / "global_model.pt", weights_only=True)
    model.load_state_dict(state, strict=True)
    return float((model(pixels).argmax(dim=1) == labels).double().mean())


@pytest.mark.slow
@pytest.mark.simulator
@pytest.mark.parametrize(
    ("aggregator", "aggregator_args", "workflow", "holds"),
    [
        ("sample_weighted_mean", {}, "RtFedAvg", False),
        ("coordinate_median", {}, "RtFedAvg", True),
        ("coordinate_median", {}, "FedAvg", True),
        ("trimmed_mean", {"trim_fraction": 0.25}, "ScatterAndGather", True),
    ],
)
def test_one_lying_site_of_four(
    tmp_path: Path, aggregator: str, aggregator_args: dict[str, Any], workflow: str, holds: bool
) -> None:
    """P4, M12: the lie passes the gate, since it is made of finite numbers of the right shapes."""
    accuracy = run(tmp_path, aggregator, aggregator_args, workflow)
    print(f"{aggregator} under {workflow}: accuracy {accuracy:.4f}")
    assert accuracy >= 0.9 if holds else accuracy <= 0.5, f"{aggregator}: {accuracy}"
