"""The logger's three forms (M3)."""

from __future__ import annotations

from typing import Any

import pytest

from rt_flare.core.user_logger import UserLogger


def logged(*calls: Any) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    logger = UserLogger(lambda level, text: lines.append((level, text)))
    for call in calls:
        call(logger)
    return lines


def test_text_is_information() -> None:
    """M3"""
    assert logged(lambda log: log("epoch 1")) == [("info", "epoch 1")]
    assert logged(lambda log: log(3)) == [("info", "3")]


@pytest.mark.parametrize(
    ("type_", "level"),
    [
        *(("debug", "debug"), ("info", "info"), ("warn", "warning"), ("WARNING", "warning"), ("err", "error")),
        *(("error", "error"), ("metric", "info"), (None, "info")),
    ],
)
def test_a_dict_has_a_type_and_a_message(type_: Any, level: str) -> None:
    """M3"""
    assert logged(lambda log: log({"type": type_, "msg": "odd"})) == [(level, "odd")]


def test_further_keys_of_a_dict_are_shown() -> None:
    """M3"""
    assert logged(lambda log: log({"msg": "step", "loss": 0.5})) == [("info", "step {'loss': 0.5}")]
    assert logged(lambda log: log({"type": "warn"})) == [("warning", "")]


def test_it_is_used_like_pythons_own() -> None:
    """M3"""
    assert logged(
        lambda log: log.debug("a"),
        lambda log: log.info("loss %.2f in %s", 0.123, "epoch"),
        lambda log: log.warning("b"),
        lambda log: log.warn("c"),
        lambda log: log.error("100% done"),
    ) == [("debug", "a"), ("info", "loss 0.12 in epoch"), ("warning", "b"), ("warning", "c"), ("error", "100% done")]


def test_long_text_is_cut() -> None:
    """M3: client text is bounded."""
    ((_, text),) = logged(lambda log: log("x" * 100_000))
    assert text == "x" * 4_000 + "... (100000 characters)"


def test_text_that_is_no_utf8_is_shown_with_question_marks() -> None:
    """M3: such as the name of a file on disk."""
    assert logged(lambda log: log.info("missing %s", b"a\xff.png".decode("utf-8", "surrogateescape"))) == [
        ("info", "missing a?.png")
    ]
