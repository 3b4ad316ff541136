"""The imagefolder adapter in a federation, on scikit-learn's scanned digits (P4)."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.render import render_job
from rt_flare.jobs.simulator import run_simulator
from rt_flare_imagefolder.adapter import ImageFolderAdapter

sklearn_datasets = pytest.importorskip("sklearn.datasets")

# torchvision 0.29 announces that image decoding moves to another package.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
MODEL_DEF = Path(__file__).parents[1] / "example" / "model_def.py"
CLASSES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
OPTIONS: dict[str, Any] = {"classes": CLASSES, "channels": 1}
SITES = ["site-1", "site-2", "site-3"]


def write_images(folder: Path, data: Any, indices: Iterable[int]) -> Path:
    for index in indices:
        file = folder / CLASSES[data.target[index]] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((data.images[index] * (255 / 16)).round().astype(np.uint8)).save(file)
    return folder


def model_of(global_model: Path) -> Any:
    spec = importlib.util.spec_from_file_location("imagefolder_model_def", MODEL_DEF)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model(len(CLASSES))
    model.load_state_dict(torch.load(global_model, weights_only=True), strict=True)
    return model.eval()


@pytest.mark.slow
@pytest.mark.simulator
def test_three_sites_learn_digits_that_no_site_has_all_of(tmp_path: Path) -> None:
    """P4, K10: a site without a class numbers the others as all sites do."""
    data = sklearn_datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    held_out, training = order[:360], order[360:]
    shards = tmp_path / "shards"
    shards.mkdir()
    num_samples = 0
    for number in range(1, 4):
        missing = data.target[training] % 3 == number % 3
        part = training[~missing][number % 2 :: 2]
        num_samples += len(part)
        folder = write_images(tmp_path / "images" / str(number), data, part)
        with zipfile.ZipFile(shards / f"shard_{number:04d}.zip", "w") as archive:
            for file in sorted(folder.rglob("*.png")):
                archive.write(file, file.relative_to(folder))
    job = render_job(
        out=tmp_path / "job",
        model_def=MODEL_DEF,
        model_args={"num_classes": len(CLASSES)},
        training=TrainingConfig(learning_rate=0.005, local_epochs=1, img_size=8),
        federation=FederationConfig(num_rounds=6, min_clients=3, seed=0, num_threads=1),
        sites=SITES,
        shards_dir=shards,
        data_dir=tmp_path / "data",
        adapter="imagefolder",
        adapter_args=OPTIONS,
        client_variables={"ISOLATION": "none"},
    )
    outcome = run_simulator(job, tmp_path / "run", SITES)
    assert outcome.state is JobState.FINISHED, outcome.error
    assert [record.num_samples for record in outcome.rounds] == [num_samples] * 6

    folder = write_images(tmp_path / "held_out", data, held_out)
    dataset = ImageFolderAdapter(**OPTIONS).open(folder, manifest_file="", env={"img_size": 8})
    images, targets = zip(*(dataset[index] for index in range(len(dataset))), strict=True)
    scores = model_of(outcome.server_dir / "model_out" / "global_model.pt")(torch.stack(images))
    accuracy = (scores.argmax(dim=1) == torch.stack(targets)).double().mean().item()
    assert accuracy >= 0.9, "a tenth is chance; without one site's digits it would be at most two thirds"
