"""The page for administrators names commands, options, components and files that there are."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rt_flare.core.inbox import LEFT_OUT_FILE
from rt_flare.jobs.template import load_template, variables

PAGE = (Path(__file__).parents[1] / "docs" / "sites.md").read_text()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^rt-flare site (\w+)", PAGE, re.MULTILINE))))
def test_every_command_has_the_options_that_the_page_shows(command: str) -> None:
    """N7: as they are typed."""
    script = (
        f"import sys; sys.argv = ['rt-flare', 'site', {command!r}, '--help']; import rt_flare.cli.app as a; a.main()"
    )
    text = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for line in PAGE.splitlines():
        if line.startswith(f"rt-flare site {command} "):
            assert all(option in text for option in re.findall(r"--[a-z-]+", line.partition("#")[0]))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(rt_flare(?:\.\w+)+\.[A-Z]\w+)`", PAGE))))
def test_every_component_exists(path: str) -> None:
    """J8: dotted paths are public."""
    module, _, name = path.rpartition(".")
    assert hasattr(importlib.import_module(module), name)


def test_every_limit_is_a_variable_of_the_template() -> None:
    """J8: and the file that says what was left out has its name."""
    named = set(re.findall(r"`(MAX_[A-Z_]+)`", PAGE))
    assert named == {"MAX_SITE_LOG_BYTES", "MAX_SITE_FILES_BYTES", "MAX_SITE_FILES"}
    assert named <= variables(load_template("rt_fedavg").server)
    assert LEFT_OUT_FILE in PAGE
