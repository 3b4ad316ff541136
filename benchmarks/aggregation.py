"""A round's aggregation: rt_flare's component against NVFlare's helper, Flower's function, and the bare additions.

``uv run python -m benchmarks.aggregation`` measures every case, ``--only REGEX`` some. Ours is
`SampleWeightedAggregator` as a controller calls it: from the round's start through every site's reply, with the gate
and all bookkeeping, to the result. The limit is an in-place ``add_`` of as many flat tensors of the same bytes. Two
updates are in memory, and the sites send them in turn. Peers run in processes of their own, Flower in an environment of
its own: its arrays are numpy's, so that bfloat16 weights come to it as float32, and it keeps a weighted copy of every
update: of large ones it gets as many as fit into 4 GiB, and its time is scaled up.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.aggregator_rounds import CLOCKS, AggregatorRounds
from benchmarks.figures import Figure, command, spread
from benchmarks.layouts import LAYOUTS, Shapes, make_state
from benchmarks.peers import FLOWER

_MOST_EARLY_BYTES = 4 << 30
_MOST_FLOWER_BYTES = 4 << 30
_ROOT = Path(__file__).parents[1]
_NVFLARE_SIDE = [sys.executable, "-m", "benchmarks.nvflare_side"]
_FLOWER_SIDE = ["uv", "run", "--quiet", "--no-project", "--isolated", "--with", FLOWER, "--python", sys.executable]
_FLOWER_SIDE += ["python", "benchmarks/flower_side.py"]


@dataclass(frozen=True)
class Case:
    """What a round adds up."""

    num_values: int
    num_sites: int
    dtype: torch.dtype
    payload: str
    layout: str

    def __str__(self) -> str:
        return f"{self.num_values // 10**6}M {_name(self.dtype)} {self.payload} x {self.num_sites}, {self.layout}"


CASES = [
    *(
        Case(num_values, num_sites, dtype, payload, layout)
        for num_values, layout in ((25_000_000, "resnet"), (100_000_000, "transformer"))
        for num_sites in (8, 32)
        # numpy has no bfloat16.
        for dtype, payload in ((torch.float32, "torch"), (torch.bfloat16, "torch"), (torch.float32, "numpy"))
    ),
    Case(25_000_000, 8, torch.float32, "torch", "transformer"),
    Case(25_000_000, 8, torch.float32, "torch", "small tensors"),
    Case(25_000_000, 8, torch.float32, "numpy", "small tensors"),
]


def measure(options: argparse.Namespace) -> list[Figure]:
    """Measure the cases, one after the other; within each, all variants in turn."""
    if options.clock == "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"  # the peers' too
        torch.set_num_threads(1)
    figures = []
    for case in CASES:
        if re.search(options.only, str(case)):
            figures += measure_case(case, options.repeats, options.clock)
    return figures


def measure_case(case: Case, repeats: int, clock: str) -> list[Figure]:
    """Measure one case."""
    print(f"{case}, seconds a round", flush=True)
    shapes = LAYOUTS[case.layout](case.num_values)
    flats = [torch.cat([t.reshape(-1) for t in make_state(shapes, case.dtype, seed).values()]) for seed in (0, 1)]
    states = [_payload(split(flat, shapes), case.payload) for flat in flats]
    seconds: dict[str, list[float]] = {}
    flower_sites = min(case.num_sites, _MOST_FLOWER_BYTES // (flats[0].numel() * 4))
    with (
        peer(_NVFLARE_SIDE, case, shapes, case.num_sites, clock) as nvflare,
        peer(_FLOWER_SIDE, case, shapes, flower_sites, clock) as flower,
    ):
        variants = _variants(case, flats, states, clock) | {"NVFlare": nvflare}
        variants["Flower"] = lambda: flower() * case.num_sites / flower_sites
        for run in variants.values():
            run()
        for _ in range(repeats):
            for name, run in variants.items():
                seconds.setdefault(name, []).append(run())
    for name, values in seconds.items():
        print(f"  {name:24} {spread(values)}", flush=True)
    return list(_figures(f"{case}, one thread" if clock == "cpu" else str(case), case, seconds))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def split(flat: torch.Tensor, shapes: Shapes) -> dict[str, torch.Tensor]:
    """The entries as views of one flat tensor."""
    parts = flat.split([math.prod(shape) for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _payload(state: dict[str, torch.Tensor], payload: str) -> dict[str, Any]:
    return dict(state) if payload == "torch" else {name: tensor.numpy() for name, tensor in state.items()}


def _variants(
    case: Case, flats: list[torch.Tensor], states: list[dict[str, Any]], clock: str
) -> dict[str, Callable[[], float]]:
    streaming = AggregatorRounds(states, case.num_sites, deterministic=False, clock=CLOCKS[clock])
    ordered = AggregatorRounds(states, case.num_sites, deterministic=True, clock=CLOCKS[clock])
    total = torch.zeros_like(flats[0])

    def add_flat() -> float:
        start = CLOCKS[clock]()
        for number in range(case.num_sites):
            total.add_(flats[number % 2], alpha=0.25)
        return CLOCKS[clock]() - start

    def unchecked() -> float:
        with mock.patch("rt_flare.core.update_gate.first_not_finite", return_value=None):
            return streaming.run()

    variants = {"flat add_": add_flat, "ours": streaming.run, "ours, unchecked": unchecked}
    if case.payload == "torch" and case.dtype == torch.float32:
        variants["deterministic, in order"] = ordered.run
        if flats[0].nbytes * (case.num_sites - 1) <= _MOST_EARLY_BYTES:
            variants["deterministic, reversed"] = lambda: ordered.run(reverse=True)
    return variants


def _figures(title: str, case: Case, seconds: dict[str, list[float]]) -> Iterator[Figure]:
    def ratio(above: str, below: str, **bound: Any) -> Figure:
        values = tuple(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
        return Figure(f"{title}: {above} / {below}", values, **bound)

    yield ratio("flat add_", "ours", at_least=0.75)
    yield ratio("flat add_", "ours, unchecked", at_least=0.95)
    yield ratio("NVFlare", "ours", at_least=1.0 if case.payload == "torch" else 1.8)
    yield ratio("Flower", "ours", at_least=2.0)
    for order, most in (("in order", 1.15), ("reversed", 1.5)):
        if f"deterministic, {order}" in seconds:
            yield ratio(f"deterministic, {order}", "ours", at_most=most)


@contextmanager
def peer(
    command_line: list[str], case: Case, shapes: Shapes, num_sites: int, clock: str
) -> Iterator[Callable[[], float]]:
    """Start a peer's side; what is yielded runs one aggregation there and returns its seconds."""
    asked = {"shapes": shapes, "num_sites": num_sites, "dtype": _name(case.dtype), "payload": case.payload}
    asked["clock"] = clock
    with subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        to, back = process.stdin, process.stdout
        assert to is not None
        assert back is not None

        def ask(line: str) -> float:
            print(line, file=to, flush=True)
            return float(back.readline())

        ask(json.dumps(asked))
        try:
            yield lambda: ask("")
        finally:
            to.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    listed = "; ".join(map(str, CASES))
    parser.add_argument("--only", default="", metavar="REGEX", help=f"cases whose name it is found in: {listed}")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of one thread, on a busy machine")
    command(parser, measure)


if __name__ == "__main__":
    main()
