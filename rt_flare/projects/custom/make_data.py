"""Make series of readings and pack them into one shard per site. Replace this by data of your own, in any format."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

NUM_SITES = 3
LENGTHS = (400, 300, 500)


def readings(length: int, generator: np.random.Generator) -> bytes:
    """A series, float32 of shape (length), as the content of a .npy file: two waves and noise."""
    time = np.arange(length)
    shift = generator.uniform(0, 2 * np.pi)
    series = 0.7 * np.sin(time / 6 + shift) + 0.3 * np.sin(time / 17) + generator.normal(0, 0.05, size=length)
    content = io.BytesIO()
    np.save(content, series.astype(np.float32), allow_pickle=False)
    return content.getvalue()


def main() -> None:
    """Write shards/shard_0001.zip and on: one ZIP per site, with readings.npy at its root."""
    generator = np.random.default_rng(0)
    shards = Path(__file__).parent / "shards"
    shards.mkdir(exist_ok=True)
    for site in range(1, NUM_SITES + 1):
        with zipfile.ZipFile(shards / f"shard_{site:04d}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("readings.npy", readings(LENGTHS[site - 1], generator))


if __name__ == "__main__":
    main()
