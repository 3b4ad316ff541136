"""Large tensors in pieces that stay in the processor's cache, for one thread or for several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from threading import Barrier, Lock
from typing import TypeVar

import torch

__all__ = ["SHARED_PIECE", "pieces", "run_all"]

_T = TypeVar("_T")
_PIECE = 1 << 15
"""torch starts no threads for so few values: with other busy processes around, threads that wait for one another take
longer than one alone, by seconds at times."""
SHARED_PIECE = 1 << 18
"""Values of a piece for `run_all`, whose threads wait for nobody: large enough to make calls cheap."""
_MAX_THREADS = 4
"""A few processors use all of the memory's bandwidth."""


def pieces(*tensors: torch.Tensor, size: int = _PIECE) -> Iterator[tuple[torch.Tensor, ...]]:
    """Go through contiguous tensors of one shape together: flat views of at most ``size`` values."""
    flat = [tensor.flatten() for tensor in tensors]
    if all(tensor.numel() == flat[0].numel() <= size for tensor in flat):
        return iter([tuple(flat)])
    return zip(*(torch.split(tensor, size) for tensor in flat), strict=True)


def run_all(tasks: Iterable[Callable[[], _T]]) -> list[_T]:
    """Run all tasks in this module's threads, at most as many as torch has here, and return what they return, in order.

    A thread takes the next task when it is done with one: where others need the processors, those that have one do the
    rest. A task that is made only when it is taken needs its memory only then. Within a task torch uses one thread.

    Raises:
        Whatever a task or the making of one raises, once no thread works any more.
    """
    num_threads = min(torch.get_num_threads(), _MAX_THREADS)
    if num_threads == 1:
        return [task() for task in tasks]
    results: dict[int, _T] = {}
    waiting, lock = enumerate(tasks), Lock()

    def work() -> None:
        while True:
            with lock:
                number, task = next(waiting, (-1, None))
            if task is None:
                return
            results[number] = task()
            del task

    done = [_threads(os.getpid(), num_threads).submit(work) for _ in range(num_threads)]
    wait(done)
    for future in done:
        future.result()
    return [results[number] for number in range(len(results))]


@cache
def _threads(_process: int, num_threads: int) -> ThreadPoolExecutor:
    """The threads; a forked process has none of its parent's and gets its own."""
    before, started = torch.get_num_threads(), Barrier(num_threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # makes torch look its number up now, and never again in this thread
        started.wait()

    threads = ThreadPoolExecutor(num_threads, "rt-flare-pieces")
    for _ in range(num_threads):
        threads.submit(start)
    started.wait()
    # torch takes the last number set for threads that come later, and keeps one number per thread.
    torch.set_num_threads(before)
    return threads
