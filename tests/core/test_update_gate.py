"""The gate: a refused update leaves no trace in the mean (X2, M9, M10, M11)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rt_flare.core import update_gate
from rt_flare.core.ordered_mean import OrderedMean
from rt_flare.core.sample_count import sample_count_problem
from rt_flare.core.state_dict import StateDict, describe
from rt_flare.core.update_gate import MAX_ENTRIES, MAX_NAME, UpdateGate
from rt_flare.core.weighted_mean import WeightedMean
from rt_flare.core.wire_dtype import BFLOAT16, to_difference
from rt_flare.errors import NoAcceptedUpdateError, UpdateError

SITES = ["site-1", "site-2", "site-3", "site-4"]
ROUND = 2
BAD_COUNTS: list[tuple[Any, str]] = [
    (0, "samples_zero"),
    (-1, "samples_negative"),
    (math.nan, "samples_nan"),
    (math.inf, "samples_infinite"),
    (-math.inf, "samples_infinite"),
    (None, "samples_missing"),
    (True, "samples_bool"),
    ("3", "samples_not_a_number"),
    (1e30, "samples_too_large"),
    (2**53 + 1, "samples_too_large"),
    (3.0, "samples_not_an_integer"),
]


def model(seed: int) -> StateDict:
    generator = torch.Generator().manual_seed(seed)
    return {
        "w": torch.randn(4, 3, generator=generator),
        "b": torch.randn(3, generator=generator, dtype=torch.float64),
        "phase": torch.randn(2, generator=generator, dtype=torch.complex64),
        "steps": torch.tensor(seed),
    }


def changed(**entries: Any) -> dict[str, Any]:
    return {**model(9), **entries}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in model(9).items() if key != name}


BAD_UPDATES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "another round": ("wrong_round", lambda: {"round_number": ROUND - 1}),
    "no weights": ("weights_missing", lambda: {"weights": None}),
    "empty weights": ("weights_missing", lambda: {"weights": {}}),
    "weights of another type": ("weights_missing", lambda: {"weights": [torch.ones(3)]}),
    "too many entries": ("too_many_entries", lambda: {"weights": dict.fromkeys(range(MAX_ENTRIES + 1), 0)}),
    "a value that is no tensor": ("not_plain", lambda: {"weights": changed(w=[1.0, 2.0])}),
    "a name that is no string": ("not_plain", lambda: {"weights": {**model(9), 7: torch.ones(1)}}),
    "a name with a line of a log in it": ("name", lambda: {"weights": {**model(9), "w\nERROR": torch.ones(1)}}),
    "a name without end": ("name", lambda: {"weights": {**model(9), "w" * (MAX_NAME + 1): torch.ones(1)}}),
    "10^12 elements of one": ("not_plain", lambda: {"weights": changed(w=torch.ones(1).expand(10**6, 10**6))}),
    "10^12 overlapping elements": (
        "not_plain",
        lambda: {"weights": changed(w=torch.ones(2 * 10**6).as_strided((10**6, 10**6), (1, 1)))},
    ),
    "an array of 10^12 elements": (
        "not_plain",
        lambda: {"weights": changed(w=np.broadcast_to(np.ones(1, np.float32), (10**6, 10**6)))},
    ),
    "a sparse tensor": ("not_plain", lambda: {"weights": changed(w=torch.ones(4, 3).to_sparse())}),
    "a tensor without data": ("not_plain", lambda: {"weights": changed(w=torch.ones(4, 3, device="meta"))}),
    "an array of objects": ("not_plain", lambda: {"weights": changed(w=np.array([object()]))}),
    "a missing name": ("does_not_fit", lambda: {"weights": without("b")}),
    "an unexpected name": ("does_not_fit", lambda: {"weights": changed(extra=torch.ones(1))}),
    "another shape": ("does_not_fit", lambda: {"weights": changed(w=torch.ones(3, 4))}),
    "another dtype": ("does_not_fit", lambda: {"weights": changed(w=torch.ones(4, 3).half())}),
    "NaN": ("not_finite", lambda: {"weights": changed(w=torch.full((4, 3), math.nan))}),
    "an infinity": ("not_finite", lambda: {"weights": changed(b=torch.tensor([0, 0, -math.inf]).double())}),
    "a complex NaN": ("not_finite", lambda: {"weights": changed(phase=torch.tensor([1j, complex(0, math.nan)]))}),
    **{f"a count of {value!r}": (reason, lambda value=value: {"num_samples": value}) for value, reason in BAD_COUNTS},
}


def gate() -> UpdateGate:
    return UpdateGate(ROUND, describe(model(0)), set(SITES))


def update_of(site: str) -> dict[str, Any]:
    number = SITES.index(site) + 1
    return {"round_number": ROUND, "weights": model(number), "num_samples": 10 * number + 1}


def content(state: StateDict) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in state.items()}


def aggregate(updates: list[tuple[str, dict[str, Any]]], mean: WeightedMean) -> tuple[dict[str, bytes], list[str]]:
    """Gate and mean as the aggregator uses them: the result, and the reasons of the refusals."""
    checker, reasons = gate(), []
    for site, arguments in updates:
        try:
            state, num_samples = checker.check(site, **arguments)
        except UpdateError as error:
            reasons.append(error.reason)
            mean.skip(site)
        else:
            mean.add(site, state, num_samples)
    return content(mean.result()), reasons


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("case", BAD_UPDATES)
def test_a_refused_update_leaves_the_bytes_of_the_others(case: str, position: int, deterministic: bool) -> None:
    """X2, M11: for every reason, and wherever the bad update arrives."""
    reason, build = BAD_UPDATES[case]
    bad, *others = SITES[position], *(site for site in SITES[:3] if site != SITES[position])
    updates = [(site, update_of(site)) for site in others]
    expected, _ = aggregate(updates, WeightedMean())
    updates.insert(position, (bad, {**update_of(bad), **build()}))
    found, reasons = aggregate(updates, OrderedMean(SITES[:3]) if deterministic else WeightedMean())
    assert reasons == [reason]
    assert found == expected


def test_a_site_that_was_not_asked_leaves_the_bytes_of_the_others() -> None:
    """X2"""
    updates = [(site, update_of(site)) for site in SITES]
    expected, _ = aggregate(updates, WeightedMean())
    assert aggregate([("intruder", update_of(SITES[0])), *updates], WeightedMean()) == (expected, ["site_not_expected"])


def test_a_second_update_of_a_site_leaves_the_bytes_of_the_first() -> None:
    """X2"""
    updates = [(site, update_of(site)) for site in SITES]
    expected, _ = aggregate(updates, WeightedMean())
    again = (SITES[1], update_of(SITES[3]))
    assert aggregate([*updates[:2], again, *updates[2:]], WeightedMean()) == (expected, ["duplicate"])


@pytest.mark.parametrize(("value", "reason"), BAD_COUNTS)
def test_a_bad_count_of_all_sites_leaves_no_result(value: Any, reason: str) -> None:
    """M11, X1"""
    checker, mean = gate(), WeightedMean()
    for site in SITES:
        with pytest.raises(UpdateError, match=f"update of {site}: samples: found") as caught:
            checker.check(site, ROUND, model(1), value)
        assert caught.value.reason == reason
    assert checker.accepted == {}
    with pytest.raises(NoAcceptedUpdateError):
        mean.result()


def test_the_matrix_holds_every_reason_of_the_sample_count() -> None:
    """M11: the documented reasons and the tested ones are the same."""
    documented = set((sample_count_problem.__doc__ or "").split("``")[1::2]) - {"value"}
    assert {reason for _, reason in BAD_COUNTS} == documented


def test_every_documented_reason_of_the_gate_is_tested() -> None:
    """X2: drift."""
    raises = (UpdateGate.check.__doc__ or "").split("Raises:")[1]
    documented = set(raises.split("``")[1::2]) - {"reason"}
    tested = {reason for reason, _ in BAD_UPDATES.values() if not reason.startswith("samples_")}
    assert documented == tested | {"site_not_expected", "duplicate", "wire_dtype", "no_base"}


def test_a_refusal_names_the_site_and_all_differences() -> None:
    """X2, M10"""
    weights = {"w": torch.ones(2, 2), "phase": model(1)["phase"], "steps": torch.tensor(1), "odd": torch.ones(1)}
    with pytest.raises(UpdateError) as caught:
        gate().check("site-1", ROUND, weights, 3)
    for part in (
        "update of site-1",
        "missing (1): b",
        "unexpected (1): odd",
        "w: float32[2, 2], expected float32[4, 3]",
    ):
        assert part in str(caught.value)


def test_an_update_that_names_no_round_is_accepted() -> None:
    """X2: the caller may not know it."""
    assert gate().check("site-1", None, model(1), 3)[1] == 3
    assert UpdateGate(None, None).check("site-1", 7, model(1), 3)[1] == 3


def test_without_a_global_model_the_first_accepted_update_sets_the_shape() -> None:
    """M8: a job that starts from its clients' weights; a refused update sets nothing."""
    checker = UpdateGate(0, {}, None)
    with pytest.raises(UpdateError, match="NaN"):
        checker.check("site-1", 0, {"w": torch.tensor([math.nan])}, 1)
    checker.check("site-2", 0, {"w": torch.ones(2)}, 1)
    with pytest.raises(UpdateError) as caught:
        checker.check("site-3", 0, {"w": torch.ones(3)}, 1)
    assert caught.value.reason == "does_not_fit"


def test_numpy_arrays_and_numpy_counts_are_taken() -> None:
    """M9: a site may send arrays."""
    weights = {name: tensor.numpy() for name, tensor in model(1).items()}
    state, num_samples = gate().check("site-1", ROUND, weights, np.int64(5))
    assert content(state) == content(model(1))
    assert type(num_samples) is int


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_wrapped_models_are_taken(prefix: str) -> None:
    """M10: a site that trains a compiled or parallel model returns such names."""
    weights = {f"{prefix}{name}": tensor for name, tensor in model(1).items()}
    assert content(gate().check("site-1", ROUND, weights, 5)[0]) == content(model(1))


DTYPES = [
    dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype) and not str(dtype).startswith("torch.q")
]
STORAGE_ONLY = [dtype for dtype in DTYPES if re.search(r"int[1-7]$|bits|float4", str(dtype))]


@pytest.mark.parametrize("dtype", STORAGE_ONLY)
def test_dtypes_without_arithmetic_are_refused_by_name(dtype: torch.dtype) -> None:
    """M9, X2"""
    with pytest.raises(UpdateError, match=f"w: found a {dtype} tensor") as caught:
        UpdateGate(None, None).check("site-1", None, {"w": torch.zeros(16, dtype=torch.uint8).view(dtype)}, 3)
    assert caught.value.reason == "not_plain"


@pytest.mark.filterwarnings("ignore:.*support is experimental")
@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in STORAGE_ONLY])
def test_every_other_dtype_of_torch_passes_gate_and_mean(dtype: torch.dtype) -> None:
    """M9, X2"""
    checker, mean = UpdateGate(None, None), WeightedMean()
    for site in SITES:
        mean.add(site, *checker.check(site, None, {"w": torch.zeros(16, dtype=torch.uint8).view(dtype)}, 3))
    assert mean.result()["w"].dtype == dtype


def gate_with_base(base: StateDict | None) -> UpdateGate:
    return UpdateGate(ROUND, describe(model(1)), set(SITES), base)


def test_a_difference_is_restored_and_then_checked_as_weights_are() -> None:
    """T2, X2: what is accepted is the model that the site means, in the global model's dtypes."""
    base, new = model(1), model(2)
    difference, _ = to_difference(new, base)
    state, _ = gate_with_base(base).check("site-1", ROUND, difference, 5, BFLOAT16)
    assert describe(state) == describe(base)
    assert torch.equal(state["w"], base["w"] + difference["w"].float())
    assert torch.equal(state["steps"], new["steps"])


@pytest.mark.parametrize("bad", [math.nan, math.inf, 3.39e38])
def test_a_difference_that_leads_to_a_bad_model_is_refused(bad: float) -> None:
    """T2, X2: NaN, infinity, and a sum beyond float32."""
    base = model(1) | {"w": torch.full((4, 3), 3.3e38)}
    difference, _ = to_difference(model(2), model(1))
    difference["w"][1, 1] = bad
    with pytest.raises(UpdateError) as caught:
        gate_with_base(base).check("site-1", ROUND, difference, 5, BFLOAT16)
    assert caught.value.reason == "not_finite"


@pytest.mark.parametrize(
    ("base", "entries", "wire_dtype", "reason"),
    [
        (None, {}, BFLOAT16, "no_base"),
        (model(1), {}, "float8", "wire_dtype"),
        (model(1), {}, ["bfloat16"], "wire_dtype"),
        (model(1), {"w": torch.ones(4, 3)}, BFLOAT16, "does_not_fit"),
        (model(1), {"w": torch.ones(3, dtype=torch.bfloat16)}, BFLOAT16, "does_not_fit"),
        (model(1), {"extra": torch.ones(3)}, BFLOAT16, "does_not_fit"),
        (model(1), {"steps": torch.tensor(1.0)}, BFLOAT16, "does_not_fit"),
    ],
)
def test_a_difference_that_cannot_be_restored_is_refused(
    base: StateDict | None, entries: StateDict, wire_dtype: Any, reason: str
) -> None:
    """T2, X2: by name of the rule, and nothing is accepted."""
    difference, _ = to_difference(model(2), model(1))
    gate = gate_with_base(base)
    with pytest.raises(UpdateError) as caught:
        gate.check("site-1", ROUND, difference | entries, 5, wire_dtype)
    assert caught.value.reason == reason
    assert gate.accepted == {}


def test_a_difference_in_a_round_without_a_model_is_refused() -> None:
    """T2, M8: the first weights of such a job travel in full."""
    difference, _ = to_difference(model(2), model(1))
    with pytest.raises(UpdateError) as caught:
        UpdateGate(ROUND, None).check("site-1", ROUND, difference, 5, BFLOAT16)
    assert caught.value.reason == "no_base"


def test_a_million_names_are_refused_before_one_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """X2: and a message names none of them."""
    monkeypatch.setattr(update_gate, "to_plain", lambda state: pytest.fail("looked at"))
    weights = dict.fromkeys(map(str, range(10**6)), torch.ones(1))
    for reference in (describe(model(0)), None):
        with pytest.raises(UpdateError, match="found 1000000 entries") as caught:
            UpdateGate(ROUND, reference).check("site-1", ROUND, weights, 5)
        assert caught.value.reason == "too_many_entries"


@pytest.mark.parametrize("shape", [(10**6, 10**6), (1, 10**12), (10**12, 1)])
def test_a_shape_is_not_believed_in_a_job_without_a_model_either(shape: tuple[int, int]) -> None:
    """X2, M8: the first update of a job that starts from its sites' weights is checked against itself."""
    gate = UpdateGate(ROUND, None)
    with pytest.raises(UpdateError, match="over fewer values"):
        gate.check("site-1", ROUND, {"w": torch.ones(1).expand(shape)}, 5)
    assert gate.check("site-1", ROUND, {"w": torch.ones(3), "b": torch.ones(4)[::2], "e": torch.ones(0, 9)}, 5)[1] == 5


def test_names_are_told_in_one_line_of_bounded_length() -> None:
    """X2, J10: what a site calls its weights cannot fill a log."""
    weights = {**model(9), **{f"{n}{'x' * 900}": torch.ones(1) for n in range(50)}}
    with pytest.raises(UpdateError, match="does not fit") as caught:
        gate().check("site-1", ROUND, weights, 5)
    assert len(str(caught.value)) < 2_000
    assert "and 40 more" in str(caught.value)
