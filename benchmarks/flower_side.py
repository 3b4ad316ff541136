"""Flower's aggregation, in its own environment: reads what to add, then runs once per line and prints the seconds."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from flwr.server.strategy.aggregate import aggregate


def main() -> None:
    """Serve until the input ends."""
    asked = json.loads(sys.stdin.readline())
    random = np.random.default_rng(0)
    updates = [
        [random.standard_normal(shape, dtype=np.float32) for shape in asked["shapes"].values()] for _ in range(2)
    ]
    results = [(updates[number % 2], 100 + number) for number in range(asked["num_sites"])]
    clock = time.process_time if asked["clock"] == "cpu" else time.perf_counter
    print(0.0, flush=True)
    for _ in sys.stdin:
        start = clock()
        aggregate(results)
        print(clock() - start, flush=True)


if __name__ == "__main__":
    main()
