"""The quickstart's data."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rt_flare.data.manifest import load_manifest
from rt_flare.data.shard_names import find_shards
from rt_flare.data.site_shard import prepare_shard
from rt_flare.errors import ConfigError
from rt_flare.quickstart.digits import pool_shards, write_digits


def _digests(folder: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in find_shards(folder)]


def test_every_digit_is_at_one_site_or_held_out(tmp_path: Path) -> None:
    """K1, K7: a fifth is held out, stratified; the rest is shared out unevenly."""
    digits = write_digits(tmp_path / "shards", tmp_path / "held_out", num_sites=3, seed=1)
    for index, shard in enumerate(find_shards(digits.shards_dir), start=1):
        prepare_shard(shard, tmp_path / "data", index)
    pooled = load_manifest(pool_shards(tmp_path / "data", 3))
    held_out = load_manifest(digits.held_out / "manifest.ndjson")
    ids = [entry.id for entry in [*pooled, *held_out]]
    assert len(ids) == len(set(ids)) == 1797
    assert sum(digits.num_samples) == len(pooled)
    assert 355 <= len(held_out) <= 365
    counts = [sum(entry.y == (label,) for entry in held_out) for label in range(10)]
    assert max(counts) - min(counts) <= 3
    assert len(set(digits.num_samples)) == 3
    assert all((tmp_path / "data" / entry.uri.removeprefix("file://")).is_file() for entry in pooled)


def test_the_seed_decides_the_bytes(tmp_path: Path) -> None:
    """K7."""
    first = write_digits(tmp_path / "a", tmp_path / "ah", num_sites=2, seed=5)
    second = write_digits(tmp_path / "b", tmp_path / "bh", num_sites=2, seed=5)
    third = write_digits(tmp_path / "c", tmp_path / "ch", num_sites=2, seed=6)
    assert _digests(first.shards_dir) == _digests(second.shards_dir) != _digests(third.shards_dir)


def test_fewer_sites_leave_no_shard_of_the_run_before(tmp_path: Path) -> None:
    """K1."""
    write_digits(tmp_path / "a", tmp_path / "ah", num_sites=4, seed=0)
    digits = write_digits(tmp_path / "a", tmp_path / "ah", num_sites=2, seed=0)
    assert len(find_shards(digits.shards_dir)) == len(digits.num_samples) == 2


def test_too_many_sites_are_refused(tmp_path: Path) -> None:
    """K7."""
    with pytest.raises(ConfigError, match="sites: found 51"):
        write_digits(tmp_path / "a", tmp_path / "ah", num_sites=51, seed=0)
