"""The tables of the templates' README are those of the files."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any

from rt_flare.builtin_plugin import rt_flare_job_templates, templates_home
from rt_flare.jobs.job_folder import read_template_files
from rt_flare.jobs.template import load_template

BASE = "rt_fedavg"
README = (templates_home() / "README.md").read_text()


def _tables() -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\|\n)+", README, flags=re.MULTILINE)
    return [
        [[cell.strip() for cell in row.strip("|").split(" | ")] for row in block.splitlines() if "| --- |" not in row]
        for block in blocks
    ]


def _settings(template: str) -> dict[tuple[str, str], Any]:
    return {
        (file.kind, setting.name): setting.value
        for file in read_template_files(template)
        for setting in file.settings
        if file.kind != "meta"
    }


def test_every_template_stands_in_the_table_with_its_controller_and_preset() -> None:
    """N1, T9."""
    rows = _tables()[0][1:]
    found = {re.search(r"`(\w+)`", row[0]).group(1): row[2:] for row in rows}  # type: ignore[union-attr]
    expected = {}
    for name in rt_flare_job_templates():
        template = load_template(name)
        controller = template.server["workflows"][0]["path"].rpartition(".")[2]
        expected[name] = [f"`{controller}`", f"`{template.info['timeouts']}`"]
    assert found == expected


def test_the_table_of_differences_is_exact() -> None:
    """N1: every setting whose value is not that of rt_fedavg, and no other."""
    header, *rows = _tables()[1]
    names = [cell.strip("`") for cell in header[2:]]
    assert sorted(names) == sorted(rt_flare_job_templates())
    assert names[0] == BASE
    values = {name: _settings(name) for name in names}
    expected = {}
    for key in dict.fromkeys(chain(values[BASE], *(values[name] for name in names[1:]))):
        cells = [f"`{json.dumps(values[name][key])}`" if key in values[name] else "–" for name in names]
        if len(set(cells)) > 1:
            expected[key] = [cells[0], *("" if cell == cells[0] else cell for cell in cells[1:])]
    found = {(row[0], row[1].strip("`")): row[2:] for row in rows}
    assert found == expected


def test_every_command_that_the_readme_names_exists() -> None:
    """N1."""
    from typer.main import get_command

    from rt_flare.cli.job import app

    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert set(re.findall(r"rt-flare job (\w+)", README)) == commands
