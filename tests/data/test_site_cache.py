"""The cache of a site: by content, capped, shared by jobs that run at the same time (K2, K3, X9)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from rt_flare.data import site_cache
from rt_flare.data.archive import DiskError
from rt_flare.data.site_cache import SiteCache
from rt_flare.errors import ShardError


def put(cache: SiteCache, sha256: str, num_bytes: int = 100, **about: str) -> Path:
    with cache.staging(sha256, num_bytes=num_bytes) as staging:
        (staging / "name").write_text(sha256)
        return cache.adopt(staging, sha256, num_bytes=num_bytes, **about)


def names(data: Path) -> set[str]:
    return {path.name for path in (data / "shards").iterdir() if not path.name.endswith(".lock")}


def test_what_was_adopted_is_found_by_its_hash_and_by_its_place(tmp_path: Path) -> None:
    """X9"""
    cache = SiteCache(tmp_path)
    folder = put(cache, "aa", place="s3://b/x", version="1")
    assert (folder / "name").read_text() == "aa"
    other = SiteCache(tmp_path)
    assert other.find("aa") == folder
    assert other.find("bb") is None
    assert other.find_version("s3://b/x", "1") == folder
    assert other.find_version("s3://b/x", "2") is None
    put(cache, "cc")
    assert other.find_version("", "") is None


def test_no_other_user_sees_into_it(tmp_path: Path) -> None:
    """K2: the default place is in a folder of all users."""
    put(SiteCache(tmp_path / "data"), "aa")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir() if not path.is_symlink()} == {0o700}


def test_a_staging_folder_that_is_not_adopted_leaves_nothing(tmp_path: Path) -> None:
    """K3"""
    with SiteCache(tmp_path).staging("x", num_bytes=1) as staging:
        (staging / "a").touch()
    assert names(tmp_path) == set()


def test_two_jobs_that_unpack_the_same_shard_share_the_first_ones(tmp_path: Path) -> None:
    """K2"""
    first, second = SiteCache(tmp_path), SiteCache(tmp_path)
    with second.staging("aa", num_bytes=1) as late:
        folder = put(first, "aa")
        node = folder.stat().st_ino
        assert second.adopt(late, "aa", num_bytes=1).stat().st_ino == node


def test_least_recently_used_shards_make_room(tmp_path: Path) -> None:
    """K2: those that no job uses."""
    cache = SiteCache(tmp_path, max_bytes=300)
    for number, sha256 in enumerate(["aa", "bb", "cc"]):
        put(cache, sha256)
        cache.close()
        os.utime(tmp_path / "shards" / f"{sha256}.json", (number, number))
    assert cache.find("aa") is not None  # used last now
    put(cache, "dd")
    cache.close()
    assert names(tmp_path) == {"aa", "aa.json", "cc", "cc.json", "dd", "dd.json"}


def test_what_other_processes_use_is_not_evicted(tmp_path: Path) -> None:
    """K2: two jobs at once."""
    busy = SiteCache(tmp_path, max_bytes=300)
    put(busy, "aa")
    put(busy, "bb")
    cache = SiteCache(tmp_path, max_bytes=300)
    with pytest.raises(DiskError, match="needs 150 bytes, 50 more than the 300 of the site's cache leave"):
        put(cache, "cc", 150)
    put(cache, "cc")
    busy.close()
    assert put(cache, "dd", 150).is_dir()
    assert {"cc", "dd"} <= names(tmp_path)


def test_shards_that_are_being_unpacked_count(tmp_path: Path) -> None:
    """K2"""
    first, second = SiteCache(tmp_path, max_bytes=300), SiteCache(tmp_path, max_bytes=300)
    with first.staging("aa", num_bytes=200), pytest.raises(DiskError, match="needs 200 bytes, 100 more"):
        put(second, "bb", 200)
    put(second, "bb", 200)


def test_a_shard_above_the_cap_is_refused_and_nothing_evicted(tmp_path: Path) -> None:
    """K3"""
    cache = SiteCache(tmp_path, max_bytes=300)
    put(cache, "aa")
    cache.close()
    with pytest.raises(DiskError, match="needs 301 bytes, the site's cache may hold 300"):
        put(cache, "bb", 301)
    assert "aa" in names(tmp_path)


def test_too_little_disk_evicts_and_then_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K3: downloads that nobody goes on with are the last to go."""
    cache = SiteCache(tmp_path)
    put(cache, "aa")
    cache.close()
    part = tmp_path / "incoming" / "zz.part"
    part.write_bytes(b"1")
    held = tmp_path / "incoming" / "yy.part"
    held.write_bytes(b"1")
    usage = shutil.disk_usage(tmp_path)

    def free(folder: Path) -> object:
        return usage._replace(free=1000 if "aa" in names(tmp_path) else (2000 if part.exists() else 3000))

    monkeypatch.setattr(shutil, "disk_usage", free)
    cache.make_room("x", disk_bytes=1000)
    assert "aa" in names(tmp_path)
    cache.make_room("x", disk_bytes=2000)
    assert "aa" not in names(tmp_path)
    assert part.exists()
    with cache.preparing("yy"):
        cache.make_room("x", disk_bytes=3000)
    assert not part.exists()
    assert held.exists()
    with pytest.raises(DiskError, match=r"x: too little disk: .* has 3000 bytes free, the shard needs 3001"):
        cache.make_room("x", disk_bytes=3001)


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    """K3"""
    code = (
        "import sys, os, pathlib; from rt_flare.data.site_cache import SiteCache\n"
        "with SiteCache(pathlib.Path(sys.argv[1])).staging('x', num_bytes=5) as folder:\n"
        "    (folder / 'half').touch(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(names(tmp_path)) == 1
    (tmp_path / "shards" / ".evicted.aa").mkdir()
    (tmp_path / "shards" / "dd").mkdir()  # moved into place, and killed before the marker
    put(SiteCache(tmp_path, max_bytes=100), "dd")
    assert names(tmp_path) == {"dd", "dd.json"}


def test_the_link_follows_the_latest_shard(tmp_path: Path) -> None:
    """K2"""
    cache = SiteCache(tmp_path)
    assert cache.link(3, put(cache, "aa")) == tmp_path / "3"
    assert (tmp_path / "3" / "name").read_text() == "aa"
    cache.close()
    assert cache.link(3, put(cache, "bb")) == tmp_path / "3"
    assert (tmp_path / "3" / "name").read_text() == "bb"


def test_the_link_of_a_job_at_work_stays(tmp_path: Path) -> None:
    """K2: two jobs at once with different shards under one index."""
    busy, cache = SiteCache(tmp_path), SiteCache(tmp_path)
    busy.link(3, put(busy, "aa"))
    folder = cache.link(3, put(cache, "bb"))
    assert (folder / "name").read_text() == "bb"
    assert (tmp_path / "3" / "name").read_text() == "aa"


def test_a_link_to_what_was_evicted_is_replaced(tmp_path: Path) -> None:
    """K2"""
    cache = SiteCache(tmp_path)
    cache.link(1, put(cache, "aa"))
    cache.close()
    shutil.rmtree(tmp_path / "shards")
    (tmp_path / "shards").mkdir()
    assert (cache.link(1, put(cache, "bb")) / "name").read_text() == "bb"


@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_what_it_did_not_make_is_never_replaced(tmp_path: Path, kind: str) -> None:
    """K2: a site's own data may lie where a shard would go."""
    own = tmp_path / "own"
    own.mkdir()
    data = tmp_path / "data"
    cache = SiteCache(data)
    if kind == "link":
        (data / "1").symlink_to(own)
    elif kind == "folder":
        (data / "1").mkdir()
    else:
        (data / "1").touch()
    with pytest.raises(ShardError, match="was not made from a shard and will not be replaced"):
        cache.link(1, put(cache, "aa"))


def test_files_that_were_not_on_disk_at_a_power_cut_are_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K3: until they were flushed, which happens while the job goes on."""
    monkeypatch.setattr(site_cache, "flush_file_system", lambda folder: (_ for _ in ()).throw(DiskError("slow disk")))
    cache = SiteCache(tmp_path)
    put(cache, "aa")
    cache.close()
    assert SiteCache(tmp_path).find("aa") is not None
    monkeypatch.setattr(site_cache, "_boot_id", lambda: "after the cut")
    assert SiteCache(tmp_path).find("aa") is None
    monkeypatch.undo()
    cache = SiteCache(tmp_path)
    assert cache.find("aa") is not None
    cache.close()
    assert json.loads((tmp_path / "shards" / "aa.json").read_bytes())["unflushed_since_boot"] == ""
    monkeypatch.setattr(site_cache, "_boot_id", lambda: "after the cut")
    assert SiteCache(tmp_path).find("aa") is not None


@pytest.mark.parametrize("marker", [b"", b"{", b"[]", b"{}"])
def test_a_marker_that_a_power_cut_left_counts_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, marker: bytes
) -> None:
    """K3: the shard is made again."""
    cache = SiteCache(tmp_path)
    put(cache, "aa")
    cache.close()
    (tmp_path / "shards" / "aa.json").write_bytes(marker)
    assert cache.find("aa") is None
    assert "no record of a shard" in caplog.text
    assert (put(cache, "aa") / "name").read_text() == "aa"
    assert SiteCache(tmp_path).find("aa") is not None


def test_a_held_turn_is_waited_for_and_then_named(tmp_path: Path) -> None:
    """K2"""
    cache = SiteCache(tmp_path, lock_timeout_seconds=0.1)
    with (
        FileLock(tmp_path / "incoming" / "aa.lock"),
        pytest.raises(ShardError, match=r"aa\.lock: another process held the lock for 0.1 s"),
        cache.preparing("aa"),
    ):
        pass
