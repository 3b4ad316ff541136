"""The imagefolder adapter: rt_flare's conformance suite, and what is its own (P3, P4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rt_flare.errors import ConfigError, DataError
from rt_flare.testing import DatasetAdapterConformance
from rt_flare_imagefolder.adapter import ImageFolderAdapter, ImageFolderDataset

# torchvision 0.29 announces that image decoding moves to another package.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
CLASSES = ("cat", "dog", "emu")


def save(path: Path, value: int, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shard"
    for value, path in enumerate(["cat/a.png", "dog/b.jpg", "dog/deeper/c.PNG"]):
        save(folder / path, 100 * value, (8 + value, 16))
    (folder / "LICENCE.txt").write_text("beside the classes")
    return folder


def read(root: Path, env: Mapping[str, Any] | None = None, **options: Any) -> ImageFolderDataset:
    adapter = ImageFolderAdapter(**{"classes": CLASSES, **options})
    return adapter.open(root, manifest_file="", env={"img_size": 8, **(env or {})})


class TestConformance(DatasetAdapterConformance):
    """P3"""

    @pytest.fixture
    def adapter(self) -> ImageFolderAdapter:
        return ImageFolderAdapter(classes=CLASSES)

    @pytest.fixture
    def data_root(self, root: Path) -> Path:
        (root / "LICENCE.txt").unlink()
        return root

    @pytest.fixture
    def damaged_file(self, data_root: Path) -> Path:
        (data_root / "dog/b.jpg").write_bytes(b"\xff\xd8\xff broken")
        return data_root / "dog/b.jpg"


def test_the_folder_is_the_class_and_subfolders_count(root: Path) -> None:
    """P4: a site without emus numbers its dogs as all others do."""
    dataset = read(root)
    assert list(dataset.targets) == [0, 1, 1]
    assert dataset.num_classes == 3
    image, target = dataset[2]
    assert (image.shape, image.dtype, target.item()) == ((3, 8, 8), torch.float32, 1)
    assert torch.allclose(image, torch.full((3, 8, 8), 200 / 255))


def test_the_order_of_the_classes_is_the_jobs(root: Path) -> None:
    """P4"""
    assert list(read(root, classes=["dog", "emu", "cat"]).targets) == [2, 0, 0]


def test_gray_has_one_channel(root: Path) -> None:
    """P4"""
    assert read(root, channels=1)[0][0].shape == (1, 8, 8)


def test_litter_is_passed_over(root: Path) -> None:
    """P4"""
    for name in (".DS_Store", "cat/.a.png.swp", "cat/Thumbs.db", "__MACOSX/cat"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    assert len(read(root)) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("horse/a.png", "horse: found a folder that is none of the 3 classes"),
        ("cat/notes.txt", r"notes\.txt: found no image"),
    ],
)
def test_what_belongs_to_no_class_or_is_no_image_is_named(root: Path, name: str, message: str) -> None:
    """P4: nothing is left out in silence."""
    save(root / "x.png", 0)
    (root / name).parent.mkdir(exist_ok=True)
    (root / "x.png").rename(root / name)
    with pytest.raises(DataError, match=message):
        read(root)


@pytest.mark.parametrize("name", ["cat/link.png", "dog/link", "emu"])
def test_links_to_files_and_folders_are_refused(root: Path, name: str) -> None:
    """K5"""
    (root / name).symlink_to(root / "cat")
    with pytest.raises(DataError, match="found a symbolic link"):
        read(root)


def test_a_file_that_goes_away_is_named(root: Path) -> None:
    """P4"""
    dataset = read(root)
    (root / "cat/a.png").unlink()
    with pytest.raises(DataError, match=r"cat/a\.png: .*No such file"):
        dataset[0]


@pytest.mark.parametrize(
    "options", [{"classes": []}, {"classes": "cat"}, {"classes": ["a", "a"]}, {"classes": [1]}, {"channels": 2}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    """P4"""
    with pytest.raises(ConfigError, match=f"option {next(iter(options))}"):
        ImageFolderAdapter(**{"classes": CLASSES, **options})


@pytest.mark.parametrize("env", [{"img_size": 0}, {"img_size": "8"}, {"num_classes": 2}])
def test_a_wrong_env_is_refused(root: Path, env: dict[str, Any]) -> None:
    """C4"""
    with pytest.raises(ConfigError, match=next(iter(env))):
        read(root, env)
