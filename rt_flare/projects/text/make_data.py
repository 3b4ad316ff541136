"""Make sentences on three topics and pack them into one shard per site. Replace this by data of your own."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

NUM_SITES = 3
TEXTS_PER_SITE = (90, 60, 120)
TOPICS = (
    ("rain", "wind", "cloud", "storm", "sun", "frost", "thunder", "forecast", "degrees", "sky"),
    ("goal", "match", "team", "referee", "race", "medal", "coach", "league", "season", "stadium"),
    ("bread", "pepper", "soup", "oven", "salad", "recipe", "flour", "butter", "dish", "spoon"),
)
AROUND = ("today", "the", "new", "report", "says", "that", "people", "liked", "more", "and", "others", "saw", "little")


def record(generator: np.random.Generator) -> dict[str, object]:
    """One line: a text of common words with some of its topic in between, and the topic's number as label."""
    label = int(generator.integers(len(TOPICS)))
    common, of_topic = generator.choice(AROUND, 7, replace=False), generator.choice(TOPICS[label], 3, replace=False)
    words = generator.permutation(np.concatenate([common, of_topic]))
    return {"text": " ".join(words.tolist()), "label": label}


def main() -> None:
    """Write shards/shard_0001.zip and on: one ZIP per site, with texts.jsonl at its root."""
    generator = np.random.default_rng(0)
    shards = Path(__file__).parent / "shards"
    shards.mkdir(exist_ok=True)
    for site in range(1, NUM_SITES + 1):
        lines = [json.dumps(record(generator)) for _ in range(TEXTS_PER_SITE[site - 1])]
        with zipfile.ZipFile(shards / f"shard_{site:04d}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("texts.jsonl", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
