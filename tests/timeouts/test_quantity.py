"""Sizes, counts and speeds as people write them (T9)."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.errors import ConfigError
from rt_flare.timeouts.quantity import (
    format_bytes,
    format_seconds,
    parse_bandwidth,
    parse_bytes,
    parse_count,
)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parse_count, "110M", 110_000_000),
        (parse_count, "1.5b", 1_500_000_000),
        (parse_count, " 4000 ", 4000),
        (parse_bytes, "440MB", 440_000_000),
        (parse_bytes, "64MiB", 64 << 20),
        (parse_bytes, "512", 512),
        (parse_bandwidth, "50Mbps", 6.25e6),
        (parse_bandwidth, "50 Mbit/s", 6.25e6),
        (parse_bandwidth, "1Gbps", 1.25e8),
        (parse_bandwidth, "10MB/s", 1e7),
        (parse_bandwidth, "1MiB/s", 1 << 20),
    ],
)
def test_a_quantity_is_understood(parse: Callable[[str], float], text: str, expected: float) -> None:
    """T9"""
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_count, "110MB"),
        (parse_count, "many"),
        (parse_count, "-1"),
        (parse_count, "0"),
        (parse_count, "1e9"),
        (parse_bytes, "50Mb"),
        (parse_bytes, "5 bananas"),
        (parse_bytes, "0"),
        (parse_bandwidth, "50"),
        (parse_bandwidth, "50MB"),
        (parse_bandwidth, "0Mbps"),
        (parse_bandwidth, "50ibps"),
        (parse_bandwidth, "inf Mbps"),
    ],
)
def test_another_form_is_refused_with_an_example(parse: Callable[[str], float], text: str) -> None:
    """T9: a bit is no byte."""
    with pytest.raises(ConfigError, match=r"found .*(expected|such as)"):
        parse(text)


@given(st.integers(1, 10**9), st.sampled_from(["", "k", "M", "G"]))
def test_a_size_in_any_unit_comes_back(number: int, prefix: str) -> None:
    """T9"""
    factor = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[prefix]
    assert parse_bytes(f"{number}{prefix}B") == number * factor
    assert parse_bandwidth(f"{number}{prefix}B/s") == 8 * parse_bandwidth(f"{number}{prefix}bps")


@given(st.text(max_size=20))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """T9: never another error, never nothing."""
    for parse in (parse_count, parse_bytes, parse_bandwidth):
        try:
            value = parse(text)
        except ConfigError:
            continue
        assert 0 < value < math.inf


@given(st.floats(0.001, 1e15))
def test_what_people_are_shown_is_close_to_the_number(value: float) -> None:
    """T9"""
    number, unit = format_bytes(value).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert math.isclose(float(number) * factor, value, rel_tol=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.25 s"), (89.0, "89 s"), (845.2, "14 min 5 s"), (7200, "2 h"), (3660, "1 h 1 min")]
)
def test_a_duration_is_shown_in_its_units(seconds: float, text: str) -> None:
    """T9"""
    assert format_seconds(seconds) == text
