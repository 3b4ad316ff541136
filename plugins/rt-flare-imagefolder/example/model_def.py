"""A small convolutional network for images of any size. Copy it and make it yours."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

import rt_flare


class Model(nn.Module):
    """Class scores, float32 of shape (N, num_classes), for images, float32 of shape (N, channels, S, S) in [0, 1]."""

    def __init__(self, num_classes: int, channels: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 16, kernel_size=3, padding=1),
            # Group normalisation keeps no running statistics, which would differ from site to site.
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.layers(images)
        return scores


def fl_train_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Train the global model on this site's images."""
    env = payload["env"]
    dataset: Any = rt_flare.open_dataset(payload)
    image, _ = dataset[0]
    model = Model(dataset.num_classes, channels=len(image))
    model.load_state_dict(payload["initial_weights"], strict=True)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=env["learning_rate"])
    loss_sum, num_seen = 0.0, 0
    for _ in range(env["local_epochs"]):
        for images, targets in DataLoader(dataset, batch_size=env["batch_size"], shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(targets)
            num_seen += len(targets)
    return {"weights": model.state_dict(), "samples": len(dataset), "metrics": {"loss": loss_sum / num_seen}}
