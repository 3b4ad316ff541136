"""Make a table of three kinds of rows and pack it into one shard per site. Replace this by data of your own."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np

NUM_SITES = 3
ROWS_PER_SITE = (120, 80, 160)
COLUMNS = ("length", "width", "height", "weight", "kind")
CENTERS = np.array([[0.2, 0.8, 0.3, -0.5], [-0.7, -0.2, 0.6, 0.4], [0.6, -0.6, -0.6, 0.2]])


def table(num_rows: int, generator: np.random.Generator) -> str:
    """A CSV with four measures and the kind, 0 to 2, of every row."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for kind in generator.integers(len(CENTERS), size=num_rows):
        measures = CENTERS[kind] + generator.normal(0, 0.3, size=CENTERS.shape[1])
        rows.writerow([*(f"{measure:.4f}" for measure in measures), kind])
    return text.getvalue()


def main() -> None:
    """Write shards/shard_0001.zip and on: one ZIP per site, with rows.csv at its root."""
    generator = np.random.default_rng(0)
    shards = Path(__file__).parent / "shards"
    shards.mkdir(exist_ok=True)
    for site in range(1, NUM_SITES + 1):
        with zipfile.ZipFile(shards / f"shard_{site:04d}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("rows.csv", table(ROWS_PER_SITE[site - 1], generator))


if __name__ == "__main__":
    main()
