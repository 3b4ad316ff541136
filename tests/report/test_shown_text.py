"""Text of others in a report: visible whole, without secrets (X10, C3)."""

from __future__ import annotations

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.report.shown_text import HIDDEN, is_secret_name, shown, shown_number


@given(st.text())
def test_no_character_is_invisible_and_what_is_shown_is_shown_again_as_it_is(text: str) -> None:
    """X10: no text can pass for another one by its controls, and any of it can be written as UTF-8."""
    found = shown(text)
    assert not [c for c in found if unicodedata.category(c) in {"Cc", "Cf", "Cs"} and c not in "\t\n" and c < "\ufff9"]
    assert shown(found) == found


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u202eb\x00\ud800", "a<U+202E>b<U+0000><U+D800>"),
        ("s3://key:word@host/a", "s3://host/a"),
        ("see https://h/a.zip?X-Amz-Signature=ab12&b=1, then", "see https://h/a.zip?... then"),
        ("password=hunter2;x", f"password={HIDDEN};x"),
        ("AWS_SECRET_ACCESS_KEY=abc", f"AWS_SECRET_ACCESS_KEY={HIDDEN}"),
        ("tokens: 512, user@site", "tokens: 512, user@site"),
    ],
)
def test_secrets_of_urls_and_assignments_are_left_out(text: str, seen: str) -> None:
    """C3: wherever they stand in a message."""
    assert shown(text) == seen


@pytest.mark.parametrize(
    "name", ["password", "AWS_SECRET", "apiKey", "api_key", "access-key", "authToken", "SIGNATURE"]
)
def test_a_secrets_name_is_known(name: str) -> None:
    """C3"""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["tokenizer", "max_tokens", "key", "monkey", "num_rounds", "keyboard", "SEED"])
def test_other_names_are_not_taken_for_secrets(name: str) -> None:
    """X10: a configuration stays readable."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (0.123456, "0.1235"), (3.0, "3")],
)
def test_numbers_are_short_and_those_that_json_lacks_have_names(value: float | None, text: str) -> None:
    """J10, X10"""
    assert shown_number(value) == text
