"""A bag of words: the mean of the words' embeddings, and one linear layer. Copy it and make it yours."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

import rt_flare


class Model(nn.Module):
    """Class scores, float32 of shape (N, num_classes), for tokens, int64 of shape (N, max_tokens)."""

    def __init__(self, num_classes: int, num_buckets: int = 4096, width: int = 32) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(num_buckets, width, padding_idx=0)
        self.scores = nn.Linear(width, num_classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.scores(self.words(tokens))
        return scores


def fl_train_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Train the global model on this site's texts."""
    env = payload["env"]
    dataset: Any = rt_flare.open_dataset(payload)
    model = Model(dataset.num_classes)
    model.load_state_dict(payload["initial_weights"], strict=True)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=env["learning_rate"])
    loss_sum, num_seen = 0.0, 0
    for _ in range(env["local_epochs"]):
        for tokens, targets in DataLoader(dataset, batch_size=env["batch_size"], shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(tokens), targets)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(targets)
            num_seen += len(targets)
    return {"weights": model.state_dict(), "samples": len(dataset), "metrics": {"loss": loss_sum / num_seen}}
