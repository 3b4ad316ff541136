"""The next value of a series from those before it, and the training at one site. The reader is yours to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Model(nn.Module):
    """The next value, float32 of shape (N), for windows, float32 of shape (N, window)."""

    def __init__(self, window: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(window, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.layers(windows)
        return values.squeeze(1)


class Readings(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Windows of a site's series, each with the value that follows."""

    def __init__(self, path: Path, window: int) -> None:
        self.series = torch.from_numpy(np.load(path, allow_pickle=False))
        self.window = window

    def __len__(self) -> int:
        return len(self.series) - self.window

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.series[index : index + self.window], self.series[index + self.window]


def open_readings(payload: dict[str, Any]) -> Readings:
    """The site's series: the shard was unpacked as data_root."""
    env = payload["env"]
    return Readings(Path(payload["dataset"]["data_root"]) / env["series"], env["window"])


def load_global_model(payload: dict[str, Any]) -> Model:
    """The model with the global weights, on the site's device."""
    env = payload["env"]
    model = Model(env["window"])
    model.load_state_dict(payload["initial_weights"])
    return model.to(env["DEVICE"])


def fl_train_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Train the global model on this site's series, once per round."""
    env = payload["env"]
    model = load_global_model(payload)
    model.train()
    readings = open_readings(payload)
    optimizer = torch.optim.Adam(model.parameters(), lr=env["learning_rate"])
    loss_sum, num_seen = 0.0, 0
    for _ in range(env["local_epochs"]):
        for windows, values in DataLoader(readings, batch_size=env["batch_size"], shuffle=True):
            windows, values = windows.to(env["DEVICE"]), values.to(env["DEVICE"])
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(windows), values)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(values)
            num_seen += len(values)
    return {"weights": model.state_dict(), "samples": len(readings), "metrics": {"loss": loss_sum / num_seen}}


@torch.no_grad()
def fl_validate_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Measure the global model on this site's series; optional."""
    env = payload["env"]
    model = load_global_model(payload)
    model.eval()
    loss_sum, num_seen = 0.0, 0
    for windows, values in DataLoader(open_readings(payload), batch_size=256):
        predicted = model(windows.to(env["DEVICE"])).cpu()
        loss_sum += nn.functional.mse_loss(predicted, values, reduction="sum").item()
        num_seen += len(values)
    return {"metrics": {"loss": loss_sum / num_seen}, "samples": num_seen}
