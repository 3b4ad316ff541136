"""The benchmark of aggregation compares like with like (M9)."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.aggregation import split
from benchmarks.aggregator_rounds import AggregatorRounds
from benchmarks.layouts import LAYOUTS, make_state

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("num_values", [25_000_000, 100_000_000])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_has_about_the_values_that_are_asked_for(layout: str, num_values: int) -> None:
    """M9"""
    shapes = LAYOUTS[layout](num_values)
    assert sum(math.prod(shape) for shape in shapes.values()) == pytest.approx(num_values, rel=0.1)
    assert len(shapes) > 150


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_round_is_the_weighted_mean_of_what_all_sites_sent(deterministic: bool, reverse: bool) -> None:
    """M9: nothing is left out of what is measured."""
    updates = [{"w": torch.full((3,), float(number))} for number in range(2)]
    rounds = AggregatorRounds(updates, 4, deterministic=deterministic)
    assert rounds.run(reverse=reverse) > 0
    assert rounds._model["weights"]["w"].tolist() == pytest.approx([(101 + 103) / 406] * 3)


def test_the_flat_tensor_is_the_bytes_of_the_update() -> None:
    """M9"""
    shapes = {"a": (2, 3), "b": (4,)}
    state = make_state(shapes, torch.float32, 0)
    flat = torch.cat([tensor.reshape(-1) for tensor in state.values()])
    assert all(torch.equal(tensor, state[name]) for name, tensor in split(flat, shapes).items())


@pytest.mark.slow
def test_memory_is_counted_in_models() -> None:
    """M9: the sums and the update that waits, and not the one that arrives. Seconds of a process of its own."""
    once = [sys.executable, "-m", "benchmarks.aggregation_memory", "--once", "30000000", "resnet", "3", "float32"]
    assert 1.5 < float(subprocess.check_output(once, cwd=ROOT)) < 2.4
