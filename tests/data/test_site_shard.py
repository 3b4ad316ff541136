"""A site's copy of its shard: whole or absent, warm for the same archive, recovered after a kill (K1, K2, K3)."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.data.archive import ArchiveLimits
from rt_flare.data.shard_names import find_shards, shard_name
from rt_flare.data.site_shard import prepare_shard
from rt_flare.errors import ShardError

OLD = {"manifest.ndjson": b"old", "images/a.png": b"1", "only_old": b"1"}
NEW = {"manifest.ndjson": b"new", "images/a.png": b"2", "images/b.png": b"3"}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_unpacks_into_the_folder_of_the_index(tmp_path: Path) -> None:
    """K2"""
    archive = make_zip(tmp_path / "shard_0003.zip", OLD)
    assert prepare_shard(archive, tmp_path / "data", 3) == tmp_path / "data" / "3"
    assert contents(tmp_path / "data" / "3") == OLD


def test_the_same_archive_is_found_warm(tmp_path: Path) -> None:
    """K2, X9: not unpacked again, whatever the archive's name and date."""
    data = tmp_path / "data"
    target = prepare_shard(make_zip(tmp_path / "a.zip", OLD), data, 1)
    before = target.stat().st_ino
    assert prepare_shard((tmp_path / "a.zip").rename(tmp_path / "b.zip"), data, 1) == target
    assert target.stat().st_ino == before


def test_another_archive_replaces_the_folder(tmp_path: Path) -> None:
    """K2, X9: nothing of the old contents is left in it, and going back is warm."""
    data = tmp_path / "data"
    old = make_zip(tmp_path / "a.zip", OLD)
    before = prepare_shard(old, data, 1).stat().st_ino
    assert contents(prepare_shard(make_zip(tmp_path / "b.zip", NEW), data, 1)) == NEW
    assert prepare_shard(old, data, 1).stat().st_ino == before
    assert contents(data / "1") == OLD


def test_a_refused_archive_leaves_what_was_there(tmp_path: Path) -> None:
    """K3"""
    data = tmp_path / "data"
    target = prepare_shard(make_zip(tmp_path / "a.zip", OLD), data, 1)
    with pytest.raises(ShardError, match=r"expected at most 1\."):
        prepare_shard(make_zip(tmp_path / "b.zip", NEW), data, 1, limits=ArchiveLimits(max_total_bytes=1))
    assert contents(target) == OLD


def test_a_deleted_folder_is_unpacked_again(tmp_path: Path) -> None:
    """K2"""
    archive = make_zip(tmp_path / "a.zip", OLD)
    target = prepare_shard(archive, tmp_path / "data", 1)
    target.resolve().rename(tmp_path / "elsewhere")
    assert contents(prepare_shard(archive, tmp_path / "data", 1)) == OLD


def test_an_own_folder_in_its_place_is_left_alone(tmp_path: Path) -> None:
    """K2"""
    (tmp_path / "data" / "1").mkdir(parents=True)
    with pytest.raises(ShardError, match="was not made from a shard"):
        prepare_shard(make_zip(tmp_path / "a.zip", NEW), tmp_path / "data", 1)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    """K3"""
    with pytest.raises(ShardError, match=r"shard_0001\.zip: no such file"):
        prepare_shard(tmp_path / "shard_0001.zip", tmp_path / "data", 1)


def prepare_and_die_at(step: int, archive: Path, data: Path) -> bool:
    """Run prepare_shard in a child that ends without any cleanup at its file operation ``step``; True if it did."""
    child = os.fork()
    if child == 0:
        seen = 0

        def die(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}:
                seen += 1
                if seen == step:
                    os._exit(9)

        sys.addaudithook(die)
        try:
            prepare_shard(archive, data, 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, 9}
    return code == 9


@pytest.mark.parametrize("replacing", [False, True], ids=["first", "replacing"])
def test_killed_at_any_file_operation_the_next_call_recovers(tmp_path: Path, replacing: bool) -> None:
    """K3: and what can be seen of a shard is complete, at every instant."""
    old, new = make_zip(tmp_path / "old.zip", OLD), make_zip(tmp_path / "new.zip", NEW)
    step, died = 0, True
    while died:
        step += 1
        data = tmp_path / f"data{step}"
        if replacing:
            prepare_shard(old, data, 1)
        died = prepare_and_die_at(step, new, data)
        if (data / "1").exists():
            assert contents(data / "1") in ([OLD, NEW] if replacing else [NEW])
        # Whichever archive is asked for next, exactly that one is there.
        after = (old, OLD) if step % 2 else (new, NEW)
        assert contents(prepare_shard(after[0], data, 1)) == after[1]
    assert step > 20


def test_shard_names_count_from_one() -> None:
    """K1"""
    assert [shard_name(1), shard_name(9999), shard_name(10000)] == [
        "shard_0001.zip",
        "shard_9999.zip",
        "shard_10000.zip",
    ]
    with pytest.raises(ShardError, match="found 0, expected 1 or more"):
        shard_name(0)


@given(st.integers(1, 10**6))
def test_shard_names_sort_like_their_index(index: int) -> None:
    """K1"""
    assert int(shard_name(index)[6:-4]) == index


def test_finds_shards_in_order_and_ignores_other_files(tmp_path: Path) -> None:
    """K1"""
    for name in ["shard_0002.zip", "shard_0001.zip", "shard_0003.zip", "notes.txt"]:
        (tmp_path / name).touch()
    assert [path.name for path in find_shards(tmp_path)] == ["shard_0001.zip", "shard_0002.zip", "shard_0003.zip"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "found no shard, expected shard_0001.zip"),
        (["shard_0002.zip"], "shard_0001.zip is missing, but shard_0002.zip is there"),
        (["shard_0001.zip", "shard_0003.zip"], "shard_0002.zip is missing, but shard_0003.zip is there"),
        (["shard_0001.zip", "data.zip"], "data.zip: not a shard's name"),
        (["shard_1.zip"], "shard_1.zip: not a shard's name"),
        (["shard_00001.zip"], "shard_00001.zip: not a shard's name"),
        (["shard_0000.zip"], "shard_0000.zip: not a shard's name"),
        (["shard_0001.ZIP"], "shard_0001.ZIP: not a shard's name"),
    ],
)
def test_refuses_a_gap_or_a_stray_zip(tmp_path: Path, names: list[str], message: str) -> None:
    """K1"""
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ShardError, match=message):
        find_shards(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """K1"""
    with pytest.raises(ShardError, match="no such folder"):
        find_shards(tmp_path / "shards")
