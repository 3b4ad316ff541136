"""The rules that every aggregator keeps, one test method each."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from nvflare.apis.dxo import DataKind
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator

from rt_flare.catalog import load_catalog
from rt_flare.errors import RtFlareError
from rt_flare.testing.aggregation_round import AggregationRound, update_of

__all__ = ["AggregatorConformance"]

Weights = dict[str, torch.Tensor]

_SITES = ["site-1", "site-2", "site-3", "site-4"]
_SAMPLES = [10, 30, 20, 41]
_FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
_EXACT = [torch.int64, torch.int32, torch.uint8, torch.bool]
_BAD_SAMPLES: dict[str, Any] = {
    "samples are zero": 0,
    "samples are negative": -1,
    "samples are NaN": math.nan,
    "samples are missing": None,
    "samples are a bool": True,
    "samples are text": "3",
    "samples are beyond counting": 1e30,
}
_BAD_WEIGHTS: dict[str, Callable[[Weights], Any]] = {
    "weights are missing": lambda weights: None,
    "weights are empty": lambda weights: {},
    "a name is missing": lambda weights: dict(list(weights.items())[1:]),
    "a name is new": lambda weights: {**weights, "new": torch.ones(1)},
    "a shape differs": lambda weights: {**weights, "float32": torch.ones(3)},
    "a dtype differs": lambda weights: {**weights, "float32": weights["float32"].double()},
    "a value is NaN": lambda weights: {**weights, "float32": torch.full_like(weights["float32"], math.nan)},
    "a value is infinite": lambda weights: {**weights, "float16": torch.full_like(weights["float16"], math.inf)},
    "a value is no tensor": lambda weights: {**weights, "float32": "weights"},
}


class AggregatorConformance:
    """Checks an NVFlare aggregator: the gate before it, the laws of what it computes, its two faces.

    Subclass it as ``TestMyAggregator`` and give the fixture `new_aggregator`. An aggregator with a true
    ``order_independent`` (see `GatedAggregator`) must give the same bytes for any order of arrival; any other must
    give the same up to rounding.
    """

    @pytest.fixture
    def new_aggregator(self) -> Callable[[], Aggregator]:
        """What makes the aggregator: its class, or a function."""
        raise NotImplementedError("give the fixture 'new_aggregator'")

    def test_it_is_installed(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """A job names the aggregator; the catalog must lead to that class."""
        catalog = load_catalog()
        names = [name for name, found in catalog.components.items() if found.entry.kind == "aggregator"]
        assert type(new_aggregator()) in [catalog.component(name, kind="aggregator") for name in names]

    def test_its_arguments_are_stored_under_their_names(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """NVFlare's job export reads them back, and loses those that it does not find."""
        aggregator = new_aggregator()
        names = [name for name in inspect.signature(type(aggregator)).parameters if name not in {"args", "kwargs"}]
        assert [name for name in names if not hasattr(aggregator, name)] == []

    def test_names_shapes_and_dtypes_stay(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """The result loads into the model that the updates came from."""
        result = _combine(new_aggregator, [_update(seed) for seed in range(4)])
        expected = {name: (tensor.shape, tensor.dtype) for name, tensor in _update(0).items()}
        assert {name: (tensor.shape, tensor.dtype) for name, tensor in result.items()} == expected

    def test_one_update_alone_is_the_result(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """Bit for bit."""
        update = _update(0)
        assert _bytes(_combine(new_aggregator, [update])) == _bytes(update)

    def test_equal_updates_are_the_result(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """Whatever the numbers of samples; up to rounding."""
        update = _update(0)
        _assert_close(_combine(new_aggregator, [update] * 4), update)

    def test_every_value_lies_between_the_sites_values(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """No rule of combination may leave the range that the sites span; up to rounding."""
        updates = [_update(seed) for seed in range(4)]
        for name, value in _floats(_combine(new_aggregator, updates)).items():
            stacked = torch.stack([update[name] for update in updates]).double()
            slack = 8 * torch.finfo(value.dtype).eps * stacked.abs().amax(dim=0)
            assert (value.double() >= stacked.amin(dim=0) - slack).all(), name
            assert (value.double() <= stacked.amax(dim=0) + slack).all(), name

    def test_integers_and_bools_are_never_averaged(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """Each value of the result is one that a site sent."""
        updates = [_update(seed) for seed in range(4)]
        result = _combine(new_aggregator, updates)
        for name in result.keys() - _floats(result).keys():
            assert torch.stack([result[name] == update[name] for update in updates]).any(dim=0).all(), name

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_half_precision_is_combined_in_full(
        self, new_aggregator: Callable[[], Aggregator], dtype: torch.dtype
    ) -> None:
        """The result is that of the same values in float32, rounded once."""
        generator = torch.Generator().manual_seed(3)
        updates = [{"w": (1 + torch.rand(64, generator=generator) / 50).to(dtype)} for _ in range(4)]
        in_full = _combine(new_aggregator, [{"w": update["w"].float()} for update in updates])
        assert torch.equal(_combine(new_aggregator, updates)["w"], in_full["w"].to(dtype))

    def test_only_the_ratios_of_the_samples_count(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """Sixteen times the samples at every site changes no bit."""
        updates = [_update(seed) for seed in range(4)]
        more = _combine(new_aggregator, updates, samples=[16 * count for count in _SAMPLES])
        assert _bytes(more) == _bytes(_combine(new_aggregator, updates))

    def test_the_order_of_arrival_does_not_matter(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """Not one bit if the aggregator is ``order_independent``; else up to rounding."""
        updates = [_update(seed) for seed in range(4)]
        expected = _combine(new_aggregator, updates)
        for order in itertools.permutations(range(4)):
            result = _combine(new_aggregator, updates, order=order)
            if getattr(new_aggregator(), "order_independent", False):
                assert _bytes(result) == _bytes(expected)
            else:
                _assert_close(result, expected)

    def test_the_updates_are_not_changed(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """NVFlare's filters and widgets may still read them."""
        updates = [_update(seed) for seed in range(4)]
        _combine(new_aggregator, updates)
        assert [_bytes(update) for update in updates] == [_bytes(_update(seed)) for seed in range(4)]

    @pytest.mark.parametrize("fault", [*_BAD_SAMPLES, *_BAD_WEIGHTS, "it is a difference", "it is an error", "no data"])
    def test_a_bad_update_is_refused_and_changes_nothing(
        self, new_aggregator: Callable[[], Aggregator], fault: str
    ) -> None:
        """The result is that of the other sites alone, bit for bit; `accept` does not raise."""
        with_bad, alone = _round(new_aggregator), _round(new_aggregator)
        for seed, (site, samples) in enumerate(zip(_SITES, _SAMPLES, strict=True)):
            if site == "site-2":
                assert with_bad.send(site, _bad_reply(fault)) is False
                continue
            for round_ in (with_bad, alone):
                assert round_.send(site, update_of(_update(seed), samples))
        assert _bytes(with_bad.result()) == _bytes(alone.result())

    def test_a_late_update_of_another_round_is_refused(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """ScatterAndGather hands it to the aggregator all the same."""
        round_ = _round(new_aggregator, number=4)
        assert round_.send("site-1", update_of(_update(0), 10))
        assert not round_.send("site-2", update_of(_update(1), 10), number=3)
        assert _bytes(round_.result()) == _bytes(_update(0))

    def test_a_site_counts_once(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """A replayed update must not count twice."""
        round_ = _round(new_aggregator)
        assert round_.send("site-1", update_of(_update(0), 10))
        assert not round_.send("site-1", update_of(_update(1), 10))
        assert _bytes(round_.result()) == _bytes(_update(0))

    def test_a_site_that_was_not_asked_is_refused(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """Only the job's sites have a say."""
        round_ = _round(new_aggregator)
        assert round_.send("site-1", update_of(_update(0), 10))
        assert not round_.send("stranger", update_of(_update(1), 10))
        assert _bytes(round_.result()) == _bytes(_update(0))

    def test_a_round_without_updates_raises(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """The controller then fails the job and keeps the last good model; an empty one would replace it."""
        with pytest.raises(RtFlareError):
            _round(new_aggregator).result()

    def test_the_next_round_starts_empty(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """After `reset`, and after the next round's announcement, the same sites may answer again."""
        round_ = _round(new_aggregator, number=0)
        for number in range(3):
            if number:
                round_.start(_update(0), number)
            for seed, site in enumerate(_SITES):
                assert round_.send(site, update_of(_update(10 * number + seed), 10))
            alone = _combine(new_aggregator, [_update(10 * number + seed) for seed in range(4)], samples=[10] * 4)
            assert _bytes(round_.result()) == _bytes(alone)
            round_.reset()

    def test_fedavgs_face_gives_the_same(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """NVFlare's FedAvg hands over models and takes one back."""
        if not isinstance(new_aggregator(), ModelAggregator):
            pytest.skip("the aggregator has ScatterAndGather's face only")
        round_ = _round(new_aggregator)
        aggregator: Any = round_.aggregator
        aggregator.reset_stats()
        for seed, (site, samples) in enumerate(zip(_SITES, _SAMPLES, strict=True)):
            round_.send_model(site, _update(seed), samples)
        expected = _combine(new_aggregator, [_update(seed) for seed in range(4)])
        assert _bytes(aggregator.aggregate_model().params) == _bytes(expected)

    def test_numpy_updates_give_a_numpy_model(self, new_aggregator: Callable[[], Aggregator]) -> None:
        """NVFlare's own persistor and converters exchange numpy arrays."""
        updates = [{"w": np.full((2, 3), value, dtype=np.float32)} for value in (1.0, 2.0, 3.0)]
        round_ = AggregationRound(new_aggregator(), updates[0], sites=_SITES)
        for site, update in zip(_SITES, updates, strict=False):
            assert round_.send(site, update_of(update, 10))
        result = round_.result()["w"]
        assert isinstance(result, np.ndarray)
        assert (result.shape, result.dtype) == ((2, 3), np.dtype(np.float32))


def _update(seed: int) -> Weights:
    """An update with every kind of entry; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    weights = {str(dtype)[6:]: torch.randn(5, 3, generator=generator).to(dtype) for dtype in _FLOATS}
    for dtype in _EXACT:
        high = 2 if dtype is torch.bool else 100
        weights[str(dtype)[6:]] = torch.randint(high, (7,), generator=generator).to(dtype)
    weights["scalar"] = torch.randn((), generator=generator)
    weights["norm.num_batches_tracked"] = torch.tensor(seed + 3)
    weights["empty"] = torch.empty(0, 4)
    return weights


def _round(new_aggregator: Callable[[], Aggregator], *, number: int = 0) -> AggregationRound:
    return AggregationRound(new_aggregator(), _update(99), sites=_SITES, number=number)


def _combine(
    new_aggregator: Callable[[], Aggregator],
    updates: list[Weights],
    *,
    samples: list[int] = _SAMPLES,
    order: tuple[int, ...] = (0, 1, 2, 3),
) -> Weights:
    round_ = AggregationRound(new_aggregator(), updates[0], sites=_SITES)
    for index in order[: len(updates)]:
        assert round_.send(_SITES[index], update_of(dict(updates[index]), samples[index])), "a sound update was refused"
    return round_.result()


def _bad_reply(fault: str) -> Shareable:
    weights = _update(1)
    if fault in _BAD_SAMPLES:
        return update_of(weights, _BAD_SAMPLES[fault])
    if fault in _BAD_WEIGHTS:
        reply = update_of(weights, 10)
        reply["DXO"]["data"] = _BAD_WEIGHTS[fault](weights)
        return reply
    if fault == "it is a difference":
        return update_of(weights, 10, kind=DataKind.WEIGHT_DIFF)
    return make_reply(ReturnCode.EXECUTION_EXCEPTION) if fault == "it is an error" else Shareable()


def _floats(weights: Mapping[str, torch.Tensor]) -> Weights:
    return {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}


def _bytes(weights: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() for name, tensor in weights.items()}


def _assert_close(found: Weights, expected: Weights) -> None:
    for name, value in expected.items():
        slack = 8 * torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
        assert torch.allclose(found[name].double(), value.double(), rtol=slack, atol=slack), name
