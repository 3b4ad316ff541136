"""NVFlare's aggregation as it comes, in a process without rt_flare's settings: see `benchmarks.flower_side`."""

from __future__ import annotations

import json
import sys
import time

import torch
from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper

from benchmarks.layouts import make_state


def main() -> None:
    """Serve until the input ends."""
    asked = json.loads(sys.stdin.readline())
    dtype = getattr(torch, asked["dtype"])
    updates = [make_state(asked["shapes"], dtype, seed) for seed in (0, 1)]
    if asked["payload"] == "numpy":
        updates = [{name: tensor.numpy() for name, tensor in update.items()} for update in updates]
    clock = time.process_time if asked["clock"] == "cpu" else time.perf_counter
    print(0.0, flush=True)
    for _ in sys.stdin:
        start = clock()
        adding = WeightedAggregationHelper()
        for number in range(asked["num_sites"]):
            adding.add(updates[number % 2], 100 + number, f"site-{number}", 0)
        adding.get_result()
        print(clock() - start, flush=True)


if __name__ == "__main__":
    main()
