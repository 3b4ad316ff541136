"""What concerns all tests: those that start NVFlare come first, so that two workers end at about the same time."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with tests of NVFlare's own processes before the others, each file whole."""
    slow_files = {item.path for item in items if {"simulator", "poc"} & {mark.name for mark in item.iter_markers()}}
    items.sort(key=lambda item: item.path not in slow_files)
