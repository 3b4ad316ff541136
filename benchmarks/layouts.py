"""Models as aggregation and saving see them: names, shapes and dtypes, of real architectures' proportions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

__all__ = ["LAYOUTS", "make_state"]

Shapes = dict[str, tuple[int, ...]]


def resnet(num_values: int) -> Shapes:
    """Bottleneck blocks with batch norm, as in ResNet-50 (25.6 million values at width 64), without their counters."""
    width = max(8, round(64 * math.sqrt(num_values / 25.5e6) / 8) * 8)
    shapes: Shapes = {"conv1.weight": (width, 3, 7, 7), **_norm("bn1", width)}
    before = width
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner, outer = width << stage, width << stage + 2
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            sizes = (inner, before, 1), (inner, inner, 3), (outer, inner, 1)
            for number, (after, fan_in, side) in enumerate(sizes, 1):
                shapes[f"{name}.conv{number}.weight"] = (after, fan_in, side, side)
                shapes |= _norm(f"{name}.bn{number}", after)
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (outer, before, 1, 1)
                shapes |= _norm(f"{name}.downsample.1", outer)
            before = outer
    return shapes | {"fc.weight": (1000, before), "fc.bias": (1000,)}


def transformer(num_values: int) -> Shapes:
    """Blocks of attention and MLP, as in BERT base (110 million values at width 768, 12 blocks, 30,522 tokens)."""
    width = max(64, round(768 * math.sqrt(num_values / 108e6) / 64) * 64)
    shapes: Shapes = {
        "embeddings.word.weight": (30522 * width // 768, width),
        "embeddings.position.weight": (512, width),
    }
    for block in range(12):
        name = f"encoder.{block}"
        for part in ("query", "key", "value", "output"):
            shapes |= {f"{name}.attention.{part}.weight": (width, width), f"{name}.attention.{part}.bias": (width,)}
        shapes |= {f"{name}.up.weight": (4 * width, width), f"{name}.up.bias": (4 * width,)}
        shapes |= {f"{name}.down.weight": (width, 4 * width), f"{name}.down.bias": (width,)}
        for norm in ("norm1", "norm2"):
            shapes |= {f"{name}.{norm}.weight": (width,), f"{name}.{norm}.bias": (width,)}
    return shapes


def small_tensors(num_values: int) -> Shapes:
    """Nothing but tensors of 2,048 values."""
    return {f"expert.{number}.weight": (32, 64) for number in range(num_values // 2048)}


LAYOUTS: dict[str, Callable[[int], Shapes]] = {
    "resnet": resnet,
    "transformer": transformer,
    "small tensors": small_tensors,
}


def make_state(shapes: Shapes, dtype: torch.dtype, seed: int) -> dict[str, torch.Tensor]:
    """Random weights near zero."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float32).mul_(0.02).to(dtype)
        for name, shape in shapes.items()
    }


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
