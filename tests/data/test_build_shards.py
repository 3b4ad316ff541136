"""Building shards: rebuilt byte for byte, readable by the site's own code, refused when they could not be (K7)."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from rt_flare.data.build_shards import ShardSample, build_shards
from rt_flare.data.manifest import ManifestEntry, load_manifest
from rt_flare.data.shard_names import find_shards
from rt_flare.data.site_shard import prepare_shard
from rt_flare.data.uris import resolve_uri
from rt_flare.errors import ManifestError, ShardError


def samples(n: int = 4) -> list[ShardSample]:
    return [ShardSample(f"s{i}", b"%d" % i * 50, f"images/{i} ü%41.png", (i % 2,), {"n": i}) for i in range(n)]


def test_a_site_reads_what_was_built(tmp_path: Path) -> None:
    """K2, K4, K7"""
    made = samples()
    paths = build_shards(made, [[2, 0], [1, 3]], tmp_path / "shards")
    assert paths == find_shards(tmp_path / "shards")
    for number, part in enumerate([[2, 0], [1, 3]], start=1):
        root = prepare_shard(paths[number - 1], tmp_path / "data", number)
        entries = load_manifest(root / "manifest.ndjson")
        assert [(e.id, e.y, e.meta) for e in entries] == [(made[i].id, made[i].y, made[i].meta) for i in part]
        assert [resolve_uri(e.uri, root).read_bytes() for e in entries] == [made[i].source for i in part]


def test_a_plain_name_gives_a_plain_uri(tmp_path: Path) -> None:
    """K5: readers that do not decode percent signs read it too."""
    (path,) = build_shards([ShardSample("a", b"1", "images/a_1.png", (0,))], [[0]], tmp_path)
    root = prepare_shard(path, tmp_path / "data", 1)
    assert load_manifest(root / "manifest.ndjson") == [ManifestEntry("a", "file://images/a_1.png", (0,))]


def test_a_rebuild_gives_the_same_bytes(tmp_path: Path) -> None:
    """K7: from bytes or from files, whatever their date and mode."""
    made = [*samples(), ShardSample("t", b"text " * 100, "notes.txt", (0,))]
    file = tmp_path / "source"
    file.write_bytes(b"text " * 100)
    file.chmod(0o600)
    from_file = [*made[:-1], replace(made[-1], source=file)]
    first = build_shards(made, [[0, 1, 4], [2, 3]], tmp_path / "a")
    second = build_shards(from_file, [[0, 1, 4], [2, 3]], tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    again = build_shards(made, [[0, 1, 4], [2, 3]], tmp_path / "a")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in second]


def test_compressed_formats_are_stored_and_others_deflated(tmp_path: Path) -> None:
    """K7"""
    made = [ShardSample("a", bytes(999), "a.PNG", (0,)), ShardSample("b", bytes(999), "b.txt", (0,))]
    (path,) = build_shards(made, [[0, 1]], tmp_path)
    with zipfile.ZipFile(path) as archive:
        methods = {info.filename: info.compress_type for info in archive.infolist()}
    assert methods == {"manifest.ndjson": 8, "a.PNG": 0, "b.txt": 8}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "parts: found none"),
        ([[0], []], "part 2 of 2 is empty"),
        ([[0, 4]], "part 1: found the index 4, expected 0 to 3"),
        ([[-1]], "part 1: found the index -1"),
        ([[0, 1], [1]], "part 1: the index 1 stands in the parts 2 times"),
        ([[2, 2]], "part 1: the index 2 stands in the parts 2 times"),
    ],
)
def test_refuses_parts_that_lose_or_repeat(tmp_path: Path, parts: list[list[int]], message: str) -> None:
    """K7"""
    with pytest.raises(ShardError, match=message):
        build_shards(samples(), parts, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (ShardSample("x", b"1", "manifest.ndjson", (0,)), "duplicate entry 'manifest.ndjson'"),
        (ShardSample("x", b"1", "../x.png", (0,)), r"'\.\.' in the path"),
        (ShardSample("x", b"1", "images/0 ü%41.png", (0,)), "duplicate entry"),
        (ShardSample("x", Path("nowhere.png"), "x.png", (0,)), "sample 'x': no such file: nowhere.png"),
    ],
)
def test_refuses_a_sample_that_cannot_stand_in_a_shard(tmp_path: Path, sample: ShardSample, message: str) -> None:
    """K3, K7: and leaves no part of a ZIP."""
    with pytest.raises(ShardError, match=message):
        build_shards([*samples(), sample], [[0, 4]], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_refuses_an_entry_that_breaks_the_manifest(tmp_path: Path) -> None:
    """K4"""
    with pytest.raises(ManifestError, match=r"y\[0\]: found -1"):
        build_shards([ShardSample("x", b"1", "x.png", (-1,))], [[0]], tmp_path)


def test_refuses_a_folder_with_shards_of_an_earlier_build(tmp_path: Path) -> None:
    """K1: two shards left over would look like two more sites."""
    build_shards(samples(), [[0], [1], [2]], tmp_path)
    with pytest.raises(ShardError, match=r"shard_0003\.zip: not one of the 2 shards to write"):
        build_shards(samples(), [[0], [1]], tmp_path)
