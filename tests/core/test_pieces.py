"""Large tensors in pieces (T2)."""

from __future__ import annotations

import multiprocessing
import threading
from functools import partial

import pytest
import torch

from rt_flare.core.pieces import pieces, run_all


@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (32_768,), (32_769,), (3, 40_000)])
def test_pieces_cover_the_tensors_and_are_views_of_them(shape: tuple[int, ...]) -> None:
    """T2: every element once; what is written to a piece is in the tensor."""
    left, right = torch.zeros(shape), torch.ones(shape)
    for to, source in pieces(left, right):
        assert to.numel() <= 32_768
        to.add_(source)
    assert torch.equal(left, right)


def test_tensors_of_different_sizes_are_an_error() -> None:
    """T2"""
    with pytest.raises(ValueError, match="argument 2 is"):
        list(pieces(torch.ones(100_000), torch.ones(10)))


def test_results_come_in_the_order_of_the_tasks() -> None:
    """X3: whoever was faster."""
    assert run_all([partial(int, number) for number in range(1000)]) == list(range(1000))
    assert run_all([]) == []


def test_torch_starts_no_threads_within_a_task_and_keeps_the_callers_number() -> None:
    """T2"""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = run_all([lambda: (torch.get_num_threads(), threading.current_thread().name)] * 20)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert {number for number, _ in found} == {1}
    assert all(name.startswith("rt-flare-pieces") for _, name in found)


def test_a_failure_comes_when_nobody_works_any_more() -> None:
    """X2: what the tasks write to is the caller's again."""
    running = threading.Semaphore(0)

    def slow() -> None:
        running.acquire(timeout=0.2)

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_all([fail, slow, slow])


def test_a_forked_process_has_threads_of_its_own() -> None:
    """M2: user code may fork."""
    assert run_all([partial(int, 1)] * 5) == [1] * 5
    process = multiprocessing.get_context("fork").Process(target=run_all, args=([partial(int, 1)] * 5,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
