"""Memory is used again, but never while somebody can see it (X9)."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from rt_flare.data.reused_buffers import ReusedBuffers

HOLDERS = [
    lambda array: array,
    lambda array: array[1:, :1],
    lambda array: array.reshape(-1)[::2],
    torch.from_numpy,
    lambda array: torch.from_numpy(array).view(-1)[3:],
    lambda array: torch.from_numpy(array)[0].numpy(),
    lambda array: list(torch.from_numpy(array).unbind(0))[1],
    memoryview,
]


def address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("hold", HOLDERS)
def test_an_array_that_is_held_is_not_handed_out(hold: Any) -> None:
    """X9: whatever holds it; afterwards it is."""
    buffers = ReusedBuffers()
    held = hold(buffers.take((2, 3), np.uint8))
    first = address(buffers._arrays[0])
    assert address(buffers.take((2, 3), np.uint8)) != first
    del held
    assert address(buffers.take((2, 3), np.uint8)) == first


def test_a_loop_uses_two_arrays() -> None:
    """X9: the one of the step before is held while the next one is made."""
    buffers = ReusedBuffers()
    seen = set()
    for _ in range(20):
        batch = buffers.take((2, 3), np.uint8)
        seen.add(address(batch))
    assert len(seen) == 2


def test_another_shape_or_dtype_is_another_array() -> None:
    """X9"""
    buffers = ReusedBuffers()
    for shape, dtype in (((2, 3), np.uint8), ((2, 3), np.float32), ((6,), np.float32)):
        array = buffers.take(shape, dtype)
        assert (array.shape, array.dtype) == (shape, dtype)
        assert len(buffers._arrays) == 1


def test_what_is_kept_is_limited() -> None:
    """X9"""
    buffers = ReusedBuffers(limit=2)
    held = [buffers.take((3,), np.uint8) for _ in range(5)]
    assert len({address(array) for array in held}) == 5
    assert len(buffers._arrays) == 2


def test_threads_get_arrays_of_their_own() -> None:
    """X9"""
    buffers = ReusedBuffers()
    failures: list[int] = []

    def work(number: int) -> None:
        for _ in range(2000):
            array = buffers.take((8,), np.int64)
            array[:] = number
            if (array != number).any():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
