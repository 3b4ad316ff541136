"""Arrays that are used again once nobody refers to them: fresh memory costs more than what is copied into it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ReusedBuffers"]


class ReusedBuffers:
    """Up to ``limit`` arrays of one shape and dtype, the last ones asked for.

    Whoever holds an array, a view of it, or a tensor made of it keeps it from being handed out again.
    """

    def __init__(self, limit: int = 4) -> None:
        self._limit = limit
        self._arrays: list[npt.NDArray[Any]] = []

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array with arbitrary contents that nobody else holds."""
        arrays = self._arrays
        if arrays and (arrays[0].shape != shape or arrays[0].dtype != dtype):
            self._arrays = arrays = []
        for position in range(len(arrays)):
            array = _unless_held(arrays, position)
            if array is not None:
                return array
        fresh = np.empty(shape, dtype)
        if len(arrays) < self._limit:
            arrays.append(fresh)
        return fresh


def _unless_held(arrays: list[npt.NDArray[Any]], position: int) -> npt.NDArray[Any] | None:
    # Bound before it is counted: two threads that are here at once see each other.
    array = arrays[position]
    return array if sys.getrefcount(array) == _IDLE_COUNT else None


def _count_idle(arrays: list[npt.NDArray[Any]], position: int) -> int:
    array = arrays[position]
    return sys.getrefcount(array)


_IDLE_COUNT = _count_idle([np.empty(0)], 0)
