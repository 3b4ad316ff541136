"""The default dataset adapter: images that a manifest lists with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset

from rt_flare.data.adapter import DatasetAdapter
from rt_flare.data.manifest import ManifestEntry, count_entries
from rt_flare.data.manifest_index import MappedManifest, indexed_count
from rt_flare.data.remote_images import RemoteImages
from rt_flare.data.uris import is_remote, resolve_uri, shown_uri
from rt_flare.errors import ConfigError, DataError

__all__ = ["ManifestImageAdapter", "ManifestImageDataset"]

_REMOTE = RemoteImages()


class ManifestImageAdapter(DatasetAdapter):
    """Images and class labels from a manifest (see `rt_flare.data.manifest`).

    Args:
        channels: 3 for RGB, 1 for gray.
        multi_label: True for multi-hot targets, False for one class index per sample, None to decide by the manifest:
            a class index if every entry has exactly one label. Set it where sites could come to different answers.
        with_meta: add each entry's ``meta`` to the item.

    Raises:
        ConfigError: an option has another value.
    """

    name: ClassVar[str] = "manifest"

    def __init__(self, *, channels: int = 3, multi_label: bool | None = None, with_meta: bool = False) -> None:
        if type(channels) is not int or channels not in {1, 3}:
            raise ConfigError(f"adapter 'manifest', option channels: found {channels!r}, expected 3 (RGB) or 1 (gray)")
        if multi_label is not None and not isinstance(multi_label, bool):
            raise ConfigError(f"adapter 'manifest', option multi_label: found {multi_label!r}, expected a bool or None")
        if not isinstance(with_meta, bool):
            raise ConfigError(f"adapter 'manifest', option with_meta: found {with_meta!r}, expected a bool")
        self.channels = channels
        self.multi_label = multi_label
        self.with_meta = with_meta

    def open(self, data_root: Path, *, manifest_file: str, env: Mapping[str, Any]) -> ManifestImageDataset:
        """Return the manifest's samples; see `ManifestImageDataset` for an item's form.

        ``env`` must hold ``img_size`` (side in pixels, from 1) and ``num_classes`` (0: the largest label plus one).

        Raises:
            MissingManifestError: there is no manifest.
            ManifestError: the manifest breaks its format.
            DataError: the manifest leads out of ``data_root``, a label does not fit ``num_classes``, or ``multi_label``
                is False and an entry has not exactly one label.
            ConfigError: ``env`` lacks a value, or has a wrong one.
        """
        manifest = _manifest_inside(data_root, manifest_file)
        img_size = _env_int(env, "img_size", 1)
        num_classes = _env_int(env, "num_classes", 0)
        entries = MappedManifest.open(manifest)
        multi_label = self.multi_label
        if multi_label is None:
            multi_label = not entries.labels.fewest == entries.labels.most == 1
        _check_labels(entries, num_classes, multi_label)
        if num_classes == 0:
            num_classes = entries.labels.max_label + 1
        return ManifestImageDataset(
            data_root,
            manifest,
            entries,
            channels=self.channels,
            img_size=img_size,
            num_classes=num_classes,
            multi_label=multi_label,
            with_meta=self.with_meta,
        )

    def count_samples(self, data_root: Path, *, manifest_file: str) -> int:
        """Return the number of lines of the manifest that are not blank.

        Raises:
            MissingManifestError: there is no manifest.
        """
        manifest = data_root / manifest_file
        known = indexed_count(manifest)
        return count_entries(manifest) if known is None else known


class ManifestImageDataset(Dataset[tuple[Any, ...]]):
    """The samples of one manifest.

    An item is ``(image, target)`` or, with ``with_meta``, ``(image, target, meta)``: image float32 of shape
    (channels, img_size, img_size) in [0, 1]; target an int64 scalar, or float32 of shape (num_classes,) with 1 at
    every label of the entry; meta the entry's dict, empty if it has none (a DataLoader needs a ``collate_fn`` for it
    unless all have the same keys).

    Attributes:
        entries: the manifest's entries, in the order of the items.
        num_classes: number of classes.
        multi_label: whether targets are multi-hot.
    """

    def __init__(
        self,
        data_root: Path,
        manifest: Path,
        entries: Sequence[ManifestEntry],
        *,
        channels: int,
        img_size: int,
        num_classes: int,
        multi_label: bool,
        with_meta: bool,
    ) -> None:
        self.entries = entries
        self.num_classes = num_classes
        self.multi_label = multi_label
        # Imported here: torchvision costs seconds, and counting samples needs none of it.
        from rt_flare.data.image_decoding import decode_square

        self._decode = decode_square
        self._data_root = data_root
        self._manifest = manifest
        self._channels = channels
        self._img_size = img_size
        self._with_meta = with_meta

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Decode one sample.

        Raises:
            DataError: its file is missing, lies outside the shard, cannot be fetched (see `RemoteImages`) or is no
                usable image.
        """
        entry = self.entries[index]
        try:
            content = self._content(entry.uri)
            image = self._decode(content, self._channels, self._img_size)
        except (DataError, OSError) as error:
            place = f"{self._manifest}:{entry.line}: sample {entry.id!r}, uri {shown_uri(entry.uri)}"
            raise DataError(f"{place}: {error}") from error
        return (image, self._target(entry), entry.meta or {}) if self._with_meta else (image, self._target(entry))

    def _content(self, uri: str) -> bytes:
        return _REMOTE.read(uri) if is_remote(uri) else resolve_uri(uri, self._data_root).read_bytes()

    def _target(self, entry: ManifestEntry) -> torch.Tensor:
        if not self.multi_label:
            return torch.tensor(entry.y[0], dtype=torch.int64)
        target = torch.zeros(self.num_classes, dtype=torch.float32)
        target[list(entry.y)] = 1.0
        return target


def _check_labels(entries: MappedManifest, num_classes: int, multi_label: bool) -> None:
    labels = entries.labels
    if not multi_label and not labels.fewest == labels.most == 1:
        line = labels.fewest_line if labels.fewest != 1 else labels.most_line
        raise DataError(
            f"{_place(entries, line)}: found {len(entries[line - 1].y)} labels, expected exactly 1. Correct the "
            f"manifest, or set the option multi_label to true."
        )
    if num_classes and labels.max_label >= num_classes:
        raise DataError(
            f"{_place(entries, labels.max_label_line)}: found label {labels.max_label}, expected 0 to "
            f"{num_classes - 1}. Set num_classes to at least {labels.max_label + 1}, or to 0 to infer it."
        )


def _place(entries: MappedManifest, line: int) -> str:
    return f"{entries.path}:{line}: sample {entries[line - 1].id!r}"


def _env_int(env: Mapping[str, Any], key: str, minimum: int) -> int:
    value = env.get(key)
    if type(value) is not int or value < minimum:
        raise ConfigError(f"env[{key!r}]: found {value!r}, expected an integer from {minimum}")
    return value


def _manifest_inside(data_root: Path, manifest_file: str) -> Path:
    manifest = (data_root / manifest_file).absolute()
    resolve_uri(str(manifest), data_root)  # A shard must not name a file of the site as its manifest, by a link.
    return manifest
