"""The tabular adapter in a federation, on scikit-learn's breast cancer data (P4)."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.render import render_job
from rt_flare.jobs.simulator import run_simulator
from rt_flare_tabular.adapter import TabularAdapter

sklearn_datasets = pytest.importorskip("sklearn.datasets")

MODEL_DEF = Path(__file__).parents[1] / "example" / "model_def.py"
SITES = ["site-1", "site-2", "site-3"]
FILE = "patients.parquet"


def write_rows(file: Path, table: Any, rows: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(table.take(pa.array(rows)), file)
    return file


def model_of(global_model: Path) -> Any:
    spec = importlib.util.spec_from_file_location("tabular_model_def", MODEL_DEF)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model(num_features=30, num_classes=2)
    model.load_state_dict(torch.load(global_model, weights_only=True), strict=True)
    return model.eval()


@pytest.mark.slow
@pytest.mark.simulator
def test_three_clinics_learn_to_tell_benign_from_malignant(tmp_path: Path) -> None:
    """P4, K10: columns named, scaled alike at all sites, classes by name."""
    data = sklearn_datasets.load_breast_cancer()
    names, classes = [str(name) for name in data.feature_names], [str(name) for name in data.target_names]
    columns = dict(zip(names, data.data.T, strict=True))
    table = pa.table({"diagnosis": [classes[target] for target in data.target], **columns})
    order = np.random.default_rng(0).permutation(len(data.target))
    held_out, training = order[:114], order[114:]
    options: dict[str, Any] = {
        "file": FILE,
        "label": "diagnosis",
        "classes": classes,
        "features": names,
        "means": [float(mean) for mean in data.data[training].mean(axis=0)],
        "scales": [float(scale) for scale in data.data[training].std(axis=0)],
    }
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(1, 4):
        rows = write_rows(tmp_path / "rows" / str(number), table, training[number - 1 :: 3])
        with zipfile.ZipFile(shards / f"shard_{number:04d}.zip", "w") as archive:
            archive.write(rows, FILE)
    job = render_job(
        out=tmp_path / "job",
        model_def=MODEL_DEF,
        model_args={"num_features": len(names), "num_classes": len(classes)},
        training=TrainingConfig(learning_rate=0.02, local_epochs=2),
        federation=FederationConfig(num_rounds=5, min_clients=3, seed=0, num_threads=1),
        sites=SITES,
        shards_dir=shards,
        data_dir=tmp_path / "data",
        adapter="tabular",
        adapter_args=options,
    )
    outcome = run_simulator(job, tmp_path / "run", SITES)
    assert outcome.state is JobState.FINISHED, outcome.error
    assert [record.num_samples for record in outcome.rounds] == [len(training)] * 5

    write_rows(tmp_path / "held_out" / FILE, table, held_out)
    dataset = TabularAdapter(**options).open(tmp_path / "held_out", manifest_file="", env={})
    scores = model_of(outcome.server_dir / "model_out" / "global_model.pt")(dataset.features)
    accuracy = (scores.argmax(dim=1) == dataset.targets).double().mean().item()
    assert accuracy >= 0.93, "always benign would give about 0.63"
