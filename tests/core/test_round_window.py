"""When a round stops taking answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from rt_flare.core.round_builder import RoundBuilder
from rt_flare.core.round_record import Contribution, ContributionStatus
from rt_flare.core.round_window import RoundWindow

SITES = ["a", "b", "c"]
LONG = 60.0


def _window(*, min_clients: int = 1, wait: float = LONG, deadline: float = LONG) -> tuple[RoundWindow, RoundBuilder]:
    builder = RoundBuilder(0, SITES)
    window = RoundWindow(builder, min_clients=min_clients, wait_after_min_seconds=wait, deadline_seconds=deadline)
    return window, builder


def _answer(site: str, status: ContributionStatus = ContributionStatus.ACCEPTED) -> Callable[[RoundBuilder], None]:
    return lambda builder: builder.add(Contribution(site=site, status=status))


def _seconds_to_close(window: RoundWindow, interrupted: Callable[[], bool] = lambda: False) -> float:
    started = time.monotonic()
    window.wait(interrupted)
    return time.monotonic() - started


def test_it_closes_when_every_site_has_answered() -> None:
    """X7: whatever the answers were."""
    window, builder = _window(min_clients=1)
    for site, status in zip(SITES, ["accepted", "rejected", "failed"], strict=True):
        assert window.take(_answer(site, ContributionStatus(status)))
    assert _seconds_to_close(window) < 5
    assert builder.num_outstanding == 0


def test_an_answer_wakes_the_waiting_controller() -> None:
    """X7: no idle time at the end of a round."""
    window, _ = _window(min_clients=3)
    for site in SITES[:2]:
        window.take(_answer(site))
    timer = threading.Timer(0.3, lambda: window.take(_answer("c")))
    timer.start()
    assert 0.25 < _seconds_to_close(window) < 5
    timer.join()


def test_the_wait_after_min_begins_with_enough_accepted_updates() -> None:
    """X7: wait time after min."""
    window, _ = _window(min_clients=2, wait=0.5)
    for site in SITES[:2]:
        window.take(_answer(site))
    assert 0.45 < _seconds_to_close(window) < 5


def test_errors_and_refused_updates_do_not_count_as_received() -> None:
    """X7: NVFlare's own count would end the round after two answers of any kind."""
    window, _ = _window(min_clients=1, wait=0.0, deadline=0.6)
    window.take(_answer("a", ContributionStatus.FAILED))
    window.take(_answer("b", ContributionStatus.REJECTED))
    assert 0.55 < _seconds_to_close(window) < 5


def test_it_closes_at_once_when_enough_cannot_come_any_more() -> None:
    """X7: two of three failed, two are needed."""
    window, _ = _window(min_clients=2)
    window.take(_answer("a", ContributionStatus.FAILED))
    window.take(_answer("b", ContributionStatus.FAILED))
    assert _seconds_to_close(window) < 5


def test_the_deadline_closes_it() -> None:
    """X7: a hung site never hangs the job."""
    window, builder = _window(min_clients=3, deadline=0.5)
    assert 0.45 < _seconds_to_close(window) < 5
    assert builder.num_outstanding == 3


def test_an_interruption_closes_it() -> None:
    """J4: an abort does not wait for the sites."""
    window, _ = _window()
    assert _seconds_to_close(window, interrupted=lambda: True) < 5


@pytest.mark.parametrize("site", ["a", "b"])
def test_a_late_answer_is_not_taken(site: str) -> None:
    """X2: nothing is added once the round is being aggregated."""
    window, builder = _window(min_clients=1, wait=0.0)
    window.take(_answer("a"))
    window.wait(lambda: False)
    assert not window.take(_answer(site))
    assert list(builder.contributions) == ["a"]
