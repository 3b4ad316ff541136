"""Digits at four sites, one of which lies: it sends what training gave, turned round and ten times as large.

Two functions of every model definition are here; the lie is what a robust aggregator is for. The sites' data is a
plain file, ``digits.npz``, which this module reads itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Model(nn.Module):
    """Class scores, float32 of shape (N, 10), for pixels, float32 of shape (N, 64) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(pixels)
        return scores


def fl_train_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Train the global model on this site's digits; lie about it at the site ``env["LYING_SITE"]``."""
    env = payload["env"]
    with np.load(Path(payload["dataset"]["data_root"]) / "digits.npz") as file:
        digits = TensorDataset(torch.from_numpy(file["pixels"]), torch.from_numpy(file["labels"]))
    model = Model()
    model.load_state_dict(payload["initial_weights"], strict=True)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=env["learning_rate"])
    for _ in range(env["local_epochs"]):
        for pixels, labels in DataLoader(digits, batch_size=env["batch_size"], shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(pixels), labels).backward()
            optimizer.step()
    weights = model.state_dict()
    if env["SITE_NAME"] == env.get("LYING_SITE"):
        start = payload["initial_weights"]
        weights = {name: start[name] - 10 * (weight - start[name]) for name, weight in weights.items()}
    return {"weights": weights, "samples": len(digits), "metrics": {}}
