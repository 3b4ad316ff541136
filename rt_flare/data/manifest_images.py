"""The samples of a manifest as a dataset: decoded once, then read from the decoded cache."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import PIL
import torch
import torchvision
from torch.utils.data import Dataset

from rt_flare.data.decoded_cache import DecodedCache, open_decoded_cache
from rt_flare.data.file_identity import FileIdentity, identify, is_settled
from rt_flare.data.image_batches import ImageLoader, RawBatch
from rt_flare.data.image_decoding import DECODING_VERSION, decode_pixels
from rt_flare.data.manifest_index import ManifestIndex
from rt_flare.data.remote_images import RemoteImages
from rt_flare.data.reused_buffers import ReusedBuffers
from rt_flare.data.uris import is_remote, resolve_uri, shown_uri
from rt_flare.errors import DataError

__all__ = ["ManifestImageDataset"]

_THREADED_BYTES = 1 << 18
_NOWHERE = FileIdentity(-1, 0, 0)
_REMOTE = RemoteImages()


class _Decoded(NamedTuple):
    """One image as it was read; ``identity`` is None if its pixels are not to be stored."""

    pixels: torch.Tensor
    identity: FileIdentity | None
    digest: int


class ManifestImageDataset(Dataset[tuple[Any, ...]]):
    """The samples of one manifest.

    An item is ``(image, target)`` or, with ``with_meta``, ``(image, target, meta)``: image float32 of shape
    (channels, img_size, img_size) in [0, 1]; target an int64 scalar, or float32 of shape (num_classes,) with 1 at
    every label of the entry; meta the entry's dict, empty if it has none (a DataLoader needs a ``collate_fn`` for it
    unless all have the same keys).

    Decoded pixels are kept on the site (see `open_decoded_cache`), without any augmentation: that comes after, on
    batches. A batch is gathered in one operation; `loader` hands it over as it is.

    Attributes:
        entries: the manifest's entries, in the order of the items.
        num_classes: number of classes.
        multi_label: whether targets are multi-hot.
        cache: the decoded cache, None where there is none.
    """

    def __init__(
        self,
        data_root: Path,
        entries: ManifestIndex,
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
        self._data_root = data_root
        self._prefix = f"{data_root.resolve()}/"
        self._shape = (channels, img_size, img_size)
        self._with_meta = with_meta
        self._buffers = ReusedBuffers()
        self.cache = self._open_cache()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"cache": None, "_buffers": ReusedBuffers()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.cache = self._open_cache()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return one sample.

        Raises:
            DataError: its file is missing, lies outside the shard, cannot be fetched (see `RemoteImages`) or is no
                usable image.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return several samples, gathered together; a DataLoader calls this. Errors are those of one sample."""
        raw = self.gather(indices)
        images = torch.from_numpy(self._buffers.take(tuple(raw.pixels.shape), np.float32))
        return list(zip(raw.images(uint8=False, out=images), *raw.others, strict=True))

    def loader(
        self,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        num_workers: int = 0,
        uint8: bool = False,
        **options: Any,
    ) -> ImageLoader:
        """Return a DataLoader that yields ``(images, targets)`` or, with ``with_meta``, ``(images, targets, metas)``.

        ``images`` is float32 of shape (n, channels, img_size, img_size) in [0, 1], or uint8 from 0 to 255 with
        ``uint8``, a quarter of the memory, for `normalize_images` on the device (images of 16 bits are rounded);
        ``targets`` is int64 of shape (n,) or float32 of shape (n, num_classes); ``metas`` a list of dicts.

        Args:
            batch_size, shuffle, generator, num_workers: as in `torch.utils.data.DataLoader`.
            uint8: see above.
            options: further arguments of the DataLoader, such as ``drop_last`` or ``pin_memory``; no ``collate_fn``.
        """
        settings = {"batch_size": batch_size, "shuffle": shuffle, "generator": generator, "num_workers": num_workers}
        return ImageLoader(self, uint8=uint8, **settings, **options)

    def gather(self, indices: Sequence[int]) -> RawBatch:
        """Return one batch, its pixels from the cache or decoded with PyTorch's number of threads.

        Raises:
            DataError: as for one sample.
        """
        every = range(len(self.entries))
        positions = np.array([every[index] for index in indices], np.int64)
        pixels, deep = self._pixels(positions)
        others: tuple[Any, ...] = (self._targets(positions),)
        if self._with_meta:
            others += ([self.entries[index].meta or {} for index in positions.tolist()],)
        return RawBatch(torch.from_numpy(pixels).reshape(-1, *self._shape), deep, others)

    def is_warm(self) -> bool:
        """Whether the cache holds every sample; a file that has changed since is decoded again when its turn comes."""
        return self.cache is not None and self.cache.is_complete()

    def _pixels(self, positions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], dict[int, torch.Tensor]]:
        """Return the pixels of these entries, shape (n, entry_bytes), and, by row, the images that have 16 bits."""
        if self.cache is None:
            rows = np.empty((len(positions), self._entry_bytes), np.uint8)
            missing, num_bytes = np.arange(len(positions)), _THREADED_BYTES
        else:
            identities = np.array([self._identity(index) for index in positions.tolist()], np.int64).reshape(-1, 3)
            rows, there = self.cache.read(positions, identities)
            missing = np.flatnonzero(~there)
            num_bytes = int(identities[missing, 0].sum())
        if len(missing) == 0:
            return rows, {}
        threads = torch.get_num_threads() if num_bytes >= _THREADED_BYTES else 1
        deep: dict[int, torch.Tensor] = {}
        kept: list[tuple[int, _Decoded]] = []
        wanted = positions[missing].tolist()
        for row, decoded in zip(missing.tolist(), _in_threads(self._decode, wanted, threads), strict=True):
            if decoded.pixels.dtype != torch.uint8:
                deep[row] = decoded.pixels
                continue
            rows[row].reshape(self._shape)[...] = decoded.pixels.numpy()
            if decoded.identity is not None:
                kept.append((row, decoded))
        if self.cache is not None and kept:
            kept_rows = [row for row, _ in kept]
            self.cache.write(
                positions[kept_rows].tolist(),
                [decoded.identity for _, decoded in kept if decoded.identity is not None],
                [decoded.digest for _, decoded in kept],
                rows if len(kept) == len(rows) else rows[kept_rows],
            )
        return rows, deep

    def _decode(self, index: int) -> _Decoded:
        uri = self.entries.uri(index)
        try:
            path = _REMOTE.file(uri) if is_remote(uri) else resolve_uri(uri, self._data_root)
            read_at_ns = time.time_ns()
            with path.open("rb") as file:
                identity = identify(os.fstat(file.fileno()))
                content = file.read()
                vouched = identify(os.fstat(file.fileno())) == identity and is_settled(identity, read_at_ns)
            digest = int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
            known = self._touched(index, identity, digest) if vouched else None
            if known is not None:
                return _Decoded(known, None, digest)
            pixels = decode_pixels(content, *self._shape[:2])
        except (DataError, OSError) as error:
            entry = self.entries[index]
            place = f"{self.entries.path}:{entry.line}: sample {entry.id!r}, uri {shown_uri(uri)}"
            raise DataError(f"{place}: {error}") from error
        return _Decoded(pixels, identity if vouched else None, digest)

    def _touched(self, index: int, identity: FileIdentity, digest: int) -> torch.Tensor | None:
        """Return the cached pixels of a file that has other times, but the same contents as before."""
        if self.cache is None or not self.cache.renew(index, identity, digest):
            return None
        rows, there = self.cache.read(np.array([index]), np.array([identity], np.int64))
        return torch.from_numpy(rows).reshape(self._shape) if there[0] else None

    def _identity(self, index: int) -> FileIdentity:
        """Return what the entry's file is like now; where the uri is no plain path, the file must be resolved first."""
        uri = self.entries.uri(index)
        try:
            if uri.startswith("file:"):
                name = unquote(uri[5:].removeprefix("//"), errors="surrogateescape")
            elif ":" not in uri:
                name = uri
            elif is_remote(uri):
                name = str(_REMOTE.place(uri))
            else:
                name = str(resolve_uri(uri, self._data_root))
            # Once per sample and epoch: a Path takes longer to make than the call.
            return identify(os.stat(name if name.startswith("/") else self._prefix + name))  # noqa: PTH116
        except (DataError, OSError, ValueError):
            return _NOWHERE  # never in the cache: decoding it says what is wrong

    def _targets(self, positions: npt.NDArray[np.int64]) -> torch.Tensor:
        if not self.multi_label:
            return torch.from_numpy(self.entries.single_labels(positions)).to(torch.int64)
        targets = torch.zeros((len(positions), self.num_classes), dtype=torch.float32)
        for row, index in enumerate(positions.tolist()):
            targets[row, torch.from_numpy(self.entries.labels(index).astype(np.int64))] = 1.0
        return targets

    @property
    def _entry_bytes(self) -> int:
        return math.prod(self._shape)

    def _open_cache(self) -> DecodedCache | None:
        if self.entries.file is None:
            return None
        key = {
            "data_root": hashlib.sha256(os.fsencode(self._prefix)).hexdigest(),
            "manifest": self.entries.sha256,
            "shape": list(self._shape),
            "decoder": [DECODING_VERSION, torchvision.__version__, torch.__version__, PIL.__version__],
        }
        return open_decoded_cache(self.entries.file.parent, key, len(self.entries), self._entry_bytes)


def _in_threads(decode: Any, indices: list[int], threads: int) -> list[_Decoded]:
    if threads == 1 or len(indices) == 1:
        return [decode(index) for index in indices]
    with ThreadPoolExecutor(min(threads, len(indices))) as pool:
        return list(pool.map(decode, indices))
