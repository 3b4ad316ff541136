"""Where decoded data goes, and how much of the disk it takes (X9)."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

import pytest
from filelock import FileLock

from rt_flare.data import cache_folder as subject
from rt_flare.data.cache_folder import CacheFullError, cache_folder, folder_turn, make_room
from rt_flare.errors import ConfigError

MEBIBYTE = 1 << 20


def cached(folder: Path, name: str, size: int, age_seconds: int = 0) -> Path:
    path = folder / f"{name}.pixels"
    path.write_bytes(b"")
    os.truncate(path, size)
    os.utime(path, (time.time() - age_seconds,) * 2)
    return path


def test_it_lies_beside_the_shard(tmp_path: Path) -> None:
    """X9"""
    folder = cache_folder(tmp_path / "1", {})
    assert folder == tmp_path / "decoded_cache"
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_variable_names_another_place(tmp_path: Path) -> None:
    """X9"""
    place = tmp_path / "deep" / "cache"
    assert cache_folder(tmp_path / "1", {"RT_FLARE_DECODED_CACHE_DIR": str(place)}) == place
    assert place.is_dir()


def test_it_is_never_inside_the_shard(tmp_path: Path) -> None:
    """X9: through a link neither."""
    (tmp_path / "1").mkdir()
    (tmp_path / "link").symlink_to("1")
    for place in ("1", "1/cache", "link/cache"):
        with pytest.raises(ConfigError, match="expected a folder outside of the data"):
            cache_folder(tmp_path / "1", {"RT_FLARE_DECODED_CACHE_DIR": str(tmp_path / place)})


def test_a_folder_that_cannot_be_written_is_none_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """X9"""
    (tmp_path / "file").write_bytes(b"")
    assert cache_folder(tmp_path / "1", {"RT_FLARE_DECODED_CACHE_DIR": str(tmp_path / "file" / "cache")}) is None
    assert "images are decoded anew in every epoch" in caplog.text


def test_the_least_recently_used_files_make_room(tmp_path: Path) -> None:
    """X9"""
    old, older, new = (cached(tmp_path, n, MEBIBYTE, age) for n, age in (("a", 20), ("b", 30), ("c", 10)))
    other = tmp_path / "x.index"
    other.write_bytes(b"1")
    make_room(tmp_path, 2 * MEBIBYTE, "*.pixels", {"RT_FLARE_DECODED_CACHE_BYTES": str(3 * MEBIBYTE)})
    assert [path.exists() for path in (old, older, new, other)] == [False, False, True, True]


def test_nothing_is_removed_that_need_not_be(tmp_path: Path) -> None:
    """X9"""
    kept = cached(tmp_path, "a", MEBIBYTE, 20)
    make_room(tmp_path, MEBIBYTE, "*.pixels", {"RT_FLARE_DECODED_CACHE_BYTES": str(2 * MEBIBYTE)})
    with pytest.raises(CacheFullError, match=r"need 3145728 bytes, the budget in .* is 2097152 bytes"):
        make_room(tmp_path, 3 * MEBIBYTE, "*.pixels", {"RT_FLARE_DECODED_CACHE_BYTES": str(2 * MEBIBYTE)})
    assert kept.exists()


def test_a_file_in_use_stays(tmp_path: Path) -> None:
    """X9"""
    used, unused = cached(tmp_path, "a", MEBIBYTE, 20), cached(tmp_path, "b", MEBIBYTE, 10)
    environment = {"RT_FLARE_DECODED_CACHE_BYTES": str(2 * MEBIBYTE)}
    with used.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        make_room(tmp_path, MEBIBYTE, "*.pixels", environment)
        assert (used.exists(), unused.exists()) == (True, False)
        with pytest.raises(CacheFullError, match="of which running jobs use 1048576"):
            make_room(tmp_path, 2 * MEBIBYTE, "*.pixels", environment)


def test_the_budget_is_half_of_the_free_disk_with_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X9: what the cache holds already does not make its budget smaller."""
    (tmp_path / "a.pixels").write_bytes(b"1" * MEBIBYTE)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 3 * MEBIBYTE))
    make_room(tmp_path, MEBIBYTE, "*.pixels", {})
    assert (tmp_path / "a.pixels").exists()
    with pytest.raises(CacheFullError, match=r"the budget in .* is 2097152 bytes"):
        make_room(tmp_path, 2 * MEBIBYTE + 1, "*.pixels", {})


def test_zero_bytes_are_no_cache(tmp_path: Path) -> None:
    """X9"""
    with pytest.raises(CacheFullError, match="RT_FLARE_DECODED_CACHE_BYTES"):
        make_room(tmp_path, 1, "*.pixels", {"RT_FLARE_DECODED_CACHE_BYTES": "0"})


@pytest.mark.parametrize("text", ["", "1G", "-1"])
def test_a_budget_that_is_no_number_is_refused(tmp_path: Path, text: str) -> None:
    """X9"""
    with pytest.raises(ConfigError, match="expected a number of bytes"):
        make_room(tmp_path, 1, "*.pixels", {"RT_FLARE_DECODED_CACHE_BYTES": text})


def test_what_killed_writers_left_is_removed_in_time(tmp_path: Path) -> None:
    """X9: not at once, it may be another process's work."""
    left, fresh = tmp_path / ".a.index.x.part", tmp_path / ".b.index.x.part"
    for path in (left, fresh):
        path.write_bytes(b"1")
    os.utime(left, (time.time() - 7200,) * 2)
    make_room(tmp_path, 1, "*.pixels", {})
    assert (left.exists(), fresh.exists()) == (False, True)


def test_a_turn_that_is_not_given_back_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X9"""
    monkeypatch.setattr(subject, "_LOCK_SECONDS", 0.05)
    with (
        FileLock(tmp_path / ".turn.lock"),
        pytest.raises(TimeoutError, match="another process held the lock"),
        folder_turn(tmp_path),
    ):
        pass
