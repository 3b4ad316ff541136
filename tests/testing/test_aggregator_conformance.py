"""The aggregator suite: our own aggregator keeps every rule, and each rule catches an aggregator that breaks it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.aggregator import Aggregator

from rt_flare.components.aggregator import SampleWeightedAggregator
from rt_flare.core.ordered_mean import OrderedMean
from rt_flare.core.weighted_mean import WeightedMean
from rt_flare.testing import AggregatorConformance


class TestSampleWeightedAggregator(AggregatorConformance):
    """P3, M9, M12, X2"""

    @pytest.fixture
    def new_aggregator(self) -> Callable[[], Aggregator]:
        return SampleWeightedAggregator


class Deterministic(SampleWeightedAggregator):
    order_independent = True

    def __init__(self) -> None:
        super().__init__(deterministic=True)


class TestDeterministicAggregator(AggregatorConformance):
    """P3, X3"""

    @pytest.fixture
    def new_aggregator(self) -> Callable[[], Aggregator]:
        return Deterministic

    def test_it_is_installed(self, new_aggregator: Callable[[], Aggregator]) -> None:
        pytest.skip("a test double")


class Lax(SampleWeightedAggregator):
    """Takes whatever comes: no gate at all."""

    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        super().accept(shareable, fl_ctx)
        return True


class Mean(WeightedMean):
    def change(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return value

    def result(self) -> dict[str, torch.Tensor]:
        return {name: self.change(name, value) for name, value in super().result().items()}


class WideMean(Mean):
    def change(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return value.double() if value.is_floating_point() else value


class ShiftedMean(Mean):
    def change(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return value + 100 if value.is_floating_point() else value


class AveragedIntegers(Mean):
    def change(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return value + 1 if value.dtype is torch.int64 else value


class HalfMean(Mean):
    """Sums half precision in half precision."""

    def add(self, site: str, state: Any, num_samples: int) -> None:
        self.rough = {
            name: tensor * num_samples + getattr(self, "rough", {}).get(name, 0) for name, tensor in state.items()
        }
        super().add(site, state, num_samples)

    def change(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return self.rough[name] / self.total_samples if value.dtype is torch.bfloat16 else value


class SpoilingMean(WeightedMean):
    def add(self, site: str, state: Any, num_samples: int) -> None:
        super().add(site, state, num_samples)
        for tensor in state.values():
            tensor.zero_()


class CappedMean(WeightedMean):
    def add(self, site: str, state: Any, num_samples: int) -> None:
        super().add(site, state, min(num_samples, 100))


class FirstComes(WeightedMean):
    def add(self, site: str, state: Any, num_samples: int) -> None:
        super().add(site, state, num_samples if not self.sites else 1)


class EmptyModel(WeightedMean):
    def result(self) -> dict[str, torch.Tensor]:
        return super().result() if self.sites else {}


def with_accumulator(accumulator: type[WeightedMean]) -> type[Aggregator]:
    class Broken(SampleWeightedAggregator):
        def new_accumulator(self, expected_sites: Collection[str]) -> WeightedMean:
            return accumulator()

    return Broken


class Sticky(SampleWeightedAggregator):
    """Forgets nothing."""

    def _start_round(self, round_number: int | None) -> None:
        if not hasattr(self, "_gate"):
            super()._start_round(round_number)


class Renaming(SampleWeightedAggregator):
    def __init__(self, mode: str = "mean") -> None:
        super().__init__()
        self.how = mode


class FalseClaim(SampleWeightedAggregator):
    order_independent = True


class OneFace(SampleWeightedAggregator):
    def accept_model(self, model: Any) -> bool:
        model.meta["NUM_STEPS_CURRENT_ROUND"] = 1
        return super().accept_model(model)


class TensorsOnly(SampleWeightedAggregator):
    def _result(self) -> dict[str, Any]:
        return {name: torch.as_tensor(value) for name, value in super()._result().items()}


BROKEN: list[tuple[str, type[Aggregator]]] = [
    ("test_it_is_installed", FalseClaim),
    ("test_its_arguments_are_stored_under_their_names", Renaming),
    ("test_names_shapes_and_dtypes_stay", with_accumulator(WideMean)),
    ("test_one_update_alone_is_the_result", with_accumulator(ShiftedMean)),
    ("test_equal_updates_are_the_result", with_accumulator(ShiftedMean)),
    ("test_every_value_lies_between_the_sites_values", with_accumulator(ShiftedMean)),
    ("test_integers_and_bools_are_never_averaged", with_accumulator(AveragedIntegers)),
    ("test_half_precision_is_combined_in_full", with_accumulator(HalfMean)),
    ("test_only_the_ratios_of_the_samples_count", with_accumulator(CappedMean)),
    ("test_the_order_of_arrival_does_not_matter", with_accumulator(FirstComes)),
    ("test_the_order_of_arrival_does_not_matter", FalseClaim),
    ("test_the_updates_are_not_changed", with_accumulator(SpoilingMean)),
    ("test_a_bad_update_is_refused_and_changes_nothing", Lax),
    ("test_a_late_update_of_another_round_is_refused", Lax),
    ("test_a_site_counts_once", Lax),
    ("test_a_site_that_was_not_asked_is_refused", Lax),
    ("test_a_round_without_updates_raises", with_accumulator(EmptyModel)),
    ("test_the_next_round_starts_empty", Sticky),
    ("test_fedavgs_face_gives_the_same", OneFace),
    ("test_numpy_updates_give_a_numpy_model", TensorsOnly),
]


@pytest.mark.parametrize(("rule", "broken"), BROKEN)
def test_the_rule_catches_an_aggregator_that_breaks_it(rule: str, broken: type[Aggregator]) -> None:
    """P3: a suite that passes everything checks nothing."""
    check = getattr(AggregatorConformance(), rule)
    others: dict[str, Any] = {"dtype": torch.bfloat16, "fault": "samples are zero"}
    arguments = {name: value for name, value in others.items() if name in inspect.signature(check).parameters}
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(broken, **arguments)


def test_every_rule_has_an_aggregator_that_breaks_it() -> None:
    """P3"""
    rules = {name for name in vars(AggregatorConformance) if name.startswith("test_")}
    assert rules == {rule for rule, _ in BROKEN}


def test_the_deterministic_mean_is_an_ordered_mean() -> None:
    """X3: the double above stands for what a job with deterministic=true runs."""
    assert isinstance(Deterministic().new_accumulator(["site-1"]), OrderedMean)
