"""The dataset adapter ``imagefolder``: the name of an image's folder is its class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset

from rt_flare.data.adapter import DatasetAdapter
from rt_flare.data.image_decoding import decode_square
from rt_flare.errors import ConfigError, DataError

__all__ = ["ImageFolderAdapter", "ImageFolderDataset"]

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
# What file managers leave behind; names that start with a dot are passed over too.
_LITTER = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})


class ImageFolderAdapter(DatasetAdapter):
    """Reads ``data_root/<class>/**/<image>``; files at the root itself (a manifest, a licence) are not looked at.

    Args:
        classes: names of the class folders, in the order of the class indices. All sites get the same list, so that
            an index means the same everywhere; a site need not have every class.
        channels: 3 for RGB, 1 for gray.

    Raises:
        ConfigError: an option has another value.
    """

    name: ClassVar[str] = "imagefolder"

    def __init__(self, *, classes: Sequence[str], channels: int = 3) -> None:
        if isinstance(classes, str) or not classes or not all(type(name) is str and name for name in classes):
            raise ConfigError(f"adapter 'imagefolder', option classes: found {classes!r}, expected a list of names")
        if len(set(classes)) != len(classes):
            raise ConfigError(f"adapter 'imagefolder', option classes: found a name twice in {list(classes)}")
        if type(channels) is not int or channels not in {1, 3}:
            raise ConfigError(
                f"adapter 'imagefolder', option channels: found {channels!r}, expected 3 (RGB) or 1 (gray)"
            )
        self.classes = tuple(classes)
        self.channels = channels

    def open(self, data_root: Path, *, manifest_file: str, env: Mapping[str, Any]) -> ImageFolderDataset:
        """Return the images in the order of class and path; see `ImageFolderDataset` for an item's form.

        ``env`` must hold ``img_size`` (side in pixels, from 1) and may hold ``num_classes`` (0: as many as classes).

        Raises:
            DataError: there is no image, a folder that is no class, a file that is no image, or a link.
            ConfigError: ``env`` has a wrong value.
        """
        img_size, num_classes = env.get("img_size"), env.get("num_classes", 0)
        if type(img_size) is not int or img_size < 1:
            raise ConfigError(f"env['img_size']: found {img_size!r}, expected an integer from 1")
        if num_classes and num_classes < len(self.classes):
            raise ConfigError(f"env['num_classes']: found {num_classes}, expected at least {len(self.classes)}, or 0")
        paths: list[str] = []
        targets: list[int] = []
        for index, path in self._images(data_root):
            paths.append(path)
            targets.append(index)
        if not paths:
            expected = ", ".join(f"{name}/" for name in self.classes[:5])
            raise DataError(f"{data_root}: found no image, expected some in the folders {expected} and so on")
        return ImageFolderDataset(data_root, paths, targets, self.classes, channels=self.channels, img_size=img_size)

    def count_samples(self, data_root: Path, *, manifest_file: str) -> int:
        """Return the number of image files.

        Raises:
            DataError: as `open`.
        """
        return sum(1 for _ in self._images(data_root))

    def _images(self, data_root: Path) -> Iterator[tuple[int, str]]:
        """Class index and path below ``data_root`` of every image."""
        indices = {name: index for index, name in enumerate(self.classes)}
        for entry in _entries(data_root):
            if not entry.is_dir(follow_symlinks=False):
                if entry.is_symlink() and entry.name in indices:
                    raise _link(entry)
                continue
            if entry.name not in indices:
                raise DataError(
                    f"{entry.path}: found a folder that is none of the {len(indices)} classes. Add it to the option "
                    "classes, the same on all sites, or remove it."
                )
            for path in _files(entry):
                yield indices[entry.name], os.path.relpath(path, data_root)


class ImageFolderDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The images of one folder.

    An item is ``(image, target)``: image float32 of shape (channels, img_size, img_size) in [0, 1]; target the class
    index, an int64 scalar.

    Attributes:
        classes: names of the classes, in the order of their indices.
        targets: class index of every item.
    """

    def __init__(
        self,
        data_root: Path,
        paths: Sequence[str],
        targets: Sequence[int],
        classes: Sequence[str],
        *,
        channels: int,
        img_size: int,
    ) -> None:
        self.classes = classes
        self.targets = targets
        self._data_root = data_root
        self._paths = paths
        self._channels = channels
        self._img_size = img_size

    @property
    def num_classes(self) -> int:
        """Number of classes, those without an image at this site among them."""
        return len(self.classes)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode one image.

        Raises:
            DataError: the file is gone or is no usable image.
        """
        path = self._data_root / self._paths[index]
        try:
            image = decode_square(path.read_bytes(), self._channels, self._img_size)
        except (DataError, OSError) as error:
            raise DataError(f"{path}: {error}") from error
        return image, torch.tensor(self.targets[index], dtype=torch.int64)


def _files(folder: os.DirEntry[str]) -> Iterator[str]:
    for entry in _entries(folder.path):
        if entry.is_symlink():
            raise _link(entry)
        if entry.is_dir():
            yield from _files(entry)
        elif Path(entry.name).suffix.lower() in _SUFFIXES:
            yield entry.path
        else:
            raise DataError(f"{entry.path}: found no image, expected one of {', '.join(sorted(_SUFFIXES))}. Remove it.")


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if entry.name[0] != "." and entry.name not in _LITTER]
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read: {error.strerror}") from error
    return sorted(kept, key=lambda entry: entry.name)


def _link(entry: os.DirEntry[str]) -> DataError:
    return DataError(f"{entry.path}: found a symbolic link, expected a file of the shard's own. Copy the file there.")
