"""Decoded pixels on disk: right or not there, whatever happens to processes, files and disks (X9)."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_flare.data import decoded_cache as subject
from rt_flare.data.decoded_cache import DecodedCache, open_decoded_cache
from rt_flare.data.file_identity import FileIdentity

NUM, SIZE = 6, 50  # 50 is no multiple of 8: rows are padded
KEY = {"k": [1, 2]}


def opened(folder: Path, key: dict[str, Any] = KEY, num: int = NUM, size: int = SIZE) -> DecodedCache:
    cache = open_decoded_cache(folder, key, num, size)
    assert cache is not None
    return cache


def identity(index: int, version: int = 0) -> FileIdentity:
    return FileIdentity(index, version, -5)


def pixels(index: int, version: int = 0, size: int = SIZE) -> np.ndarray[Any, Any]:
    return np.random.default_rng([index, version]).integers(0, 256, size, dtype=np.uint8)


def store(cache: DecodedCache, *indices: int, version: int = 0) -> None:
    rows = np.stack([pixels(index, version, cache.entry_bytes) for index in indices])
    digests = [2**64 - 1 - index - 1000 * version for index in indices]
    cache.write(indices, [identity(index, version) for index in indices], digests, rows)


def found(cache: DecodedCache, *indices: int, version: int = 0) -> list[bool]:
    """Which entries are there; those that are must be right."""
    rows, there = cache.read(np.array(indices), np.array([identity(index, version) for index in indices], np.int64))
    for index, row in zip(np.array(indices)[there], rows[there], strict=True):
        np.testing.assert_array_equal(row, pixels(int(index), version, cache.entry_bytes))
    return list(there)


def test_what_was_stored_is_read_by_others(tmp_path: Path) -> None:
    """X9"""
    cache = opened(tmp_path)
    assert found(cache, *range(NUM)) == [False] * NUM
    store(cache, 4, 1)
    for reader in (cache, opened(tmp_path)):
        assert found(reader, 1, 0, 4, 1) == [True, False, True, True]


def test_all_rows_at_once_are_right_too(tmp_path: Path) -> None:
    """X9: no row is missing, so they are taken straight from the file."""
    cache = opened(tmp_path)
    store(cache, *range(NUM))
    assert found(cache, 5, 0, 3) == [True] * 3


def test_it_tells_when_every_entry_is_stored(tmp_path: Path) -> None:
    """X9"""
    cache = opened(tmp_path)
    store(cache, *range(NUM - 1))
    assert not cache.is_complete()
    store(cache, NUM - 1)
    assert cache.is_complete()


def test_pixels_of_a_changed_file_do_not_count(tmp_path: Path) -> None:
    """X9: until they are stored anew."""
    cache = opened(tmp_path)
    store(cache, 0, 1)
    assert found(cache, 0, version=1) == [False]
    store(cache, 0, version=1)
    assert (found(cache, 0, version=1), found(cache, 0), found(cache, 1)) == ([True], [False], [True])


def test_a_touched_file_keeps_its_pixels(tmp_path: Path) -> None:
    """X9: its contents have the same digest."""
    cache = opened(tmp_path)
    store(cache, 0)
    moved = FileIdentity(7, 8, 9)
    assert not cache.renew(0, moved, 1)
    assert not cache.renew(1, moved, 2**64 - 1)
    assert cache.renew(0, moved, 2**64 - 1)
    rows, there = cache.read(np.array([0]), np.array([moved], np.int64))
    assert there[0]
    np.testing.assert_array_equal(rows[0], pixels(0))
    assert found(cache, 0) == [False]


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0), change=st.integers(1, 255), reopen=st.booleans())
def test_a_changed_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int, reopen: bool
) -> None:
    """X9: in the header, a record or the pixels; the entry is not there, or the file is made anew."""
    cache = opened(tmp_path_factory.mktemp("cache"))
    store(cache, *range(NUM))
    content = bytearray(cache.path.read_bytes())
    content[place % len(content)] ^= change
    with cache.path.open("r+b") as file:
        file.write(content)
    cache = opened(cache.path.parent) if reopen else cache
    assert found(cache, *range(NUM)).count(False) in {0, 1, NUM}
    store(cache, *range(NUM))
    assert found(cache, *range(NUM)) == [True] * NUM


def test_damaged_pixels_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """X9: zeros, such as a power failure leaves where pixels did not reach the disk."""
    cache = opened(tmp_path)
    store(cache, *range(NUM))
    with cache.path.open("r+b") as file:
        file.seek(-NUM * 56, os.SEEK_END)
        file.write(bytes(NUM * 56))
    assert found(opened(tmp_path), 0, 1) == [False, False]
    assert "found 2 damaged entries" in caplog.text


@pytest.mark.parametrize(("key", "num", "size"), [({"k": [1, 3]}, NUM, SIZE), (KEY, NUM + 1, SIZE), (KEY, NUM, 56)])
def test_another_key_is_another_file(tmp_path: Path, key: dict[str, Any], num: int, size: int) -> None:
    """X9: data, size, code and versions stand in the key."""
    store(opened(tmp_path), *range(NUM))
    assert found(opened(tmp_path, key, num, size), *range(NUM)) == [False] * NUM
    assert found(opened(tmp_path), 0) == [True]


@pytest.mark.parametrize("damage", ["cut", "longer", "foreign", "empty"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """X9: who has the old one open is not disturbed."""
    cache = opened(tmp_path)
    store(cache, 0)
    content = cache.path.read_bytes()
    changed = {"cut": content[:-1], "longer": content + b"1", "foreign": b"PK" * 3000, "empty": b""}[damage]
    (tmp_path / "new").write_bytes(changed)
    (tmp_path / "new").replace(cache.path)
    fresh = opened(tmp_path)
    assert found(fresh, 0) == [False]
    store(fresh, 0)
    assert found(opened(tmp_path), 0) == found(cache, 0) == [True]
    assert "it is made anew" in caplog.text


def test_no_room_is_no_cache_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """X9"""
    monkeypatch.setenv("RT_FLARE_DECODED_CACHE_BYTES", "4096")
    assert open_decoded_cache(tmp_path, KEY, NUM, SIZE) is None
    assert "decoded images are not kept, every epoch decodes them: the decoded images need" in caplog.text
    assert not list(tmp_path.glob("*.pixels"))


def test_open_files_are_not_evicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X9: closed ones are."""
    cache = opened(tmp_path)
    monkeypatch.setenv("RT_FLARE_DECODED_CACHE_BYTES", str(cache.path.stat().st_size))
    assert open_decoded_cache(tmp_path, {"k": 2}, NUM, SIZE) is None
    path = cache.path
    del cache
    assert open_decoded_cache(tmp_path, {"k": 2}, NUM, SIZE) is not None
    assert not path.exists()


def test_a_full_disk_ends_the_storing_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """X9: a real limit on the size of files."""
    cache = opened(tmp_path, num=20, size=4096)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        store(cache, 0, 1, 2, 3, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    there = found(cache, *range(20))
    assert there[0]
    assert not any(there[3:])
    assert caplog.text.count("nothing more is stored") == 1
    store(cache, 5)
    assert found(cache, 5) == [False]
    store(opened(tmp_path, num=20, size=4096), 5)
    assert found(cache, 5) == [True]


def test_a_stopped_writer_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X9"""
    monkeypatch.setattr(subject, "_TURN_SECONDS", 0.05)
    cache = opened(tmp_path)
    with cache.path.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        store(cache, 0)
    assert found(cache, 0) == [False]
    store(cache, 0)
    assert found(cache, 0) == [True]


def test_forked_writers_take_turns(tmp_path: Path) -> None:
    """X9: a forked process holds no lock of its parent's."""
    cache = opened(tmp_path)
    store(cache, 0)
    entered = []
    child = os.fork()
    if child == 0:
        cache._in_turn(lambda: time.sleep(0.3))
        os._exit(0)
    time.sleep(0.1)
    begun = time.monotonic()
    cache._in_turn(lambda: entered.append(time.monotonic()))
    os.waitpid(child, 0)
    assert entered[0] - begun > 0.1


def test_threads_share_it(tmp_path: Path) -> None:
    """X9: two of them change the same entries, all of them read."""
    cache = opened(tmp_path)
    failures: list[BaseException] = []

    def work(version: int) -> None:
        try:
            for _ in range(100):
                store(cache, *range(NUM), version=version)
                for seen in (0, 1):
                    found(cache, *range(NUM), version=seen)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number % 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def _write_for_ever(folder: Path, seed: int, started: Any) -> None:
    logging.disable()
    cache = opened(folder, num=40, size=100_000)
    chance = random.Random(seed)
    started.set()
    while True:
        indices = chance.sample(range(40), 4)
        version = chance.randrange(2)
        store(cache, *indices, version=version)
        found(cache, *indices, version=version)


def test_writers_that_are_killed_leave_only_what_is_right(tmp_path: Path) -> None:
    """X9: two processes at once write two versions of the same entries, and are killed at any moment."""
    context = multiprocessing.get_context("fork")
    cache = opened(tmp_path, num=40, size=100_000)
    seen = 0
    for seed in range(8):
        started = [context.Event(), context.Event()]
        writers = [context.Process(target=_write_for_ever, args=(tmp_path, 2 * seed + n, started[n])) for n in (0, 1)]
        for number, writer in enumerate(writers):
            writer.start()
            assert started[number].wait(20)
        time.sleep(0.02 + 0.03 * seed)
        for version in (0, 1):
            found(cache, *range(40), version=version)
        for writer in writers:
            assert writer.exitcode is None
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
        fresh = opened(tmp_path, num=40, size=100_000)
        seen += sum(found(fresh, *range(40)) + found(fresh, *range(40), version=1))
    assert seen > 40
    store(cache, *range(40))
    assert all(found(cache, *range(40)))
