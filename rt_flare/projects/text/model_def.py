"""A bag of words and one linear layer, and its training at one site."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

NUM_BUCKETS = 2048
MAX_WORDS = 32


class Model(nn.Module):
    """Class scores, float32 of shape (N, num_topics), for words, int64 of shape (N, 32): 0 is no word."""

    def __init__(self, num_topics: int, width: int = 16) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(NUM_BUCKETS, width, padding_idx=0)
        self.scores = nn.Linear(width, num_topics)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.scores(self.words(words))
        return scores


def encode(text: str) -> list[int]:
    """32 numbers of words, 1 to 2047, filled up with 0: the same at every site, without a shared vocabulary."""
    words = re.findall(r"\w+", text.lower())[:MAX_WORDS]
    numbers = [1 + zlib.crc32(word.encode()) % (NUM_BUCKETS - 1) for word in words]
    return numbers + [0] * (MAX_WORDS - len(numbers))


def read_texts(payload: dict[str, Any]) -> TensorDataset:
    """The site's texts: words, int64 of shape (N, 32), and topics, int64 of shape (N)."""
    path = Path(payload["dataset"]["data_root"]) / payload["env"]["texts"]
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    words = torch.tensor([encode(record["text"]) for record in records])
    return TensorDataset(words, torch.tensor([record["label"] for record in records]))


def load_global_model(payload: dict[str, Any]) -> Model:
    """The model with the global weights, on the site's device."""
    env = payload["env"]
    model = Model(env["num_topics"])
    model.load_state_dict(payload["initial_weights"])
    return model.to(env["DEVICE"])


def fl_train_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Train the global model on this site's texts, once per round."""
    env = payload["env"]
    model = load_global_model(payload)
    model.train()
    texts = read_texts(payload)
    optimizer = torch.optim.Adam(model.parameters(), lr=env["learning_rate"])
    loss_sum, num_correct, num_seen = 0.0, 0, 0
    for _ in range(env["local_epochs"]):
        for words, topics in DataLoader(texts, batch_size=env["batch_size"], shuffle=True):
            words, topics = words.to(env["DEVICE"]), topics.to(env["DEVICE"])
            optimizer.zero_grad()
            scores = model(words)
            loss = nn.functional.cross_entropy(scores, topics)
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(topics)
            num_correct += int((scores.argmax(dim=1) == topics).sum())
            num_seen += len(topics)
    return {
        "weights": model.state_dict(),
        "samples": len(texts),
        "metrics": {"loss": loss_sum / num_seen, "accuracy": num_correct / num_seen},
    }


@torch.no_grad()
def fl_validate_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Measure the global model on this site's texts; optional."""
    model = load_global_model(payload)
    model.eval()
    words, topics = read_texts(payload).tensors
    predicted = model(words.to(payload["env"]["DEVICE"])).argmax(dim=1).cpu()
    return {"metrics": {"accuracy": float((predicted == topics).float().mean())}, "samples": len(topics)}
