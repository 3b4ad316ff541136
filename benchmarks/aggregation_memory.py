"""What a round's aggregation needs in memory, beside the global model and the update that is arriving.

Run with ``uv run python -m benchmarks.aggregation_memory``. Each figure is one of a fresh process, in which every
site's update is made when it arrives, and forgotten when it was taken; the peak is the kernel's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import psutil
import torch

from benchmarks.aggregator_rounds import AggregatorRounds
from benchmarks.figures import Figure, command
from benchmarks.layouts import LAYOUTS

CASES = [
    (num_values, layout, num_sites, dtype)
    for num_values, layout in ((25_000_000, "resnet"), (25_000_000, "small tensors"), (100_000_000, "transformer"))
    for num_sites in (8, 32)
    for dtype in ("float32", "bfloat16")
]


def measure(options: argparse.Namespace) -> list[Figure]:
    """Measure every case in processes of their own."""
    figures = []
    for num_values, layout, num_sites, dtype in CASES:
        once = [sys.executable, "-m", "benchmarks.aggregation_memory", "--once", str(num_values), layout]
        once += [str(num_sites), dtype]
        models = tuple(float(subprocess.check_output(once)) for _ in range(options.repeats))
        name = f"{num_values // 10**6}M {dtype} x {num_sites}, {layout}: peak without the arriving update / model"
        figures.append(Figure(name, models, at_most=2.2))
    return figures


def peak_of_a_round(num_values: int, layout: str, num_sites: int, dtype: str) -> float:
    """Memory that this process adds in one round, in models, without the update that is arriving."""
    shapes = LAYOUTS[layout](num_values)

    def make_update(number: int) -> dict[str, torch.Tensor]:
        return {name: torch.full(shape, 0.01 * number, dtype=getattr(torch, dtype)) for name, shape in shapes.items()}

    small = {"weight": torch.ones(100_000)}
    AggregatorRounds([small], 3, deterministic=False).run()
    model = make_update(0)
    size = sum(tensor.nbytes for tensor in model.values())
    rounds = AggregatorRounds([model], num_sites, deterministic=False)
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
    before = psutil.Process().memory_info().rss
    rounds.run_with(make_update)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return (peak - before) / size - 1.0


def main() -> None:
    """Measure, or be one of the fresh processes."""
    if sys.argv[1:2] == ["--once"]:
        num_values, layout, num_sites, dtype = sys.argv[2:]
        print(peak_of_a_round(int(num_values), layout, int(num_sites), dtype))
    else:
        command(argparse.ArgumentParser(description=__doc__), measure)


if __name__ == "__main__":
    main()
