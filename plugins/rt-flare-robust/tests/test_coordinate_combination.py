"""The round's combination: every dtype, large tensors, updates on disk (P4)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rt_flare.errors import NoAcceptedUpdateError, UpdateError
from rt_flare_robust import coordinate_combination
from rt_flare_robust.coordinate_combination import CoordinateCombination
from rt_flare_robust.held_updates import HeldUpdates
from rt_flare_robust.order_statistics import median, trimmed_mean


def combined(tensors: list[torch.Tensor], max_held_bytes: int = 1 << 30) -> torch.Tensor:
    combination = CoordinateCombination(median, max_held_bytes=max_held_bytes)
    for number, tensor in enumerate(tensors):
        combination.add(f"site-{number}", {"w": tensor}, 1)
    return combination.result()["w"]


@pytest.mark.parametrize(
    "dtype",
    [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.complex128, torch.uint16, torch.int8],
    ids=str,
)
def test_every_dtype_has_a_median(dtype: torch.dtype) -> None:
    """M9: names, shapes and dtypes stay."""
    tensors = [torch.full((2, 2), value).to(dtype) for value in (4.0, 1.0, 2.0)]
    result = combined(tensors)
    assert (result.dtype, result.shape) == (dtype, (2, 2))
    assert result.to(torch.complex128).real.flatten().tolist() == [2.0] * 4


def test_complex_values_are_combined_in_their_two_parts() -> None:
    """P4"""
    assert combined([torch.tensor(z) for z in (1 + 9j, 2 + 1j, 9 + 2j)]).item() == 2 + 2j


def test_large_tensors_are_combined_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """P4: the pieces make the same whole."""
    tensors = list(torch.randn(5, 1001, generator=torch.Generator().manual_seed(0)))
    whole = combined(tensors)
    monkeypatch.setattr(coordinate_combination, "_CHUNK_VALUES", 64)
    assert torch.equal(combined(tensors), whole)
    assert torch.equal(whole, torch.stack(tensors).median(dim=0).values)


def test_updates_beyond_the_limit_wait_on_disk(tmp_path: Path) -> None:
    """P4: and leave nothing behind."""
    held = HeldUpdates(max_held_bytes=400, spill_dir=tmp_path)
    tensors = {f"site-{number}": torch.full((50,), float(number)) for number in range(4)}
    for site in reversed(tensors):
        held.put(site, {"w": tensors[site]})
    assert len(list(tmp_path.glob("*/*.pt"))) == 2
    assert [tensor[0].item() for tensor in held.tensors("w")] == [0, 1, 2, 3]
    held.close()
    assert list(tmp_path.iterdir()) == []


def test_the_result_does_not_depend_on_where_the_updates_wait() -> None:
    """P4"""
    tensors = list(torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16))
    assert torch.equal(combined(tensors, 0), combined(tensors))


def test_nothing_to_combine_is_refused() -> None:
    """X1"""
    with pytest.raises(NoAcceptedUpdateError):
        CoordinateCombination(median, max_held_bytes=0).result()


def test_a_result_out_of_range_is_refused() -> None:
    """M9: as for the mean."""
    combination = CoordinateCombination(lambda values: trimmed_mean(values, 0.01), max_held_bytes=1 << 20)
    for number, value in enumerate([-1.7e308, -1.7e308, 1.5e308, 1.6e308, 1.7e308, 1.7e308]):
        combination.add(f"site-{number}", {"w": torch.tensor([value], dtype=torch.float64)}, 1)
    with pytest.raises(UpdateError, match="w: the combination of finite updates left the range"):
        combination.result()
