"""Draw gray pictures of four shapes and pack them into one shard per site. Replace this by data of your own.

For a folder of your own with a subfolder per class: rt-flare shards build FOLDER shards -n 3
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.splits import split

NUM_SITES = 3
NUM_SAMPLES = 480
SHAPES = ("disc", "ring", "square", "cross")
SIZE = 16


def draw(shape: str, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """One picture, uint8 of shape (16, 16): bright on dark, somewhere near the middle, with noise."""
    row, column = generator.uniform(6, 9, size=2)
    radius = generator.uniform(3.5, 5.5)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    distance = np.hypot(rows - row, columns - column)
    across, along = np.abs(rows - row), np.abs(columns - column)
    inside = {
        "disc": distance < radius,
        "ring": (distance < radius) & (distance > radius - 2),
        "square": np.maximum(across, along) < radius - 0.5,
        "cross": (np.minimum(across, along) < 1.2) & (np.maximum(across, along) < radius),
    }[shape]
    pixels = np.where(inside, 200, 40) + generator.normal(0, 20, size=inside.shape)
    picture: npt.NDArray[np.uint8] = np.clip(pixels, 0, 255).astype(np.uint8)
    return picture


def main() -> None:
    """Write shards/shard_0001.zip and on; the same bytes every time."""
    generator = np.random.default_rng(0)
    samples = []
    for number in range(NUM_SAMPLES):
        label = number % len(SHAPES)
        png = io.BytesIO()
        Image.fromarray(draw(SHAPES[label], generator)).save(png, format="PNG")
        name = f"shape_{number:04d}"
        samples.append(ShardSample(id=name, source=png.getvalue(), name=f"images/{name}.png", y=(label,)))
    # Uneven on purpose: every site sees another mix of shapes, and another number of them.
    parts = split([sample.y for sample in samples], NUM_SITES, how="dirichlet", alpha=2.0)
    build_shards(samples, parts, Path(__file__).parent / "shards")


if __name__ == "__main__":
    main()
