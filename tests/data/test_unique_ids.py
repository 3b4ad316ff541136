"""Ids that come twice (K4)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rt_flare.data.unique_ids import UniqueIds


@given(st.lists(st.sampled_from("abcdefghij"), max_size=30), st.integers(0, 40))
def test_names_each_line_whose_id_came_before_and_the_first_that_had_it(texts: list[str], limit: int) -> None:
    """K4"""
    ids = UniqueIds()
    for number, text in enumerate(texts, start=5):
        ids.add(text, number)
    expected = [(texts.index(text) + 5, place + 5) for place, text in enumerate(texts) if text in texts[:place]]
    assert ids.repeated(limit) == (expected[:limit], len(expected))
