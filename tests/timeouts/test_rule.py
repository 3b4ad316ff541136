"""Rules are arithmetic and nothing else (T9)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.errors import ConfigError
from rt_flare.timeouts.rule import RULE_NAMES, evaluate_rule, names_in_rule


@given(st.integers(1, 10**6), st.floats(0.01, 1e6))
def test_a_rule_is_worked_out(num_sites: int, model_bytes: float) -> None:
    """T9"""
    rule = "max(300, ceil(num_sites * (model_bytes / 4 + 1)) - 2)"
    assert names_in_rule(rule) == {"num_sites", "model_bytes"}
    values = {"num_sites": num_sites, "model_bytes": model_bytes}
    assert evaluate_rule(rule, values) == max(300, -int(-(num_sites * (model_bytes / 4 + 1)) // 1) - 2)


@pytest.mark.parametrize(
    "rule",
    [
        *("", "1 +", "sites", "__import__('os')", "num_sites.real", "num_sites ** 9", "[1]", "max()", "True", "'1'"),
        *("max(num_sites, key=1)", "num_sites if 1 else 2", "-num_sites", "lambda: 1", "ceil(1, 2)", "min(3)", "1e999"),
    ],
)
def test_anything_else_is_refused(rule: str) -> None:
    """T9: a preset from a stranger runs nothing."""
    with pytest.raises(ConfigError, match="rule"):
        names_in_rule(rule)


@pytest.mark.parametrize("rule", ["num_sites / 0", "num_sites * 1e308 * 10", "model_bytes"])
def test_a_rule_that_has_no_value_is_refused(rule: str) -> None:
    """T9"""
    with pytest.raises(ConfigError, match="rule"):
        evaluate_rule(rule, {"num_sites": 1})


@given(st.text(max_size=40))
def test_any_text_is_worked_out_or_refused(text: str) -> None:
    """T9: never another error."""
    try:
        names_in_rule(text)
    except ConfigError:
        return
    assert names_in_rule(text) <= RULE_NAMES.keys()
