"""A configuration as rows (X10, C3)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rt_flare.report.config_values import config_rows
from rt_flare.report.shown_text import HIDDEN

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def test_every_value_stands_under_its_place() -> None:
    """X10: secrets by name are left out, empty ones are seen to be empty."""
    content = {"a": {"b": [{"c": 1}, {"c": [1, 2]}]}, "API_TOKEN": "s3cret", "password": "", "secrets": {"x": "s3cret"}}
    rows, total = config_rows(content)
    assert {row.name: row.value for row in rows} == {
        "a.b[0].c": "1",
        "a.b[1].c": "[1, 2]",
        "API_TOKEN": HIDDEN,
        "password": '""',
        "secrets": HIDDEN,
    }
    assert total == 5


@given(st.dictionaries(st.text(max_size=5), values, max_size=4), st.integers(0, 5))
def test_any_configuration_gives_rows_up_to_the_limit(content: dict[str, object], limit: int) -> None:
    """X10"""
    rows, total = config_rows(content, limit=limit)
    assert len(rows) == min(limit, total)


def test_long_values_are_cut_and_say_so() -> None:
    """X10"""
    rows, _ = config_rows({"a": "x" * 1000})
    assert rows[0].value.endswith("... (1002 characters)")
    assert len(rows[0].value) < 400
