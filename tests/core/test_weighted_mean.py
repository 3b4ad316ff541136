"""The mean against an exact oracle, its algebra, and the dtypes that it keeps (M9, X2)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.state_dict import StateDict
from rt_flare.core.weighted_mean import WeightedMean, accumulation_dtype
from rt_flare.errors import NoAcceptedUpdateError, UpdateError

Update = tuple[StateDict, int]
WIDE_EPS = {torch.complex64: 2**-23, torch.complex128: 2**-52, torch.float32: 2**-23, torch.float64: 2**-52}
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
FLOATS_8 = tuple(dtype for dtype in vars(torch).values() if str(dtype).startswith("torch.float8"))
COMPLEX = (torch.complex32, torch.complex64, torch.complex128)
EXACT = (
    *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
)

counts = st.integers(1, 10**6)


def floats(magnitude: float) -> st.SearchStrategy[float]:
    normal = st.floats(1e-3, magnitude, allow_subnormal=False)
    return st.one_of(st.just(0.0), normal, normal.map(lambda value: -value))


def updates_of(
    values: st.SearchStrategy[float], max_sites: int = 6
) -> st.SearchStrategy[list[tuple[list[float], int]]]:
    one = st.tuples(st.lists(values, min_size=3, max_size=3), counts)
    return st.lists(one, min_size=1, max_size=max_sites)


def mean_of(updates: Sequence[Update]) -> StateDict:
    mean = WeightedMean()
    for index, (state, num_samples) in enumerate(updates):
        mean.add(f"site-{index:03}", state, num_samples)
    return mean.result()


def same_bytes(left: StateDict, right: StateDict) -> bool:
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype and left[name].numpy().tobytes() == right[name].numpy().tobytes()
        for name in left
    )


def exact_mean(columns: Sequence[tuple[float, int]]) -> tuple[Fraction, Fraction]:
    """The weighted mean, and that of the magnitudes, without rounding."""
    total = sum(num_samples for _, num_samples in columns)
    mean = sum((Fraction(value) * num_samples for value, num_samples in columns), Fraction(0)) / total
    return mean, sum((abs(Fraction(value)) * num_samples for value, num_samples in columns), Fraction(0)) / total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(drawn=updates_of(floats(1e20)))
def test_is_within_the_stated_bound_of_the_exact_mean(dtype: torch.dtype, drawn: list[tuple[list[float], int]]) -> None:
    """M9: (N + 2) eps of the weighted mean of magnitudes."""
    updates = [({"w": torch.tensor(values, dtype=dtype)}, num_samples) for values, num_samples in drawn]
    found = mean_of(updates)["w"].tolist()
    for index, value in enumerate(found):
        exact, magnitude = exact_mean([(state["w"][index].item(), num_samples) for state, num_samples in updates])
        assert abs(Fraction(value) - exact) <= (len(updates) + 2) * Fraction(WIDE_EPS[dtype]) * magnitude


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@given(drawn=updates_of(floats(1e15)))
def test_complex_entries_are_within_the_bound(dtype: torch.dtype, drawn: list[tuple[list[float], int]]) -> None:
    """M9"""
    updates = [
        ({"w": torch.tensor([complex(values[0], values[1])], dtype=dtype)}, num_samples)
        for values, num_samples in drawn
    ]
    found = mean_of(updates)["w"][0].item()
    for part in ("real", "imag"):
        columns = [(getattr(state["w"][0].item(), part), num_samples) for state, num_samples in updates]
        exact, magnitude = exact_mean(columns)
        assert abs(Fraction(getattr(found, part)) - exact) <= (len(updates) + 2) * Fraction(WIDE_EPS[dtype]) * magnitude


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *FLOATS_8])
@given(drawn=updates_of(floats(40.0)))
def test_narrow_floats_are_the_float32_mean_rounded_once(
    dtype: torch.dtype, drawn: list[tuple[list[float], int]]
) -> None:
    """M9"""
    narrow = [({"w": torch.tensor(values).to(dtype)}, num_samples) for values, num_samples in drawn]
    wide = [({"w": state["w"].float()}, num_samples) for state, num_samples in narrow]
    found, expected = mean_of(narrow)["w"], mean_of(wide)["w"].to(dtype)
    assert found.dtype == dtype
    assert found.view(torch.uint8).tolist() == expected.view(torch.uint8).tolist()


@given(drawn=updates_of(floats(100.0)))
def test_half_precision_complex_is_the_complex64_mean_rounded_once(drawn: list[tuple[list[float], int]]) -> None:
    """M9"""
    wide = [({"w": torch.complex(*torch.tensor(values)[:2].half().float())}, num) for values, num in drawn]
    narrow = [({"w": state["w"].to(torch.complex32)}, num_samples) for state, num_samples in wide]
    expected = torch.view_as_real(mean_of(wide)["w"]).half()
    assert torch.equal(torch.view_as_real(mean_of(narrow)["w"]), expected)


@pytest.mark.parametrize("dtype", [*FLOATS, *FLOATS_8, *COMPLEX, *EXACT])
def test_every_dtype_comes_out_as_it_went_in(dtype: torch.dtype) -> None:
    """M9"""
    state = {"w": torch.ones(2, 3).to(dtype), "scalar": torch.ones(()).to(dtype), "empty": torch.ones(0, 2).to(dtype)}
    mean = mean_of([(state, 3), (state, 5)])
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in mean.items()} == {
        name: (dtype, tensor.shape) for name, tensor in state.items()
    }


def test_bf16_does_not_stick_over_many_clients() -> None:
    """M9: summed in bfloat16, each new client would vanish beside the sum."""
    updates = [({"w": torch.tensor([1.0 + index / 1000], dtype=torch.bfloat16)}, 1) for index in range(50)]
    expected = torch.tensor([sum(state["w"].item() for state, _ in updates) / 50]).bfloat16()
    assert mean_of(updates)["w"].item() == expected.item() != 1.0
    exact, _ = exact_mean([(1.0 + index / 1000, 1) for index in range(50)])
    assert abs(mean_of(updates)["w"].item() - float(exact)) < 2**-7


def test_fp16_with_a_large_count_stays_finite() -> None:
    """M9: 1,000 x 60,000 is beyond float16, their mean is not."""
    state = {"w": torch.tensor([60000.0, -60000.0], dtype=torch.float16)}
    assert mean_of([(state, 1000), (state, 7)])["w"].tolist() == [60000.0, -60000.0]


@given(drawn=updates_of(floats(1e10)), exponent=st.integers(1, 30))
def test_scaling_all_counts_by_a_power_of_two_changes_no_bit(
    drawn: list[tuple[list[float], int]], exponent: int
) -> None:
    """M9: the mean is scale-free."""
    updates = [({"w": torch.tensor(values)}, num_samples) for values, num_samples in drawn]
    scaled = [(state, num_samples << exponent) for state, num_samples in updates]
    assert same_bytes(mean_of(updates), mean_of(scaled))


@pytest.mark.parametrize("dtype", [*FLOATS, *FLOATS_8, *COMPLEX])
@given(values=st.lists(floats(200.0), min_size=1, max_size=4), num_samples=st.integers(1, 2**53))
def test_one_site_alone_gets_its_own_weights_back(dtype: torch.dtype, values: list[float], num_samples: int) -> None:
    """M9: bit for bit, whatever its count."""
    state = {"w": torch.tensor(values).to(dtype)}
    found = mean_of([(state, num_samples)])["w"]
    assert found.view(torch.uint8).tolist() == state["w"].view(torch.uint8).tolist()
    assert found.data_ptr() != state["w"].data_ptr()


@given(values=st.lists(floats(1e20), min_size=1, max_size=4), num_samples=st.lists(counts, min_size=1, max_size=20))
def test_equal_weights_give_those_weights(values: list[float], num_samples: list[int]) -> None:
    """M9: within the bound of the mean."""
    state = {"w": torch.tensor(values)}
    found = mean_of([(state, count) for count in num_samples])["w"]
    bound = (len(num_samples) + 2) * WIDE_EPS[torch.float32] * state["w"].double().abs()
    assert bool(((found.double() - state["w"].double()).abs() <= bound).all())


@given(drawn=updates_of(floats(1e10)), split=st.integers(0, 6))
def test_merging_two_means_gives_the_mean_of_all(drawn: list[tuple[list[float], int]], split: int) -> None:
    """M9: merge = whole, within twice the bound."""
    updates = [({"w": torch.tensor(values, dtype=torch.float64)}, num_samples) for values, num_samples in drawn]
    parts = [part for part in (updates[:split], updates[split:]) if part]
    merged = mean_of([(mean_of(part), sum(num_samples for _, num_samples in part)) for part in parts])["w"]
    whole = mean_of(updates)["w"]
    total = sum(num_samples for _, num_samples in updates)
    magnitude = sum(state["w"].abs() * num_samples for state, num_samples in updates) / total
    assert bool(((merged - whole).abs() <= 2 * (len(updates) + 4) * WIDE_EPS[torch.float64] * magnitude).all())


@pytest.mark.parametrize("dtype", EXACT)
def test_step_counters_take_the_maximum(dtype: torch.dtype) -> None:
    """M9"""
    name = "bn.num_batches_tracked"
    updates = [({name: torch.tensor(value).to(dtype)}, num) for value, num in ((1, 900), (7, 2), (3, 5))]
    assert mean_of(updates)[name].item() == (True if dtype is torch.bool else 7)


@pytest.mark.parametrize("dtype", EXACT)
def test_other_exact_buffers_come_from_the_site_with_most_samples(dtype: torch.dtype) -> None:
    """M9: never averaged."""
    updates = [({"table": torch.tensor([value, 1]).to(dtype)}, num) for value, num in ((0, 2), (1, 900), (0, 5))]
    assert mean_of(updates)["table"].tolist() == torch.tensor([1, 1]).to(dtype).tolist()


def test_equal_counts_take_exact_buffers_from_the_first_site_by_name() -> None:
    """M9, X3: whatever the order of arrival."""
    for order in (("b", "a", "c"), ("c", "b", "a"), ("a", "c", "b")):
        mean = WeightedMean()
        for site in order:
            mean.add(site, {"table": torch.tensor([ord(site)])}, 4)
        assert mean.result()["table"].item() == ord("a")


def test_updates_are_neither_kept_nor_changed() -> None:
    """X2"""
    first = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor([1])}
    second = {"w": torch.tensor([3.0, 4.0]), "n": torch.tensor([2])}
    mean = WeightedMean()
    mean.add("a", first, 1)
    mean.add("b", second, 3)
    for state in (first, second):
        for tensor in state.values():
            tensor.zero_()
    result = mean.result()
    assert result["w"].tolist() == [2.5, 3.5]
    assert result["n"].tolist() == [2]


def test_the_number_of_threads_changes_no_bit() -> None:
    """X3: threads split the work, not the sums."""
    generator = torch.Generator().manual_seed(1)
    updates = [({"w": torch.randn(100_003, generator=generator)}, num_samples) for num_samples in (3, 70, 11)]
    threads = torch.get_num_threads()
    results = []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            results.append(mean_of(updates))
    finally:
        torch.set_num_threads(threads)
    assert same_bytes(results[0], results[1])
    assert same_bytes(results[0], results[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.bfloat16])
def test_an_overflowing_sum_is_refused(dtype: torch.dtype) -> None:
    """M9: never an infinite model."""
    state = {"w": torch.tensor([1.0, torch.finfo(dtype).max]).to(dtype)}
    with pytest.raises(UpdateError, match="w: the sum of finite updates overflowed") as caught:
        mean_of([(state, 1)] * 8)
    assert caught.value.reason == "mean_overflow"


def test_no_update_is_an_error() -> None:
    """X1"""
    mean = WeightedMean()
    mean.skip("a")
    with pytest.raises(NoAcceptedUpdateError, match="no update was accepted"):
        mean.result()


def test_totals_are_kept() -> None:
    """J10"""
    mean = WeightedMean()
    mean.add("b", {"w": torch.ones(1)}, 4)
    mean.add("a", {"w": torch.ones(1)}, 6)
    assert (mean.sites, mean.total_samples) == (["b", "a"], 10)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float64, torch.float64),
        (torch.complex32, torch.complex64),
        (torch.complex128, torch.complex128),
        (torch.int64, None),
        (torch.bool, None),
    ],
)
def test_sums_have_at_least_single_precision(dtype: torch.dtype, expected: torch.dtype | None) -> None:
    """M9"""
    assert accumulation_dtype(dtype) == expected


@pytest.mark.parametrize("num_sites", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_two_in_one_pass_are_added_as_one_after_the_other(dtype: torch.dtype, num_sites: int) -> None:
    """M9: bit for bit; in many pieces, and in groups of small entries."""
    generator = torch.Generator().manual_seed(num_sites)
    shapes = {"large": (600_001,), "a": (3, 4), "n.num_batches_tracked": (), "b": (7,)}
    updates: list[Update] = [
        (
            {
                name: torch.tensor(site) if name.startswith("n.") else torch.randn(shape, generator=generator).to(dtype)
                for name, shape in shapes.items()
            },
            3 + 4 * site,
        )
        for site in range(num_sites)
    ]
    mean = mean_of(updates)
    wide = accumulation_dtype(dtype)
    for name in ("large", "a", "b"):
        expected = updates[0][0][name].to(wide)
        if num_sites > 1:
            expected = expected * (updates[0][1] / 4)
            for state, num_samples in updates[1:]:
                expected.add_(state[name].to(wide), alpha=num_samples / 4)
            expected.div_(sum(num_samples for _, num_samples in updates) / 4)
        assert torch.equal(mean[name], expected.to(dtype)), name
    assert list(mean) == list(shapes)


def test_the_result_shares_no_memory_with_an_update() -> None:
    """X2: a global model must not change with what a site sent."""
    state = {"w": torch.ones(100_000), "b": torch.ones(2)}
    mean = mean_of([(state, 3)])
    for tensor in state.values():
        tensor.fill_(7)
    assert all(bool((tensor == 1).all()) for tensor in mean.values())
