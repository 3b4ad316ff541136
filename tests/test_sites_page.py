"""The page for administrators names commands, options, components and files that there are."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from rt_flare.core.inbox import LEFT_OUT_FILE
from rt_flare.jobs.template import load_template, variables

PAGE = (Path(__file__).parents[1] / "docs" / "sites.md").read_text()


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
