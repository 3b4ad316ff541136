"""When a round stops to take answers (X7)."""

from __future__ import annotations

import threading
import time

import pytest

from rt_flare.core.round_builder import RoundBuilder
from rt_flare.core.round_record import Contribution, ContributionStatus
from rt_flare.core.round_window import RoundWindow

SITES = ["a", "b", "c"]


def make(min_clients: int = 2, wait: float = 60.0, deadline: float = 60.0) -> tuple[RoundWindow, RoundBuilder]:
    builder = RoundBuilder(0, SITES)
    window = RoundWindow(builder, min_clients=min_clients, wait_after_min_seconds=wait, deadline_seconds=deadline)
    return window, builder


def answer(window: RoundWindow, site: str, status: ContributionStatus = ContributionStatus.ACCEPTED) -> bool:
    return window.take(lambda builder: builder.add(Contribution(site=site, status=status, num_samples=1)))


def seconds_waited(window: RoundWindow, interrupted: bool = False) -> float:
    started = time.monotonic()
    window.wait(lambda: interrupted)
    return time.monotonic() - started


def test_closes_when_all_have_answered() -> None:
    """X7"""
    window, builder = make()
    for site in SITES:
        assert answer(window, site)
    assert seconds_waited(window) < 1
    assert builder.num_accepted == 3


def test_an_answer_wakes_the_waiting_controller() -> None:
    """X7"""
    window, _ = make(min_clients=3)
    threads = [threading.Timer(0.05 * number, answer, [window, site]) for number, site in enumerate(SITES)]
    for thread in threads:
        thread.start()
    assert seconds_waited(window) < 2
    for thread in threads:
        thread.join()


def test_closes_some_time_after_enough_have_answered() -> None:
    """X7"""
    window, builder = make(wait=0.3)
    answer(window, "a")
    answer(window, "b")
    assert 0.3 <= seconds_waited(window) < 2
    assert builder.num_outstanding == 1


def test_closes_at_the_deadline_when_nobody_answers() -> None:
    """X7: a hung site never hangs the job."""
    window, builder = make(deadline=0.3)
    assert 0.3 <= seconds_waited(window) < 2
    assert builder.num_outstanding == 3


@pytest.mark.parametrize("status", [ContributionStatus.FAILED, ContributionStatus.REJECTED])
def test_closes_at_once_when_too_few_can_still_be_accepted(status: ContributionStatus) -> None:
    """X7"""
    window, _ = make(min_clients=2)
    answer(window, "a", status)
    answer(window, "b", status)
    assert seconds_waited(window) < 1


def test_closes_when_interrupted() -> None:
    """J4"""
    window, _ = make()
    assert seconds_waited(window, interrupted=True) < 1


def test_takes_nothing_once_closed() -> None:
    """X7: a late answer is not part of the record."""
    window, builder = make()
    seconds_waited(window, interrupted=True)
    assert not answer(window, "a")
    assert builder.contributions == {}
