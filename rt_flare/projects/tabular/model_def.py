"""A small network for rows of numbers, and its training at one site."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Model(nn.Module):
    """Class scores, float32 of shape (N, num_classes), for features, float32 of shape (N, num_features)."""

    def __init__(self, num_features: int, num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(num_features, width), nn.ReLU(), nn.Linear(width, num_classes))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(features)
        return scores


def read_rows(payload: dict[str, Any]) -> TensorDataset:
    """The site's table: features, float32 of shape (N, num_features), and labels, int64 of shape (N)."""
    env = payload["env"]
    path = Path(payload["dataset"]["data_root"]) / env["table"]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [int(row.pop(env["label_column"])) for row in rows]
    features = [[float(value) for value in row.values()] for row in rows]
    return TensorDataset(torch.tensor(features), torch.tensor(labels))


def load_global_model(payload: dict[str, Any], num_features: int) -> Model:
    """The model with the global weights, on the site's device."""
    env = payload["env"]
    model = Model(num_features, env["num_classes_of_table"])
    model.load_state_dict(payload["initial_weights"])
    return model.to(env["DEVICE"])


def fl_train_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Train the global model on this site's rows, once per round."""
    env = payload["env"]
    rows = read_rows(payload)
    model = load_global_model(payload, rows.tensors[0].shape[1])
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=env["learning_rate"])
    loss_sum, num_correct, num_seen = 0.0, 0, 0
    for _ in range(env["local_epochs"]):
        for features, labels in DataLoader(rows, batch_size=env["batch_size"], shuffle=True):
            features, labels = features.to(env["DEVICE"]), labels.to(env["DEVICE"])
            optimizer.zero_grad()
            scores = model(features)
            loss = nn.functional.cross_entropy(scores, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(labels)
            num_correct += int((scores.argmax(dim=1) == labels).sum())
            num_seen += len(labels)
    return {
        "weights": model.state_dict(),
        "samples": len(rows),
        "metrics": {"loss": loss_sum / num_seen, "accuracy": num_correct / num_seen},
    }


@torch.no_grad()
def fl_validate_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Measure the global model on this site's rows; optional."""
    features, labels = read_rows(payload).tensors
    model = load_global_model(payload, features.shape[1])
    model.eval()
    predicted = model(features.to(payload["env"]["DEVICE"])).argmax(dim=1).cpu()
    return {"metrics": {"accuracy": float((predicted == labels).float().mean())}, "samples": len(labels)}
