"""A mean whose bytes do not depend on the order of arrival (X3)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rt_flare.core.ordered_mean import OrderedMean
from rt_flare.core.state_dict import StateDict
from rt_flare.core.weighted_mean import WeightedMean
from rt_flare.errors import NoAcceptedUpdateError, UpdateError

SITES = [f"site-{number}" for number in range(1, 8)]
COUNTS = dict(zip(SITES, (3, 1000, 7, 1, 12, 999, 64), strict=True))


def update(site: str) -> StateDict:
    generator = torch.Generator().manual_seed(SITES.index(site))
    return {
        "w": torch.randn(5, 3, generator=generator) * 10 ** (SITES.index(site) - 3),
        "half": torch.randn(4, generator=generator).half(),
        "eight": torch.randn(4, generator=generator).to(torch.float8_e4m3fn),
        "table": torch.tensor([SITES.index(site)]),
        "bn.num_batches_tracked": torch.tensor(SITES.index(site)),
    }


def content(state: StateDict) -> dict[str, list[int]]:
    return {name: tensor.reshape(-1).view(torch.uint8).tolist() for name, tensor in state.items()}


def in_order(sites: set[str]) -> dict[str, list[int]]:
    mean = WeightedMean()
    for site in sorted(sites):
        mean.add(site, update(site), COUNTS[site])
    return content(mean.result())


@given(
    order=st.permutations(SITES),
    skipped=st.sets(st.sampled_from(SITES), max_size=6),
    max_held_bytes=st.sampled_from([0, 100, 1 << 30]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_order_of_arrival_changes_a_bit(
    tmp_path: Path, order: list[str], skipped: set[str], max_held_bytes: int
) -> None:
    """X3: with skips at any moment, in memory and spilled to disk, and nothing is left on disk."""
    mean = OrderedMean(SITES, max_held_bytes=max_held_bytes, spill_dir=tmp_path)
    for site in order:
        if site in skipped:
            mean.skip(site)
        else:
            mean.add(site, update(site), COUNTS[site])
    assert content(mean.result()) == in_order(set(SITES) - skipped)
    assert mean.sites == sorted(set(SITES) - skipped)
    assert list(tmp_path.iterdir()) == []


@given(order=st.permutations(SITES), silent=st.sets(st.sampled_from(SITES), min_size=1, max_size=6))
def test_sites_that_never_answer_change_nothing(order: list[str], silent: set[str]) -> None:
    """X3, X7: the round closed before they did."""
    mean = OrderedMean(SITES)
    for site in order:
        if site not in silent:
            mean.add(site, update(site), COUNTS[site])
    assert content(mean.result()) == in_order(set(SITES) - silent)


def test_updates_in_order_are_not_held(tmp_path: Path) -> None:
    """X3: one model of memory, as a plain mean."""
    mean = OrderedMean(SITES, max_held_bytes=0, spill_dir=tmp_path)
    for site in SITES:
        mean.add(site, update(site), COUNTS[site])
        assert list(tmp_path.iterdir()) == []
    assert mean.sites == SITES


def test_early_updates_beyond_the_limit_go_to_disk_and_come_back(tmp_path: Path) -> None:
    """X3"""
    one = sum(tensor.nbytes for tensor in update(SITES[1]).values())
    mean = OrderedMean(SITES[:4], max_held_bytes=one, spill_dir=tmp_path)
    for site in (SITES[1], SITES[2], SITES[3]):
        mean.add(site, update(site), COUNTS[site])
    assert len(list(tmp_path.rglob("*.pt"))) == 2
    mean.add(SITES[0], update(SITES[0]), COUNTS[SITES[0]])
    assert list(tmp_path.rglob("*.pt")) == []
    assert content(mean.result()) == in_order(set(SITES[:4]))


def test_a_site_that_was_not_asked_is_refused() -> None:
    """X2"""
    with pytest.raises(UpdateError, match="intruder is not among the sites"):
        OrderedMean(SITES).add("intruder", update(SITES[0]), 1)


@pytest.mark.parametrize("answered", ["added", "skipped"])
def test_a_second_answer_is_refused(answered: str) -> None:
    """X2"""
    mean = OrderedMean(SITES)
    if answered == "added":
        mean.add(SITES[3], update(SITES[3]), 1)
    else:
        mean.skip(SITES[3])
    with pytest.raises(UpdateError, match="site-4 is not among the sites"):
        mean.add(SITES[3], update(SITES[3]), 1)


def test_all_skipped_is_an_error() -> None:
    """X1"""
    mean = OrderedMean(SITES)
    for site in SITES:
        mean.skip(site)
    with pytest.raises(NoAcceptedUpdateError):
        mean.result()
