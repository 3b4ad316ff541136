"""Splits: nothing lost, nothing twice, the same for the same seed (K7)."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.data.splits import split_dirichlet, split_iid, split_stratified
from rt_flare.errors import ConfigError

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80)
SEEDS = st.integers(0, 2**32)
ALPHAS = st.floats(1e-3, 1e3)

IID = [[0, 1, 2], [3, 4, 6], [5, 7]]
STRATIFIED = [[0, 7, 9, 11], [1, 5, 6, 10], [2, 3, 4, 8]]
DIRICHLET = [[1, 2, 4, 7, 8, 9, 11], [3, 6], [0, 5, 10]]


def assert_partition(parts: list[list[int]], n: int) -> None:
    assert sorted(chain.from_iterable(parts)) == list(range(n))
    assert all(part == sorted(part) for part in parts)
    assert all(type(index) is int for index in chain.from_iterable(parts))


def spread(counts: list[int]) -> int:
    return max(counts) - min(counts)


@given(st.integers(1, 200), SEEDS, st.data())
def test_iid_parts_differ_in_size_by_at_most_one(n: int, seed: int, data: st.DataObject) -> None:
    """K7"""
    parts = split_iid(n, data.draw(st.integers(1, n)), seed)
    assert_partition(parts, n)
    assert spread([len(part) for part in parts]) <= 1


@given(LABELS, SEEDS, st.data())
def test_stratified_parts_differ_by_at_most_one_in_size_and_in_each_label(
    labels: list[int], seed: int, data: st.DataObject
) -> None:
    """K7"""
    parts = split_stratified(labels, data.draw(st.integers(1, len(labels))), seed)
    assert_partition(parts, len(labels))
    assert spread([len(part) for part in parts]) <= 1
    counts = [Counter(labels[index] for index in part) for part in parts]
    assert all(spread([count[label] for count in counts]) <= 1 for label in set(labels))


@given(LABELS, ALPHAS, SEEDS, st.data())
def test_dirichlet_parts_hold_everything_and_their_minimum(
    labels: list[int], alpha: float, seed: int, data: st.DataObject
) -> None:
    """K7"""
    num_parts = data.draw(st.integers(1, len(labels)))
    minimum = data.draw(st.integers(0, len(labels) // num_parts))
    parts = split_dirichlet(labels, num_parts, alpha, seed, minimum)
    assert_partition(parts, len(labels))
    assert len(parts) == num_parts
    assert min(len(part) for part in parts) >= minimum


def test_the_seed_decides() -> None:
    """K7"""
    labels = [index % 4 for index in range(100)]
    for split in (
        lambda seed: split_iid(100, 3, seed),
        lambda seed: split_stratified(labels, 3, seed),
        lambda seed: split_dirichlet(labels, 3, 0.5, seed),
    ):
        assert split(1) == split(1)
        assert split(1) != split(2)


def test_a_seed_keeps_its_meaning_over_releases() -> None:
    """K7: a recorded split, so that a site's shard can be made again years later."""
    labels = [0, 1, 2] * 4
    assert split_iid(8, 3, seed=7) == IID
    assert split_stratified(labels, 3, seed=7) == STRATIFIED
    assert split_dirichlet(labels, 3, 0.5, seed=7) == DIRICHLET


def test_a_small_alpha_skews_labels_and_a_large_one_does_not() -> None:
    """K7: mean share of a part's most frequent label, 10 labels, averaged over seeds."""
    labels = [index % 10 for index in range(2000)]

    def dominance(alpha: float) -> float:
        shares = [
            max(Counter(labels[index] for index in part).values()) / len(part)
            for seed in range(5)
            for part in split_dirichlet(labels, 5, alpha, seed)
        ]
        return sum(shares) / len(shares)

    assert dominance(0.05) > 0.35
    assert dominance(1000.0) < 0.13


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_refuses_a_bad_alpha(alpha: float) -> None:
    """K7"""
    with pytest.raises(ConfigError, match="alpha: found"):
        split_dirichlet([0, 1], 2, alpha, 0)


def test_refuses_parts_that_cannot_be_filled() -> None:
    """K7"""
    with pytest.raises(ConfigError, match="found 3 parts of at least 1 for 2 samples"):
        split_iid(2, 3, 0)
    with pytest.raises(ConfigError, match="found 2 parts of at least 2 for 3 samples"):
        split_dirichlet([0, 1, 0], 2, 1.0, 0, min_per_part=2)
    with pytest.raises(ConfigError, match="num_parts: found 0"):
        split_stratified([0], 0, 0)
    with pytest.raises(ConfigError, match="min_per_part: found -1"):
        split_dirichlet([0], 1, 1.0, 0, min_per_part=-1)
