"""Differences in bfloat16: how far off they are, and that both ends agree (T2, M9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.ordered_mean import OrderedMean
from rt_flare.core.weighted_mean import WeightedMean
from rt_flare.core.wire_dtype import MAX_RELATIVE_ERROR, RestoredState, to_difference
from rt_flare.errors import StateDictError

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32).filter(lambda value: value == 0 or abs(value) > 1e-30)
DTYPES = [torch.float32, torch.float64]


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=8), st.sampled_from(DTYPES))
def test_no_element_is_off_by_more_than_the_bound(pairs: list[tuple[float, float]], dtype: torch.dtype) -> None:
    """T2: against float64 arithmetic, element by element; the reported error is the largest one."""
    base, new = (torch.tensor([pair[index] for pair in pairs], dtype=dtype) for index in (0, 1))
    difference, reported = to_difference({"w": new}, {"w": base})
    assert difference["w"].dtype is torch.bfloat16
    exact = (new - base).double()
    error = (difference["w"].double() - exact).abs()
    assert bool((error <= MAX_RELATIVE_ERROR * exact.abs()).all())
    relative = torch.where(exact == 0, 0.0, error / exact.abs())
    assert reported == pytest.approx(float(relative.max()), rel=1e-3)
    assert reported < MAX_RELATIVE_ERROR


def test_the_largest_error_is_found_in_any_piece() -> None:
    """T2: of a tensor larger than what is converted at a time."""
    new = torch.ones(100_000)
    new[70_000] = 1.0 + 2**-8
    assert to_difference({"w": new}, {"w": torch.zeros(100_000)})[1] == pytest.approx(2**-8 / (1 + 2**-8))


def test_what_is_restored_is_base_plus_difference_in_the_bases_dtype() -> None:
    """T2: bit for bit the sum, so that server and site mean the same weights."""
    generator = torch.Generator().manual_seed(3)
    base = {"a": torch.randn(300, 200, generator=generator), "b": torch.randn(5, generator=generator).double()}
    new = {name: tensor + 0.01 * torch.randn(tensor.shape, generator=generator) for name, tensor in base.items()}
    difference, _ = to_difference(new, base)
    restored = RestoredState(difference, base)
    for name, tensor in base.items():
        assert restored[name].dtype == tensor.dtype
        assert torch.equal(restored[name], tensor + difference[name].to(tensor.dtype))


def test_narrow_floats_integers_and_bools_travel_as_they_are() -> None:
    """T2, M9: no difference of theirs would be smaller, and counters must stay exact."""
    new = {
        "half": torch.tensor([1.5], dtype=torch.float16),
        "brain": torch.tensor([1.5], dtype=torch.bfloat16),
        "steps": torch.tensor(2**62 + 1),
        "mask": torch.tensor([True]),
        "phase": torch.tensor([1j]),
    }
    base = {name: torch.zeros_like(tensor) for name, tensor in new.items()}
    difference, error = to_difference(new, base)
    assert error == 0.0
    restored = RestoredState(difference, base)
    assert all(torch.equal(restored[name], new[name]) for name in new)


def test_a_difference_that_leaves_bfloat16_is_infinite_and_so_refused_by_the_gate() -> None:
    """T2, X2: not cut to the largest number."""
    difference, _ = to_difference({"w": torch.tensor([3.4e38])}, {"w": torch.tensor([-1e37])})
    assert RestoredState(difference, {"w": torch.tensor([-1e37])}).not_finite({"w": 1e37}) == "w"


@pytest.mark.parametrize(
    ("difference", "base", "is_refused"),
    [(3e38, 3e38, True), (3e38, -3e38, False), (1e38, 1e38, False), (float("nan"), 0.0, True), (1.0, 3e38, False)],
)
def test_a_sum_that_leaves_the_dtype_is_found_and_only_such_a_one(
    difference: float, base: float, is_refused: bool
) -> None:
    """X2: also where the difference alone is finite."""
    sent = {"steps": torch.tensor([7]), "w": torch.tensor([0.0, difference], dtype=torch.bfloat16)}
    before = {"steps": torch.tensor([5]), "w": torch.tensor([0.0, base])}
    assert (RestoredState(sent, before).not_finite({"w": abs(base)}) == "w") is is_refused


@pytest.mark.parametrize(
    "base", [{}, {"w": torch.zeros(3)}, {"w": torch.zeros(2, dtype=torch.float64)}], ids=["none", "shape", "dtype"]
)
def test_without_a_counterpart_there_is_no_difference(base: dict[str, torch.Tensor]) -> None:
    """T2"""
    with pytest.raises(StateDictError, match="w: the received model has none"):
        to_difference({"w": torch.ones(2)}, base)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ({"x": torch.ones(2, dtype=torch.bfloat16)}, "x: not in the global model"),
        ({"w": torch.ones(3, dtype=torch.bfloat16)}, "w: not in the global model"),
        ({"w": torch.ones(2)}, "w: a difference in torch.float32, expected torch.bfloat16"),
    ],
)
def test_what_is_no_difference_to_the_base_is_refused(sent: dict[str, torch.Tensor], text: str) -> None:
    """T2, X2"""
    with pytest.raises(StateDictError, match=text):
        RestoredState(sent, {"w": torch.zeros(2)})


@pytest.mark.parametrize("mean", [WeightedMean, lambda: OrderedMean(["a", "b"])])
def test_its_mean_is_that_of_the_weights(mean: Callable[[], WeightedMean]) -> None:
    """T2, M3: bit for bit, in pieces, without the whole of an entry; integers too."""
    generator = torch.Generator().manual_seed(5)
    base = {"w": torch.randn(70_000, generator=generator), "n": torch.tensor([3, 4]), "e": torch.empty(0)}
    updates = {
        site: RestoredState({"w": torch.randn(70_000, generator=generator).bfloat16(), "n": count, "e": empty}, base)
        for site, count, empty in (
            ("b", torch.tensor([1, 2]), torch.empty(0, dtype=torch.bfloat16)),
            ("a", torch.tensor([5, 6]), torch.empty(0, dtype=torch.bfloat16)),
        )
    }
    restored, whole = mean(), mean()
    for site, update in updates.items():
        restored.add(site, update, 3 if site == "a" else 7)
        whole.add(site, dict(update), 3 if site == "a" else 7)
    expected = whole.result()
    assert {name: tensor.tolist() for name, tensor in restored.result().items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }
    assert list(expected) == list(base)


def test_an_early_one_waits_as_a_difference() -> None:
    """T2: in half the memory of the weights."""
    base = {"w": torch.ones(1000)}
    early = RestoredState({"w": torch.ones(1000).bfloat16()}, base)
    mean = OrderedMean(["a", "b"], max_held_bytes=2000)
    mean.add("b", early, 1)
    assert mean._held_bytes == early.nbytes == 2000
