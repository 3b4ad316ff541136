"""The robust aggregators: rt_flare's conformance suite, and what is their own (P3, P4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.job_config.api import FedJob

from rt_flare.errors import ConfigError
from rt_flare.testing import AggregatorConformance
from rt_flare.testing.aggregation_round import AggregationRound, update_of
from rt_flare_robust.aggregators import CoordinateMedianAggregator, TrimmedMeanAggregator


class TestCoordinateMedian(AggregatorConformance):
    """P3"""

    @pytest.fixture
    def new_aggregator(self) -> Callable[[], Aggregator]:
        return CoordinateMedianAggregator


class TestCoordinateMedianOnDisk(AggregatorConformance):
    """P3: with no memory for updates, the same laws hold."""

    @pytest.fixture
    def new_aggregator(self) -> Callable[[], Aggregator]:
        return lambda: CoordinateMedianAggregator(max_held_bytes=0)


class TestTrimmedMean(AggregatorConformance):
    """P3"""

    @pytest.fixture
    def new_aggregator(self) -> Callable[[], Aggregator]:
        return TrimmedMeanAggregator


def combine(aggregator: Aggregator, values: list[float], samples: list[int] | None = None) -> float:
    sites = [f"site-{number}" for number in range(len(values))]
    round_ = AggregationRound(aggregator, {"w": torch.zeros(1)}, sites=sites)
    for site, value, count in zip(sites, values, samples or [1] * len(values), strict=True):
        assert round_.send(site, update_of({"w": torch.tensor([float(value)])}, count))
    return float(round_.result()["w"].item())


@pytest.mark.parametrize(
    ("values", "expected"), [([5, 1, 2], 2), ([1e30, 1, 2, 4], 3), ([7], 7), ([1, 2], 1.5), ([-1e30, 1e30, 3, 3, 3], 3)]
)
def test_the_median_is_the_middle_value(values: list[float], expected: float) -> None:
    """P4"""
    assert combine(CoordinateMedianAggregator(), values) == expected


@pytest.mark.parametrize(
    ("values", "trim_fraction", "expected"),
    [
        ([1, 2, 6, 1e30, -1e30], 0.2, 3),
        ([1, 2, 6, 1e30, -1e30], 0.4, 2),
        ([1, 2, 3, 1e30], 0.1, 2.5),
        ([5], 0.2, 5),
        ([1, 2], 0.2, 1.5),
    ],
)
def test_the_trimmed_mean_drops_both_ends(values: list[float], trim_fraction: float, expected: float) -> None:
    """P4"""
    assert combine(TrimmedMeanAggregator(trim_fraction), values) == expected


@pytest.mark.parametrize("aggregator", [CoordinateMedianAggregator(), TrimmedMeanAggregator()])
def test_a_site_gains_nothing_by_a_large_number_of_samples(aggregator: Aggregator) -> None:
    """P4: it is what a bad site would claim."""
    assert 1 <= combine(aggregator, [1, 2, 3, 1e9], samples=[1, 1, 1, 1 << 40]) <= 3


@pytest.mark.parametrize("trim_fraction", [0, 0.5, -0.1, float("nan"), "0.2", True])
def test_a_trim_fraction_that_drops_none_or_all_is_refused(trim_fraction: Any) -> None:
    """P4"""
    with pytest.raises(ConfigError, match="trim_fraction: found"):
        TrimmedMeanAggregator(trim_fraction)


@pytest.mark.parametrize("make", [CoordinateMedianAggregator, TrimmedMeanAggregator])
def test_a_wrong_amount_of_memory_is_refused(make: Callable[..., Aggregator]) -> None:
    """P4"""
    with pytest.raises(ConfigError, match="max_held_bytes: found -1"):
        make(max_held_bytes=-1)


def test_an_exported_job_carries_the_arguments(tmp_path: Path) -> None:
    """M12: NVFlare's own FedJob writes down what was asked for."""
    job = FedJob(name="exported")
    job.set_app_packages(["rt_flare_robust"])
    job.to_server(TrimmedMeanAggregator(0.3, 5), id="aggregator")
    job.export_job(str(tmp_path))
    (config,) = tmp_path.rglob("config_fed_server.json")
    server = json.loads(config.read_text())
    assert server["components"][0]["args"] == {"trim_fraction": 0.3, "max_held_bytes": 5}
