"""The default dataset adapter: images that a manifest lists with their labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rt_flare.data.adapter import DatasetAdapter
from rt_flare.data.cache_folder import cache_folder
from rt_flare.data.manifest import count_entries
from rt_flare.data.manifest_index import ManifestIndex, open_index
from rt_flare.data.uris import resolve_uri
from rt_flare.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rt_flare.data.manifest_images import ManifestImageDataset

__all__ = ["ManifestImageAdapter"]


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
        entries = open_index(manifest, cache_folder(data_root))
        multi_label = self.multi_label
        if multi_label is None:
            multi_label = entries.label_counts != (1, 1)
        _check_labels(entries, num_classes, multi_label)
        # Imported here: torch and torchvision cost seconds, and counting samples needs none of it.
        from rt_flare.data.manifest_images import ManifestImageDataset

        return ManifestImageDataset(
            data_root,
            entries,
            channels=self.channels,
            img_size=img_size,
            num_classes=num_classes or entries.max_label + 1,
            multi_label=multi_label,
            with_meta=self.with_meta,
        )

    def count_samples(self, data_root: Path, *, manifest_file: str) -> int:
        """Return the number of lines of the manifest that are not blank.

        Raises:
            MissingManifestError: there is no manifest.
        """
        return count_entries(data_root / manifest_file)


def _check_labels(entries: ManifestIndex, num_classes: int, multi_label: bool) -> None:
    if not multi_label and entries.label_counts != (1, 1):
        wrong = entries.find_label_count_other_than(1)
        raise DataError(
            f"{_place(entries, wrong)}: found {len(entries.labels(wrong))} labels, expected exactly 1. Correct the "
            f"manifest, or set the option multi_label to true."
        )
    if num_classes and entries.max_label >= num_classes:
        wrong = entries.find_label_from(num_classes)
        largest = max(entries.labels(wrong))
        raise DataError(
            f"{_place(entries, wrong)}: found label {largest}, expected 0 to {num_classes - 1}. Set num_classes to at "
            f"least {largest + 1}, or to 0 to infer it."
        )


def _place(entries: ManifestIndex, index: int) -> str:
    entry = entries[index]
    return f"{entries.path}:{entry.line}: sample {entry.id!r}"


def _env_int(env: Mapping[str, Any], key: str, minimum: int) -> int:
    value = env.get(key)
    if type(value) is not int or value < minimum:
        raise ConfigError(f"env[{key!r}]: found {value!r}, expected an integer from {minimum}")
    return value


def _manifest_inside(data_root: Path, manifest_file: str) -> Path:
    manifest = (data_root / manifest_file).absolute()
    resolve_uri(str(manifest), data_root)  # A shard must not name a file of the site as its manifest, by a link.
    return manifest
