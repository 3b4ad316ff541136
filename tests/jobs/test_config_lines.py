"""Settings in the text of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyhocon import ConfigFactory

from rt_flare.errors import ConfigError
from rt_flare.jobs.config_lines import Setting, read_settings, replace_values
from rt_flare.jobs.hocon import read_hocon
from rt_flare.timeouts.job_files import read_config

TEXT = """# About the file.

format_version = 2

# ---- rounds ------------------

# How many.
# More is longer.
ROUNDS = 5

# Two that belong together.
PATH = "a.B"
ARGS = null

SILENT = true
WIDE = {
  a = 1
}
parts = [
  {
    # of a part
    inner = 3
  }
]
"""
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="{}")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[\w-]{1,8}", fullmatch=True), inner),
    max_leaves=5,
)


def test_a_setting_has_its_value_its_comment_and_its_section() -> None:
    """N1: a group of settings shares one comment; what spans lines or lies deeper is no setting."""
    assert read_settings(TEXT, "x.conf") == [
        Setting("format_version", 2, "", "", 3),
        Setting("ROUNDS", 5, "How many. More is longer.", "rounds", 9),
        Setting("PATH", "a.B", "Two that belong together.", "rounds", 12),
        Setting("ARGS", None, "Two that belong together.", "rounds", 13),
        Setting("SILENT", True, "", "rounds", 15),
    ]


@settings(max_examples=60, deadline=None)
@given(first=VALUES, second=VALUES)
def test_a_new_value_is_read_as_it_was_given_or_refused_and_every_other_line_stays(first: Any, second: Any) -> None:
    """N1."""
    try:
        changed = replace_values(TEXT, {"ROUNDS": first, "ARGS": second}, "x.conf")
    except ConfigError as error:
        assert "HOCON would read other values" in str(error)  # noqa: PT017 - both are right
        return
    read = ConfigFactory.parse_string(changed).as_plain_ordered_dict()
    assert (read["ROUNDS"], read["ARGS"]) == (first, second)
    lines = zip(TEXT.splitlines(), changed.split("\n"), strict=False)
    assert [old for old, new in lines if old != new and not new.startswith(("ROUNDS = ", "ARGS = "))] == []


@pytest.mark.parametrize("value", [0, -1, 1e-7, "", "a # b", 'say "x" \\ $', "€", {"a": {"b": [1, None]}}, [], {}])
def test_the_values_that_people_set_are_among_those_that_survive(value: Any) -> None:
    """N1."""
    changed = replace_values(TEXT, {"ARGS": value}, "x.conf")
    assert ConfigFactory.parse_string(changed).as_plain_ordered_dict()["ARGS"] == value


def test_a_value_that_spans_lines_is_left_to_an_editor() -> None:
    """N1: rather than cut in two."""
    with pytest.raises(ConfigError, match=r"x\.conf: WIDE does not stand on a line of its own"):
        replace_values(TEXT, {"WIDE": None}, "x.conf")


def test_a_text_that_is_no_configuration_is_an_error_that_names_it() -> None:
    """N1."""
    with pytest.raises(ConfigError, match=r"x\.conf: expected an object"):
        read_settings("a = [1, 2", "x.conf")


def test_what_nvflare_has_written_can_be_changed_too() -> None:
    """N1: `nvflare job create` puts braces around a configuration, and drops the comments."""
    text = "{\n  ROUNDS = 5\n  parts = [\n    {\n      ROUNDS = 5\n      inner = 3\n    }\n  ]\n  ARGS = null\n}"
    assert [(setting.name, setting.value) for setting in read_settings(text, "x")] == [("ROUNDS", 5), ("ARGS", None)]
    changed = replace_values(text, {"ROUNDS": 0, "ARGS": {"a": 1}}, "x")
    assert changed == text.replace("ROUNDS = 5", "ROUNDS = 0", 1).replace("null", '{"a": 1}')


def test_reading_a_configuration_of_others_shows_nothing_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C3, N1: by every way in which rt_flare reads one; the parser itself would fill in the environment."""
    monkeypatch.setenv("MY_SECRET", "geheim")
    text = "name = ${MY_SECRET}\n"
    assert ConfigFactory.parse_string(text)["name"] == "geheim"
    path = tmp_path / "config_fed_server.conf"
    path.write_text(text)
    readers: list[Callable[[], object]] = [
        lambda: read_hocon(path),
        lambda: read_settings(text, "x.conf"),
        lambda: read_config(tmp_path, "config_fed_server"),
    ]
    for read in readers:
        with pytest.raises(ConfigError, match="which the file does not define") as caught:
            read()
        assert "geheim" not in str(caught.value)
