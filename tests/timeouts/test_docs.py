"""docs/timeouts.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import rt_flare.timeouts
from rt_flare.timeouts.key_map import load_key_map
from rt_flare.timeouts.presets import Preset, builtin_presets, find_preset, flatten_preset

PAGE = (Path(__file__).parents[2] / "docs" / "timeouts.md").read_text()
TABLES = [
    [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table.splitlines()]
    for table in re.findall(r"((?:^\|.*\|\n)+)", PAGE, re.MULTILINE)
]


def shown(value: object, *, is_set: bool) -> str:
    if not is_set:
        return "-"
    return "rule" if value is None else str(value).lower()


def test_the_tables_of_presets_are_those_of_the_code() -> None:
    """T9: every preset, every key, every fixed value."""
    tables = [table for table in TABLES if table[0][0] == "key"]
    assert {name for table in tables for name in table[0][1:]} == set(builtin_presets())
    for heading, _, *rows in tables:
        presets = [flatten_preset(find_preset(name), load_key_map()) for name in heading[1:]]
        assert {row[0] for row in rows} == set().union(*presets)
        for row in rows:
            settings = [preset.get(row[0]) for preset in presets]
            values = [shown(setting and setting.value, is_set=setting is not None) for setting in settings]
            assert row[1:] == values, row[0]


def test_every_rule_of_the_linter_is_listed() -> None:
    """T8"""
    sources = Path(rt_flare.timeouts.__file__).parent.glob("rules_*.py")
    in_code = set().union(*(re.findall(r'"(B\d\db?)"', path.read_text()) for path in sources))
    (table,) = (table for table in TABLES if table[0][0] == "rule")
    assert [row[0] for row in table[2:]] == sorted(in_code)


def test_every_name_that_is_gone_is_listed() -> None:
    """T12"""
    (table,) = (table for table in TABLES if table[0][0] == "name")
    assert {row[0] for row in table[2:]} == set(load_key_map().retired)


def test_the_example_of_a_preset_works() -> None:
    """T9"""
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    preset = Preset.model_validate({"name": "mine", **json.loads(example)})
    assert flatten_preset(preset, load_key_map())["get_task_timeout"].value == 900


@pytest.mark.parametrize("command", re.findall(r"^rt-flare timeouts (\w+)", PAGE, re.MULTILINE))
def test_the_commands_exist(command: str) -> None:
    """N6"""
    from rt_flare.cli.timeouts import app

    names = {entry.name or getattr(entry.callback, "__name__", "") for entry in app.registered_commands}
    assert command in names
