"""The rule for a number of samples: a real, positive, countable integer."""

from __future__ import annotations

import math
import reprlib
from typing import Any

import numpy as np

__all__ = ["MAX_SAMPLES", "sample_count_problem"]

MAX_SAMPLES = 2**53
"""Largest count that float64 holds exactly."""

_ADVICE = "return the number of samples that this site really trained on"


def sample_count_problem(value: Any) -> tuple[str, str] | None:
    """Say what is wrong with ``value`` as a number of samples, or None when nothing is.

    Returns:
        The broken rule's stable name (``samples_missing``, ``samples_bool``, ``samples_not_a_number``,
        ``samples_nan``, ``samples_infinite``, ``samples_too_large``, ``samples_not_an_integer``, ``samples_zero``,
        ``samples_negative``) and a message with the value found, what was expected, and what to do.
    """
    reason = _broken_rule(value)
    if reason is None:
        return None
    return reason, f"samples: found {_shown(value)}, expected an int from 1 to 2**53; {_ADVICE}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    # Python refuses to print integers of thousands of digits.
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    return reprlib.repr(value)


def _broken_rule(value: Any) -> str | None:
    if value is None:
        return "samples_missing"
    if isinstance(value, bool | np.bool_):
        return "samples_bool"
    if isinstance(value, float | np.floating):
        return _broken_rule_of_float(float(value))
    if not isinstance(value, int | np.integer):
        return "samples_not_a_number"
    if value == 0:
        return "samples_zero"
    if value < 0:
        return "samples_negative"
    return "samples_too_large" if value > MAX_SAMPLES else None


def _broken_rule_of_float(value: float) -> str:
    if math.isnan(value):
        return "samples_nan"
    if math.isinf(value):
        return "samples_infinite"
    return "samples_too_large" if abs(value) > MAX_SAMPLES else "samples_not_an_integer"
