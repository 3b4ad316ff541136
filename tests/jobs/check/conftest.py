"""A small project without a mistake, to be spoiled."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.jobs import render
from rt_flare.jobs.check import project_check
from rt_flare.jobs.template import load_template

_load_template = functools.cache(load_template)

MODEL_DEF = """\
import torch
from torch import nn

import rt_flare


class Model(nn.Module):
    def __init__(self, num_classes, width=16):
        super().__init__()
        self.layer = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.layer(images.flatten(1))


def fl_train_model(payload, out_dir, logger=None):
    env = payload["env"]
    model = Model(env["num_classes"])
    model.load_state_dict(payload["initial_weights"])
    model.train()
    dataset = rt_flare.open_dataset(payload)
    images, labels = next(iter(torch.utils.data.DataLoader(dataset, batch_size=len(dataset))))
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    with torch.no_grad():
        for weights in model.parameters():
            weights -= env["learning_rate"] * weights.grad
    return {"weights": model.state_dict(), "samples": len(dataset), "metrics": {"loss": loss.item()}}
"""
PROJECT = """\
model_args = { num_classes = 3 }
adapter_args = { channels = 1 }

[training]
num_classes = 3
img_size = 4
batch_size = 4

[federation]
min_clients = 2
"""


@pytest.fixture(autouse=True)
def _templates_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing a template's HOCON costs a quarter of a second."""
    for module in (render, project_check):
        monkeypatch.setattr(module, "load_template", _load_template)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A folder with a module, ``rt_flare.toml`` and two shards of six gray images with labels 0 to 2."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model_def.py").write_text(MODEL_DEF)
    (folder / "rt_flare.toml").write_text(PROJECT)
    png = io.BytesIO()
    Image.new("L", (4, 4), 100).save(png, "PNG")
    samples = [ShardSample(f"s{n}", png.getvalue() + b"\0" * n, f"images/{n}.png", (n % 3,)) for n in range(12)]
    build_shards(samples, [list(range(6)), list(range(6, 12))], folder / "shards")
    sys.modules.pop("model_def", None)
    yield folder
    sys.modules.pop("model_def", None)
