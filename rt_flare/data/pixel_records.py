"""The arithmetic of the decoded cache's records: what makes one whole, and a sum over pixels."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

__all__ = ["NUM_FIELDS", "RECORD_BYTES", "is_sealed", "seal", "sum_pixels"]

NUM_FIELDS = 7
"""Of uint64: size, mtime and ctime of the image file, digest of its contents, sum over the pixels, random, seal."""

RECORD_BYTES = 8 * NUM_FIELDS
_SEAL = np.uint64(0x9C8F_31E5_7A4D_B26B)


def sum_pixels(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return the weighted sum of each row, shape (n,); the rows have shape (n, a multiple of 8)."""
    words = rows.view(np.uint64)
    return words @ _weights(words.shape[1])


def is_sealed(records: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Say which records, shape (n, `NUM_FIELDS`), are whole; one of zeros is not."""
    sealed: npt.NDArray[np.bool_] = (records[:, :-1] @ _weights(NUM_FIELDS - 1) ^ _SEAL) == records[:, -1]
    return sealed


def seal(record: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Set the last field of ``record``, shape (`NUM_FIELDS`,), from the others, and return it."""
    record[-1] = record[:-1] @ _weights(NUM_FIELDS - 1) ^ _SEAL
    return record


@functools.lru_cache(maxsize=8)
def _weights(count: int) -> npt.NDArray[np.uint64]:
    """Fixed odd numbers that look random: a change of one word always changes the sum of the products."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58_476D_1CE4_E5B9)
    mixed ^= mixed >> np.uint64(32)
    return mixed | np.uint64(1)
