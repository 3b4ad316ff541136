"""From a payload to its dataset (M2, P5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import rt_flare
from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.site_shard import prepare_shard
from rt_flare.datasets import open_dataset
from rt_flare.errors import ConfigError

# torchvision 0.29 announces that image decoding moves to another package.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")


def make_payload(folder: Path) -> dict[str, Any]:
    Image.fromarray(np.full((8, 8), 128, np.uint8)).save(folder / "a.png")
    (archive,) = build_shards([ShardSample("a", folder / "a.png", "images/a.png", (1,))], [[0]], folder / "shards")
    root = prepare_shard(archive, folder / "data", 1)
    dataset = {
        "data_root": str(root),
        "adapter": "manifest",
        "manifest": str(root / "manifest.ndjson"),
        "adapter_args": {"channels": 1},
    }
    return {"initial_weights": {}, "dataset": dataset, "env": {"img_size": 8, "num_classes": 0}}


def test_opens_what_the_payload_names(tmp_path: Path) -> None:
    """M2, K2: from samples to shard, site folder and tensors."""
    dataset: Any = rt_flare.open_dataset(make_payload(tmp_path))
    image, target = dataset[0]
    assert (image.shape, target.item(), dataset.num_classes) == ((1, 8, 8), 1, 2)


@pytest.mark.parametrize("key", ["data_root", "adapter", "manifest", "adapter_args"])
def test_names_a_missing_part_of_the_dataset(tmp_path: Path, key: str) -> None:
    """M2"""
    payload = make_payload(tmp_path)
    del payload["dataset"][key]
    with pytest.raises(ConfigError, match=rf"payload\[\"dataset\"\]\['{key}'\]: found no such key"):
        open_dataset(payload)


@pytest.mark.parametrize("key", ["dataset", "env"])
def test_names_a_missing_part_of_the_payload(tmp_path: Path, key: str) -> None:
    """M2"""
    payload = make_payload(tmp_path) | {key: None}
    with pytest.raises(ConfigError, match=rf"payload\['{key}'\]: found NoneType None, expected Mapping"):
        open_dataset(payload)


def test_an_unknown_adapter_fails_with_a_suggestion(tmp_path: Path) -> None:
    """P5"""
    payload = make_payload(tmp_path)
    payload["dataset"]["adapter"] = "manifests"
    with pytest.raises(ConfigError, match="Did you mean 'manifest'"):
        open_dataset(payload)


def test_an_unknown_option_fails_with_the_options_there_are(tmp_path: Path) -> None:
    """P5"""
    payload = make_payload(tmp_path)
    payload["dataset"]["adapter_args"] = {"chanels": 1}
    with pytest.raises(
        ConfigError, match=r"unexpected keyword argument 'chanels'\. Its options: channels, multi_label, with_meta"
    ):
        open_dataset(payload)
