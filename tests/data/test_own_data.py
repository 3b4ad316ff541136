"""A site's own word on where its data is (K2, C3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rt_flare.data.own_data import OWN_DATA_FILE, OwnData, read_own_data
from rt_flare.errors import ConfigError


def written(folder: Path, document: Any) -> Path:
    (folder / OWN_DATA_FILE).write_text(json.dumps(document))
    return folder


def test_nothing_is_said_by_default(tmp_path: Path) -> None:
    """K2"""
    assert read_own_data(tmp_path, {"PATH": "x"}) == OwnData()


def test_file_and_environment_complete_each_other(tmp_path: Path) -> None:
    """K2: a place in the environment replaces the file's."""
    folder = written(tmp_path, {"shard": "/a.zip", "sha256": "0" * 64, "cache_max_bytes": 5})
    assert read_own_data(folder, {}) == OwnData(shard="/a.zip", sha256="0" * 64, cache_max_bytes=5)
    assert read_own_data(folder, {"RT_FLARE_CACHE_MAX_BYTES": "7"}).cache_max_bytes == 7
    assert read_own_data(folder, {"RT_FLARE_DATA_ROOT": "/d"}) == OwnData(data_root="/d", cache_max_bytes=5)
    told = {"RT_FLARE_SHARD": "s3://b/a.zip", "RT_FLARE_SHARD_SHA256": "1" * 64}
    assert read_own_data(folder, told) == OwnData(shard="s3://b/a.zip", sha256="1" * 64, cache_max_bytes=5)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"data_rooot": "/secret"},
        {"data_root": "/secret", "shard": "https://h/a?sig=secret"},
        {"shard": "https://h/a?sig=secret", "sha256": "secret"},
        {"shard": ["https://h/a?sig=secret"]},
        {"cache_max_bytes": -1},
    ],
)
def test_what_cannot_be_used_is_refused_without_showing_it(tmp_path: Path, document: Any) -> None:
    """K2, C3"""
    with pytest.raises(ConfigError, match=r"rt_flare_data\.json") as caught:
        read_own_data(written(tmp_path, document), {})
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    """K2"""
    (tmp_path / OWN_DATA_FILE).write_text("data_root: x")
    with pytest.raises(ConfigError, match="not valid JSON"):
        read_own_data(tmp_path, {})
