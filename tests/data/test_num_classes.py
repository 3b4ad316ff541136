"""The number of classes over all shards (C4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.manifest import MissingManifestError
from rt_flare.data.num_classes import infer_num_classes
from rt_flare.errors import DataError, ManifestError, ShardError


def shards(folder: Path, *labels: tuple[int, ...]) -> list[Path]:
    """One shard ZIP per label list, each with one sample."""
    samples = [ShardSample(f"s{n}", b"x", f"{n}.bin", y) for n, y in enumerate(labels)]
    return build_shards(samples, [[n] for n in range(len(labels))], folder)


def test_it_is_the_largest_label_of_all_shards_plus_one(tmp_path: Path) -> None:
    """C4"""
    assert infer_num_classes(shards(tmp_path, (2,), (0, 6), ())) == 7


def test_a_given_number_stays(tmp_path: Path) -> None:
    """C4"""
    assert infer_num_classes(shards(tmp_path, (2,)), 10) == 10


def test_a_smaller_given_number_names_shard_line_and_sample(tmp_path: Path) -> None:
    """C4"""
    with pytest.raises(
        DataError, match=r"shard_0002\.zip/manifest\.ndjson:1: sample 's1': found label 6, expected 0 to"
    ):
        infer_num_classes(shards(tmp_path, (2,), (6,)), 3)


def test_an_unpacked_shard_counts_too(tmp_path: Path) -> None:
    """C4"""
    (tmp_path / "manifest.ndjson").write_text('{"id":"a","uri":"a.png","y":[4]}\n')
    assert infer_num_classes([tmp_path]) == 5


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """C4, K4"""
    (tmp_path / "manifest.ndjson").write_text('{"id":"a","uri":"a.png","y":[true]}\n')
    with pytest.raises(ManifestError, match=r"y\[0\]: found true"):
        infer_num_classes([tmp_path])
    (tmp_path / "shard.zip").write_bytes(b"no")
    with pytest.raises(ShardError, match=r"shard\.zip: damaged, or no ZIP"):
        infer_num_classes([tmp_path / "shard.zip"])
    with pytest.raises(MissingManifestError, match=r"other\.ndjson: the shard .* has none at its root"):
        infer_num_classes(shards(tmp_path / "zips", (1,)), manifest_file="other.ndjson")
