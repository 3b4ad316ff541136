"""A small network for images, and its training at one site."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader


class Model(nn.Module):
    """Class scores, float32 of shape (N, num_classes), for images, float32 of shape (N, 1, S, S) in [0, 1]."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            # Group normalisation keeps no running statistics, which would differ from site to site.
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.MaxPool2d(2),
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


def open_images(payload: dict[str, Any]) -> Any:
    """The site's images, through the adapter that the job names."""
    import rt_flare  # here, so that the model itself needs PyTorch alone

    return rt_flare.open_dataset(payload)


def load_global_model(payload: dict[str, Any]) -> Model:
    """The model with the global weights, on the site's device."""
    env = payload["env"]
    model = Model(env["num_classes"])
    model.load_state_dict(payload["initial_weights"])
    return model.to(env["DEVICE"])


def fl_train_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Train the global model on this site's images, once per round."""
    env = payload["env"]
    model = load_global_model(payload)
    model.train()
    images_of_site = open_images(payload)
    optimizer = torch.optim.Adam(model.parameters(), lr=env["learning_rate"])
    loss_sum, num_correct, num_seen = 0.0, 0, 0
    for _ in range(env["local_epochs"]):
        for images, labels in DataLoader(images_of_site, batch_size=env["batch_size"], shuffle=True):
            images, labels = images.to(env["DEVICE"]), labels.to(env["DEVICE"])
            optimizer.zero_grad()
            scores = model(images)
            loss = nn.functional.cross_entropy(scores, labels)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(labels)
            num_correct += int((scores.argmax(dim=1) == labels).sum())
            num_seen += len(labels)
    return {
        "weights": model.state_dict(),
        "samples": len(images_of_site),
        "metrics": {"loss": loss_sum / num_seen, "accuracy": num_correct / num_seen},
    }


@torch.no_grad()
def fl_validate_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Measure the global model on this site's images; optional."""
    env = payload["env"]
    model = load_global_model(payload)
    model.eval()
    num_correct, num_seen = 0, 0
    for images, labels in DataLoader(open_images(payload), batch_size=256):
        predicted = model(images.to(env["DEVICE"])).argmax(dim=1)
        num_correct += int((predicted == labels.to(env["DEVICE"])).sum())
        num_seen += len(labels)
    return {"metrics": {"accuracy": num_correct / num_seen}, "samples": num_seen}
