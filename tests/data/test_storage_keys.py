"""Names in a storage (K8)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.data.storage_keys import storage_key, storage_keys
from rt_flare.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("files_out/metrics.json", "files_out/metrics.json"),
        ("site 1/Löss (final).txt", "site-1/Loss-final-.txt"),
        ("ﬁle", "file"),
        ("a?b&c", "a-b-c"),
    ],
)
def test_slugs(name: str, key: str) -> None:
    """K8"""
    assert storage_key(name) == key


@pytest.mark.parametrize("name", ["", "a//b", "a/../b", "/a", "日本", "a/./b", "---"])
def test_names_of_which_nothing_is_left_are_refused(name: str) -> None:
    """K8"""
    with pytest.raises(ConfigError, match="no name for a storage is left"):
        storage_key(name)


@pytest.mark.parametrize("names", [["a b", "a-b"], ["Loss.txt", "loss.txt"], ["x/ä", "x/a"]])
def test_names_that_collide_are_refused(names: list[str]) -> None:
    """K8"""
    with pytest.raises(ConfigError, match=re.escape(f"{names[0]!r} and {names[1]!r} would both be")):
        storage_keys(names)


@given(st.lists(st.text(max_size=8), max_size=5, unique=True))
def test_keys_are_plain_and_distinct_or_refused(names: list[str]) -> None:
    """K8"""
    try:
        keys = storage_keys(names)
    except ConfigError:
        return
    assert len({key.casefold() for key in keys.values()}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", key) and ".." not in key.split("/") for key in keys.values())
