"""The module that users copy: it keeps the contract, and averaging its weights gives a good model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rt_flare.core.round_record import mean_metrics
from rt_flare.data.shard_names import find_shards
from rt_flare.data.site_shard import prepare_shard
from rt_flare.quickstart import model_def
from rt_flare.quickstart.digits import write_digits


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _payload(data_root: Path, weights: dict[str, torch.Tensor], local_epochs: int) -> dict[str, Any]:
    return {
        "initial_weights": weights,
        "dataset": {
            "data_root": str(data_root),
            "adapter": "manifest",
            "adapter_args": {"channels": 1},
            "manifest": str(data_root / "manifest.ndjson"),
        },
        "env": {
            "DEVICE": "cpu",
            "local_epochs": local_epochs,
            "batch_size": 32,
            "learning_rate": 0.002,
            "img_size": 8,
            "num_classes": 10,
        },
    }


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_federated_averaging_reaches_a_good_accuracy(tmp_path: Path, seed: int) -> None:
    """M2, M4, M5, M9: three sites, five of the quickstart's ten rounds, without NVFlare."""
    digits = write_digits(tmp_path / "shards", tmp_path / "held_out", num_sites=3, seed=seed)
    roots = [prepare_shard(s, tmp_path / "data", i) for i, s in enumerate(find_shards(digits.shards_dir), start=1)]
    torch.manual_seed(seed)
    weights = model_def.Model().state_dict()
    for _ in range(5):
        results = [model_def.fl_train_model(_payload(root, weights, 2), str(tmp_path)) for root in roots]
        total = sum(result["samples"] for result in results)
        weights = {name: sum(r["samples"] * r["weights"][name] for r in results) / total for name in weights}
    assert total == sum(digits.num_samples)
    assert mean_metrics([(r["samples"], r["metrics"]) for r in results])["accuracy"] > 0.95
    measured = model_def.fl_validate_model(_payload(digits.held_out, weights, 1), str(tmp_path))
    assert measured["metrics"]["accuracy"] >= 0.96


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    """M10: the load is strict."""
    weights = model_def.Model().state_dict()
    del weights["layers.0.weight"]
    with pytest.raises(RuntimeError, match=r"layers\.0\.weight"):
        model_def.fl_train_model(_payload(tmp_path, weights, 1), str(tmp_path))
