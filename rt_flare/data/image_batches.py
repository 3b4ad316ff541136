"""Whole batches of images: the loader that yields them, and the step from uint8 to normalised float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from rt_flare.data.reused_buffers import ReusedBuffers

__all__ = ["ImageLoader", "RawBatch", "RawBatchSource", "normalize_images"]

_CHUNK_ELEMENTS = 1 << 18


class RawBatch(NamedTuple):
    """One batch as it comes from the disk.

    Attributes:
        pixels: uint8 of shape (n, channels, height, width).
        deep: by row, float32 images in [0, 1] with more than 8 bits; these rows of ``pixels`` are not set.
        others: what follows the images in an item (targets and so on), each with a batch axis.
    """

    pixels: torch.Tensor
    deep: dict[int, torch.Tensor]
    others: tuple[Any, ...]

    def images(self, *, uint8: bool, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the images as uint8, or as float32 in [0, 1], in the memory of ``out`` if it is given."""
        images = self.pixels if uint8 else normalize_images(self.pixels, out=out)
        for row, image in self.deep.items():
            images[row] = image.mul(255).round_() if uint8 else image
        return images


class RawBatchSource(Protocol):
    """A dataset that gathers a batch in one operation."""

    def __len__(self) -> int: ...

    def gather(self, indices: Sequence[int]) -> RawBatch:
        """Return these samples."""

    def is_warm(self) -> bool:
        """Whether all samples are decoded, so that worker processes would only be in the way."""


class ImageLoader(DataLoader[tuple[Any, ...]]):
    """Yields ``(images, *others)`` of whole batches of ``source``.

    Worker processes decode; they hand over uint8, and are not started for an epoch that finds all samples decoded.
    The order of the samples is that of a plain DataLoader with the same options in either case.

    Args:
        source: the dataset.
        uint8: yield uint8 images instead of float32.
        options: further arguments of the DataLoader, without ``collate_fn``.
    """

    def __init__(self, source: RawBatchSource, *, uint8: bool, **options: Any) -> None:
        super().__init__(_RawBatches(source), collate_fn=_as_it_is, **options)
        self.uint8 = uint8
        self._source = source
        self._options = {"collate_fn": _as_it_is, "generator": self.generator, "pin_memory": self.pin_memory}

    def __iter__(self) -> Iterator[tuple[Any, ...]]:  # type: ignore[override]
        batches: Any = super().__iter__
        # Workers that persist draw other numbers from the generator: no epoch may then go without them.
        if self.num_workers and not self.persistent_workers and self._source.is_warm():
            batches = DataLoader(self.dataset, batch_sampler=self.batch_sampler, **self._options).__iter__
        buffers = ReusedBuffers()
        for batch in batches():
            yield self._finished(RawBatch(*batch), buffers)

    def _finished(self, raw: RawBatch, buffers: ReusedBuffers) -> tuple[Any, ...]:
        out = None
        if not self.uint8:
            shape = raw.pixels.shape
            # PyTorch reuses page-locked memory by itself.
            pinned = self.pin_memory and torch.cuda.is_available()
            out = torch.empty(shape, pin_memory=True) if pinned else torch.from_numpy(buffers.take(shape, np.float32))
        return raw.images(uint8=self.uint8, out=out), *raw.others


class _RawBatches(Dataset[RawBatch]):
    def __init__(self, source: RawBatchSource) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitems__(self, indices: Sequence[int]) -> RawBatch:
        return self._source.gather(indices)


def normalize_images(
    images: torch.Tensor,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    *,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return ``images`` as float32, scaled to [0, 1], less ``mean``, over ``std``; on the device where they are.

    Without ``mean`` and ``std`` the values are those of the loader's float32 batches. To move uint8 batches to a GPU
    and to normalise them there takes a quarter of the transfer and no time of the CPU:
    ``normalize_images(images.to(device, non_blocking=True), mean, std)``.

    Args:
        images: uint8, or float32 in [0, 1]; shape (n, channels, height, width). It is not changed.
        mean: one value, or one per channel.
        std: one value, or one per channel, none of them 0.
        out: float32 of the same shape and on the same device, to hold the result; None for new memory.
    """
    scaled = torch.empty(images.shape, dtype=torch.float32, device=images.device) if out is None else out
    largest = 255 if images.dtype == torch.uint8 else 1
    plain = not any(mean) and all(value == 1.0 for value in std)
    weight: Any = 1.0 / largest
    if not plain:
        deviation = torch.tensor(std).view(-1, 1, 1)
        weight = (1.0 / (largest * deviation)).to(images.device)
        offset = (-torch.tensor(mean).view(-1, 1, 1) / deviation).to(images.device)
    # One thread is faster with pieces that stay in the processor's cache from one step to the next.
    single = images.device.type == "cpu" and torch.get_num_threads() == 1
    step = max(1, _CHUNK_ELEMENTS * len(images) // max(1, images.numel())) if single else max(1, len(images))
    for source, target in zip(torch.split(images, step), torch.split(scaled, step), strict=True):
        target.copy_(source).mul_(weight)
        if not plain:
            target.add_(offset)
    return scaled


def _as_it_is(batch: Any) -> Any:
    return batch
