"""Records of the decoded cache: whole or not, and sums that notice a change (X9)."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.data.pixel_records import NUM_FIELDS, is_sealed, seal, sum_pixels

RECORDS = st.lists(st.integers(0, 2**64 - 1), min_size=NUM_FIELDS, max_size=NUM_FIELDS)


def test_a_changed_bit_always_changes_the_sum() -> None:
    """X9"""
    row = np.random.default_rng(0).integers(0, 256, 64, dtype=np.uint8)
    rows = np.tile(row, (64 * 8, 1))
    before = sum_pixels(rows)
    for bit in range(64 * 8):
        rows[bit, bit // 8] ^= 1 << bit % 8
    assert (sum_pixels(rows) != before).all()


@given(RECORDS, st.integers(0, NUM_FIELDS - 1), st.integers(0, 63))
def test_a_sealed_record_has_no_other_bit(fields: list[int], field: int, bit: int) -> None:
    """X9"""
    record = seal(np.array(fields, np.uint64))
    assert is_sealed(record[None])[0]
    record[field] ^= np.uint64(1 << bit)
    assert not is_sealed(record[None])[0]


def test_zeros_are_no_record() -> None:
    """X9: what an empty file holds."""
    assert not is_sealed(np.zeros((2, NUM_FIELDS), np.uint64)).any()
