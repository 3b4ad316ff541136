"""The manifest adapter: from a shard's folder to tensors and targets (K6, K10, C4)."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from rt_flare.data.manifest_adapter import ManifestImageAdapter
from rt_flare.errors import ConfigError, DataError, ManifestError

# torchvision 0.29 announces that image decoding moves to another package.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")

ENV = {"img_size": 8, "num_classes": 0}
NAME = "manifest.ndjson"


def shard(folder: Path, labels: list[list[int]], **changes: Any) -> Path:
    """A folder with one gray image of value 10 * n per label list."""
    lines = []
    for number, y in enumerate(labels):
        Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(folder / f"{number}.png")
        lines.append(json.dumps({"id": f"s{number}", "uri": f"file://{number}.png", "y": y, **changes}))
    (folder / NAME).write_text("\n".join(lines))
    return folder


def opened(folder: Path, env: dict[str, Any] | None = None, **options: Any) -> Any:
    return ManifestImageAdapter(**options).open(folder, manifest_file=NAME, env=ENV | (env or {}))


def test_single_labels_give_class_indices(tmp_path: Path) -> None:
    """K6, C4: num_classes 0 is the largest label plus one."""
    dataset = opened(shard(tmp_path, [[2], [0]]))
    assert (len(dataset), dataset.num_classes, dataset.multi_label) == (2, 3, False)
    image, target = dataset[1]
    assert image.shape == (3, 8, 8)
    torch.testing.assert_close(image, torch.full((3, 8, 8), 10 / 255))
    assert (target.dtype, target.shape, target.item()) == (torch.int64, (), 0)


def test_several_labels_give_multi_hot_targets(tmp_path: Path) -> None:
    """K6: an entry without a label is all zero."""
    dataset = opened(shard(tmp_path, [[2, 0], [], [1, 1]]), {"num_classes": 4})
    assert torch.stack([dataset[i][1] for i in range(3)]).tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert dataset[0][1].dtype == torch.float32


def test_multi_label_can_be_asked_for(tmp_path: Path) -> None:
    """K6: a site whose entries all have one label must agree with the others."""
    assert opened(shard(tmp_path, [[1], [0]]), multi_label=True)[0][1].tolist() == [0, 1]


@pytest.mark.parametrize("labels", [[], [0, 1]])
def test_single_label_refuses_another_number_of_labels(tmp_path: Path, labels: list[int]) -> None:
    """K6"""
    with pytest.raises(DataError, match=rf"manifest\.ndjson:2: sample 's1': found {len(labels)} labels"):
        opened(shard(tmp_path, [[0], labels]), multi_label=False)


def test_a_label_beyond_num_classes_names_the_sample(tmp_path: Path) -> None:
    """C4"""
    with pytest.raises(DataError, match=r"ndjson:2: sample 's1': found label 5, expected 0 to 2.*at least 6, or to 0"):
        opened(shard(tmp_path, [[2], [5]]), {"num_classes": 3})


def test_images_are_resized_and_gray_on_demand(tmp_path: Path) -> None:
    """K6"""
    assert opened(shard(tmp_path, [[0]]), {"img_size": 5}, channels=1)[0][0].shape == (1, 5, 5)


def test_meta_reaches_the_sample_on_demand(tmp_path: Path) -> None:
    """K6"""
    assert opened(shard(tmp_path, [[0]], meta={"k": 1}), with_meta=True)[0][2] == {"k": 1}
    assert opened(shard(tmp_path, [[0]]), with_meta=True)[0][2] == {}
    assert len(opened(shard(tmp_path, [[0]], meta={"k": 1}))[0]) == 2


def test_the_manifest_may_have_another_name_or_an_absolute_path(tmp_path: Path) -> None:
    """M2"""
    path = (shard(tmp_path, [[0]]) / NAME).rename(tmp_path / "train.ndjson")
    for name in ("train.ndjson", str(path)):
        assert len(ManifestImageAdapter().open(tmp_path, manifest_file=name, env=ENV)) == 1
        assert ManifestImageAdapter().count_samples(tmp_path, manifest_file=name) == 1


def test_a_shard_without_a_manifest_fails_with_the_row_of_the_guide(tmp_path: Path) -> None:
    """K10, J12"""
    for call in (
        lambda: opened(tmp_path),
        lambda: ManifestImageAdapter().count_samples(tmp_path, manifest_file=NAME),
    ):
        with pytest.raises(FileNotFoundError, match=r"FileNotFoundError: manifest\.ndjson.*must be at the root"):
            call()


def test_a_broken_manifest_is_refused(tmp_path: Path) -> None:
    """K4"""
    with pytest.raises(ManifestError, match=r"y\[0\]: found true"):
        opened(shard(tmp_path, [[True]]))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gone.png", "No such file"),
        ("../secret.png", "leads out of data_root"),
        ("https://127.0.0.1/a.png", "no public address"),
        (NAME, "not an image"),
        ("folder", "Is a directory"),
    ],
)
def test_a_sample_that_cannot_be_read_is_named(tmp_path: Path, uri: str, message: str) -> None:
    """K5"""
    (tmp_path / "folder").mkdir()
    dataset = opened(shard(tmp_path, [[0]], uri=uri))
    with pytest.raises(DataError, match=rf"manifest\.ndjson:1: sample 's0'.*{message}"):
        dataset[0]


def test_a_signed_url_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    """K5"""
    dataset = opened(shard(tmp_path, [[0]], uri="https://host/a.png?sig=SECRET"))
    with pytest.raises(DataError) as caught:
        dataset[0]
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_batches_it(tmp_path: Path, workers: int) -> None:
    """K6"""
    dataset = opened(shard(tmp_path, [[0], [1], [2]]))
    images, targets = next(iter(DataLoader(dataset, batch_size=3, num_workers=workers)))
    assert images.shape == (3, 3, 8, 8)
    assert targets.tolist() == [0, 1, 2]


def test_it_can_be_sent_to_a_worker_process(tmp_path: Path) -> None:
    """K6: spawned DataLoader workers receive the dataset as bytes."""
    dataset = opened(shard(tmp_path, [[1]]))
    assert pickle.loads(pickle.dumps(dataset))[0][1].item() == 1


@pytest.mark.parametrize(
    "options", [{"channels": 2}, {"channels": True}, {"channels": 3.0}, {"multi_label": 1}, {"with_meta": None}]
)
def test_refuses_a_wrong_option(options: dict[str, Any]) -> None:
    """K6"""
    with pytest.raises(ConfigError, match=f"option {next(iter(options))}: found"):
        ManifestImageAdapter(**options)


@pytest.mark.parametrize(
    "env", [{}, {"img_size": 8}, ENV | {"img_size": 0}, ENV | {"num_classes": -1}, ENV | {"img_size": True}]
)
def test_refuses_an_environment_without_its_values(tmp_path: Path, env: dict[str, Any]) -> None:
    """M2"""
    with pytest.raises(ConfigError, match=r"env\['(img_size|num_classes)'\]: found"):
        ManifestImageAdapter().open(shard(tmp_path, [[0]]), manifest_file=NAME, env=env)
