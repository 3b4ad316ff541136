"""Four counters, from sets of names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.jobs.worker_counts import WorkerCounts, count_workers

NAMES = st.sets(st.sampled_from([f"site-{number}" for number in range(6)]))


@given(NAMES, NAMES, NAMES, NAMES)
def test_the_counters_agree_with_each_other(
    assigned: set[str], connected: set[str], seen: set[str], failed: set[str]
) -> None:
    """J6: no site is counted twice, nor one that the job is not assigned to."""
    counts = count_workers(assigned, connected=connected, seen=seen, failed=failed)
    assert counts.total == len(assigned)
    assert counts.connected + counts.disconnected <= counts.total
    assert counts.errors <= counts.total
    assert counts.healthy == (assigned <= connected and not assigned & failed)


@pytest.mark.parametrize(
    ("connected", "seen", "failed", "expected", "text"),
    [
        ([], [], [], (3, 0, 0, 0), "0/3 connected"),
        (["a"], [], [], (3, 1, 0, 0), "1/3 connected"),
        (["a", "b", "c"], ["a", "b"], [], (3, 3, 0, 0), "3/3 connected"),
        (["a", "b"], ["a", "b", "c"], [], (3, 2, 0, 1), "2/3 connected, 1 disconnected"),
        (["a", "b", "c", "c"], ["a", "b", "c"], [], (3, 3, 0, 0), "3/3 connected"),
        (["a", "b"], ["a", "b", "c"], ["c"], (3, 2, 1, 1), "2/3 connected, 1 with errors, 1 disconnected"),
        (["a", "b", "c", "other"], ["other"], ["other"], (3, 3, 0, 0), "3/3 connected"),
    ],
)
def test_a_site_that_comes_goes_fails_and_comes_back(
    connected: list[str], seen: list[str], failed: list[str], expected: tuple[int, int, int, int], text: str
) -> None:
    """J3, J6."""
    counts = count_workers(["a", "b", "c"], connected=connected, seen=seen, failed=failed)
    assert (counts.total, counts.connected, counts.errors, counts.disconnected) == expected
    assert counts.describe() == text


def test_healthy_is_all_connected_and_no_error() -> None:
    """J6."""
    assert WorkerCounts(total=2, connected=2).healthy
    assert not WorkerCounts(total=2, connected=2, errors=1).healthy
    assert not WorkerCounts(total=2, connected=1, disconnected=1).healthy
