"""A model and its training on one site: copy this file and make it yours.

`fl_train_model` is called once per round on every site. It gets the global weights, trains on the data of its own
site, and returns the new weights with the number of samples that they were trained on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader


class Model(nn.Module):
    """A small convolutional network for gray images of 8 x 8 pixels."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            # Group normalisation keeps no running statistics, which would differ from site to site.
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores, float32 of shape (N, num_classes), for images, float32 of shape (N, 1, 8, 8) in [0, 1]."""
        scores: torch.Tensor = self.layers(images)
        return scores


def _open(payload: dict[str, Any]) -> Any:
    # Imported here: whoever uses the trained model imports this module with PyTorch alone.
    import rt_flare

    return rt_flare.open_dataset(payload)


def fl_train_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Train the global model on this site's data for ``local_epochs``."""
    env = payload["env"]
    model = Model()
    # The global weights come first, then the training mode.
    model.load_state_dict(payload["initial_weights"], strict=True)
    model.to(env["DEVICE"]).train()

    dataset = _open(payload)
    batches = DataLoader(dataset, batch_size=env["batch_size"], shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=env["learning_rate"])
    loss_sum, num_correct, num_seen = 0.0, 0, 0
    for epoch in range(env["local_epochs"]):
        for images, targets in batches:
            images, targets = images.to(env["DEVICE"]), targets.to(env["DEVICE"])
            optimizer.zero_grad()
            scores = model(images)
            loss = nn.functional.cross_entropy(scores, targets)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(targets)
            num_correct += int((scores.argmax(dim=1) == targets).sum())
            num_seen += len(targets)
        if logger is not None:
            logger.info(f"epoch {epoch}: mean loss so far {loss_sum / num_seen:.4f}")

    return {
        "weights": model.state_dict(),
        "samples": len(dataset),
        "metrics": {"loss": loss_sum / num_seen, "accuracy": num_correct / num_seen},
    }


@torch.no_grad()
def fl_validate_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Measure the global model on this site's data; optional."""
    env = payload["env"]
    model = Model()
    model.load_state_dict(payload["initial_weights"], strict=True)
    model.to(env["DEVICE"]).eval()

    loss_sum, num_correct, num_seen = 0.0, 0, 0
    for images, targets in DataLoader(_open(payload), batch_size=256):
        images, targets = images.to(env["DEVICE"]), targets.to(env["DEVICE"])
        scores = model(images)
        loss_sum += nn.functional.cross_entropy(scores, targets, reduction="sum").item()
        num_correct += int((scores.argmax(dim=1) == targets).sum())
        num_seen += len(targets)
    return {"samples": num_seen, "metrics": {"loss": loss_sum / num_seen, "accuracy": num_correct / num_seen}}
