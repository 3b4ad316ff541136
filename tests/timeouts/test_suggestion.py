"""Which preset fits, and why (T9)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.timeouts.suggestion import suggest_preset

MBIT = 1e6 / 8


@pytest.mark.parametrize(
    ("model_bytes", "bytes_per_second", "num_sites", "expected"),
    [
        (440_000_000, 50 * MBIT, 12, "large_model"),
        (14_000_000_000, 1000 * MBIT, 8, "llm"),
        (44_000_000, 100 * MBIT, 8, "standard"),
        (44_000_000, 5 * MBIT, 8, "high_latency"),
        (44_000_000, 1000 * MBIT, 144, "hpc"),
        (200_000, 1000 * MBIT, 4, "low_latency"),
        (200_000, 100 * MBIT, 4, "standard"),
        (200_000, 1000 * MBIT, 80, "standard"),
    ],
)
def test_the_preset_follows_from_size_bandwidth_and_sites(
    model_bytes: int, bytes_per_second: float, num_sites: int, expected: str
) -> None:
    """T9"""
    suggestion = suggest_preset(model_bytes=model_bytes, bytes_per_second=bytes_per_second, num_sites=num_sites)
    assert suggestion.placed.preset == expected
    assert suggestion.reasons[0].startswith(f"{expected}: ")


def test_several_reasons_are_all_given() -> None:
    """T9"""
    suggestion = suggest_preset(model_bytes=10**10, bytes_per_second=1e6, num_sites=200)
    assert [reason.split(":")[0] for reason in suggestion.reasons[:3]] == ["hpc", "llm", "high_latency"]


@given(st.integers(1, 10**12), st.floats(1e3, 1e11), st.integers(1, 5000))
def test_every_value_is_explained(model_bytes: int, bytes_per_second: float, num_sites: int) -> None:
    """T9: for any deployment."""
    suggestion = suggest_preset(model_bytes=model_bytes, bytes_per_second=bytes_per_second, num_sites=num_sites)
    assert all(len(setting.reason) > 10 for setting in suggestion.placed.settings)
    assert "not known" not in " ".join(setting.reason for setting in suggestion.placed.settings)
    assert suggestion.notes
