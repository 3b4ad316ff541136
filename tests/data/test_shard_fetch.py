"""Fetching a shard: unpacked while it arrives, whole or absent, each fault with its own message (K2, K3, K8, K9)."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rt_flare.data import ranged_download
from rt_flare.data.archive import ArchiveLimits, DiskError
from rt_flare.data.http_source import HttpSource
from rt_flare.data.range_source import ConnectionLostError, ExpiredUrlError
from rt_flare.data.shard_fetch import fetch_shard
from rt_flare.data.site_cache import SiteCache
from rt_flare.errors import DownloadAbortedError, ShardError

Serve = Callable[..., Any]
FILES = {"manifest.ndjson": b"{}\n"} | {f"images/{n:03d}.jpg": os.urandom(1) * 5 + os.urandom(9000) for n in range(100)}


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are small, and each counts as one that took long to get."""
    monkeypatch.setattr(ranged_download, "_SEGMENT_BYTES", 100_000)
    monkeypatch.setattr(ranged_download, "_KEEP_SECONDS", 0.0)


def packed(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return content.getvalue()


SHARD = packed(FILES)
SHA256 = hashlib.sha256(SHARD).hexdigest()


def fetch(url: str, data: Path, **options: Any) -> Path:
    options.setdefault("max_tries", 3)
    cache = SiteCache(data)
    try:
        return fetch_shard(HttpSource(url), cache, 1, backoff_seconds=0.01, **options)
    finally:
        cache.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def nothing_usable(data: Path) -> bool:
    left = [path for path in (data / "shards").iterdir() if path.suffix != ".lock"]
    return left == [] and not (data / "1").exists()


@pytest.mark.parametrize("sha256", [SHA256, None], ids=["known hash", "no hash"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_fetches_and_finds_it_warm(serve: Serve, tmp_path: Path, sha256: str | None, ranges: bool) -> None:
    """K2, X9"""
    server = serve(SHARD, ranges=ranges)
    assert fetch(server.url, tmp_path, sha256=sha256) == tmp_path / "1"
    assert contents(tmp_path / "1") == FILES
    assert sorted(path.name for path in (tmp_path / "shards").iterdir() if path.suffix != ".lock") == [
        SHA256,
        f"{SHA256}.json",
    ]
    assert [path.suffix for path in (tmp_path / "incoming").iterdir()] == [".lock"]
    server.asked.clear()
    assert fetch(server.url, tmp_path, sha256=sha256) == tmp_path / "1"
    assert server.asked == ([] if sha256 else ["bytes=0-0"])


def test_unpacks_while_it_arrives(serve: Serve, tmp_path: Path) -> None:
    """K2"""
    server = serve(SHARD, pause_seconds=0.05)
    seen: list[tuple[int, int]] = []

    def count(done: int, total: int) -> None:
        seen.append((done, len(list((tmp_path / "shards").rglob("*.jpg")))))

    fetch(server.url, tmp_path, sha256=SHA256, connections=1, on_progress=count)
    assert any(done < len(SHARD) and files > 10 for done, files in seen)


def test_a_directory_and_gaps_larger_than_the_memory_for_segments(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: readers at different places never wait for each other for ever."""
    monkeypatch.setattr(ranged_download, "_SEGMENT_BYTES", 1000)
    monkeypatch.setattr(ranged_download, "_NUM_BUFFERS", 2)
    files = {f"{n:050d}": b"%d" % n for n in range(100)} | {"large": os.urandom(9000)}
    content = io.BytesIO(packed(files))
    content.seek(0, io.SEEK_END)
    with zipfile.ZipFile(content, "a") as archive:
        archive.start_dir += 20_000  # a hole between the files
        archive.writestr("last", b"x")
    fetch(serve(content.getvalue()).url, tmp_path)
    assert contents(tmp_path / "1") == {**files, "last": b"x"}


def test_a_new_version_at_the_same_place_is_fetched(serve: Serve, tmp_path: Path) -> None:
    """X9, K8: a version decides, never a size."""
    server = serve(SHARD)
    fetch(server.url, tmp_path)
    other = {name: data[::-1] for name, data in FILES.items()}
    server.content = packed(other)
    assert len(server.content) == len(SHARD)
    fetch(server.url, tmp_path)
    assert contents(tmp_path / "1") == other


def test_two_jobs_fetch_it_once(serve: Serve, tmp_path: Path) -> None:
    """K2"""
    server = serve(SHARD, pause_seconds=0.01)
    threads = [threading.Thread(target=fetch, args=(server.url, tmp_path), kwargs={"sha256": SHA256}) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents(tmp_path / "1") == FILES
    assert server.asked.count("bytes=0-0") == 1


def test_cut_connections_are_ridden_out(serve: Serve, tmp_path: Path) -> None:
    """K8"""
    server = serve(SHARD, cuts=5, cut_after=30_000)
    fetch(server.url, tmp_path, sha256=SHA256)
    assert contents(tmp_path / "1") == FILES


def test_a_link_that_stays_down_is_an_error_and_the_second_try_goes_on(serve: Serve, tmp_path: Path) -> None:
    """K3, K8"""
    server = serve(SHARD)

    def cut(done: int, total: int) -> None:
        if done > total // 2:
            server.cuts = 1000

    with pytest.raises(ConnectionLostError, match=r"Gave up after 3 tries in a row, .* the next try goes on from"):
        fetch(server.url, tmp_path, sha256=SHA256, on_progress=cut)
    assert nothing_usable(tmp_path)
    server.cuts = 0
    server.asked.clear()
    fetch(server.url, tmp_path, sha256=SHA256)
    assert contents(tmp_path / "1") == FILES
    assert len(server.asked) < 7


def test_a_flipped_byte_in_a_file_is_found_and_the_second_try_completes(serve: Serve, tmp_path: Path) -> None:
    """K3, K8"""
    place = SHARD.index(FILES["images/050.jpg"]) + 100
    server = serve(SHARD[:place] + bytes([SHARD[place] ^ 1]) + SHARD[place + 1 :], tag="same")
    with pytest.raises(ShardError, match=r"truncated or corrupt ZIP \(entry 'images/050.jpg': CRC-32"):
        fetch(server.url, tmp_path, sha256=SHA256)
    assert nothing_usable(tmp_path)
    server.content = SHARD
    fetch(server.url, tmp_path, sha256=SHA256)
    assert contents(tmp_path / "1") == FILES


@pytest.mark.parametrize("number", [0, 1, 50, 51, 99])
def test_a_damaged_file_is_named_whichever_thread_unpacks_it(serve: Serve, tmp_path: Path, number: int) -> None:
    """K3: and the other thread ends too."""
    name = f"images/{number:03d}.jpg"
    damaged = bytearray(SHARD)
    damaged[SHARD.index(FILES[name])] ^= 1
    with pytest.raises(ShardError, match=rf"{name}.*CRC-32"):
        fetch(serve(bytes(damaged)).url, tmp_path)
    assert nothing_usable(tmp_path)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shard unpack")]


def test_another_shard_than_announced_is_refused(serve: Serve, tmp_path: Path) -> None:
    """K8: though it is a good one of the same size."""
    server = serve(packed({name: data[::-1] for name, data in FILES.items()}), tag="same")
    with pytest.raises(ShardError, match=rf"the hash is wrong: found SHA-256 \w+, expected {SHA256}"):
        fetch(server.url, tmp_path, sha256=SHA256)
    assert nothing_usable(tmp_path)
    server.content = SHARD
    fetch(server.url, tmp_path, sha256=SHA256)
    assert contents(tmp_path / "1") == FILES


def test_a_hostile_archive_is_refused_by_its_directory(serve: Serve, tmp_path: Path) -> None:
    """K3: before anything is unpacked."""
    server = serve(packed({"../x": b"1", **FILES}))
    with pytest.raises(ShardError, match=r"shard_0001\.zip: entry '\.\./x': '\.\.' in the path"):
        fetch(server.url, tmp_path)
    assert nothing_usable(tmp_path)
    assert [path.suffix for path in (tmp_path / "incoming").iterdir()] == [".lock"]


def test_limits_hold(serve: Serve, tmp_path: Path) -> None:
    """K3"""
    with pytest.raises(ShardError, match="too many entries: found 101"):
        fetch(serve(SHARD).url, tmp_path, limits=ArchiveLimits(max_entries=100))


def test_what_is_no_zip_is_refused(serve: Serve, tmp_path: Path) -> None:
    """K3"""
    for content in (b"", b"<html>", bytes(300_000)):
        with pytest.raises(ShardError, match="truncated or corrupt ZIP"):
            fetch(serve(content, ranges=bool(content)).url, tmp_path)


def test_an_expired_url_names_itself_and_a_fresh_one_goes_on(serve: Serve, tmp_path: Path) -> None:
    """K9: in the middle of a download."""
    server = serve(SHARD)

    def expire(done: int, total: int) -> None:
        if done > total // 2:
            server.expired.add("old")

    with pytest.raises(ExpiredUrlError, match="the signed URL has expired"):
        fetch(server.url + "?sig=old", tmp_path, sha256=SHA256, on_progress=expire, connections=1)
    assert nothing_usable(tmp_path)
    server.asked.clear()
    fetch(server.url + "?sig=new", tmp_path, sha256=SHA256)
    assert contents(tmp_path / "1") == FILES
    assert len(server.asked) < 7


def test_an_ended_job_ends_the_fetch(serve: Serve, tmp_path: Path) -> None:
    """X7"""
    server = serve(SHARD, pause_seconds=0.3)
    with pytest.raises(DownloadAbortedError):
        fetch(server.url, tmp_path, aborted=lambda: True)
    assert nothing_usable(tmp_path)


def test_a_server_that_comes_back_is_waited_for(serve: Serve, tmp_path: Path) -> None:
    """K8"""
    server = serve(SHARD, answers=[(503, b"", {})] * 2)
    fetch(server.url, tmp_path)
    server.answers = [(503, b"", {})] * 3
    with pytest.raises(ConnectionLostError, match="Gave up after 3 tries"):
        fetch(server.url + "2", tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.5 MiB: the shard fits on it once, as a ZIP or unpacked."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_too_small_is_found_first_and_a_larger_one_completes(serve: Serve, small_disk: Path) -> None:
    """K3"""
    server = serve(SHARD)
    with pytest.raises(DiskError, match=r"too little disk: .* bytes free, the shard needs \d+\. Free some"):
        fetch(server.url, small_disk, sha256=SHA256)
    assert nothing_usable(small_disk)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    fetch(server.url, small_disk, sha256=SHA256)
    assert contents(small_disk / "1") == FILES


def test_a_disk_that_fills_up_meanwhile_has_its_own_message(
    serve: Serve, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K3: somebody else takes the space after the check."""
    server = serve(SHARD)
    monkeypatch.setattr(SiteCache, "_free", lambda cache: 1 << 40)
    with pytest.raises(DiskError, match=r"cannot write .*No space left on device"):
        fetch(server.url, small_disk, sha256=SHA256)
    assert nothing_usable(small_disk)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    fetch(server.url, small_disk, sha256=SHA256)
    assert contents(small_disk / "1") == FILES


def test_a_file_size_limit_is_a_disk_that_refuses(serve: Serve, tmp_path: Path) -> None:
    """K3: a quota, which any user can meet."""
    server = serve(SHARD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        with pytest.raises(DiskError, match=r"cannot write the download: .*File too large"):
            fetch(server.url, tmp_path, sha256=SHA256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert nothing_usable(tmp_path)
    fetch(server.url, tmp_path, sha256=SHA256)
    assert contents(tmp_path / "1") == FILES


def test_a_process_killed_while_unpacking_leaves_nothing_usable_and_the_next_completes(
    serve: Serve, tmp_path: Path
) -> None:
    """K3"""
    server = serve(SHARD, pause_seconds=0.02)
    code = (
        "import sys, pathlib\n"
        "from rt_flare.data.http_source import HttpSource\n"
        "from rt_flare.data.shard_fetch import fetch_shard\n"
        "from rt_flare.data.site_cache import SiteCache\n"
        "from rt_flare.data import ranged_download\n"
        "ranged_download._SEGMENT_BYTES = 100_000\n"
        "fetch_shard(HttpSource(sys.argv[1]), SiteCache(pathlib.Path(sys.argv[2])), 1, sha256=sys.argv[3])"
    )
    child = psutil.Popen([sys.executable, "-c", code, server.url, str(tmp_path), SHA256])
    while child.poll() is None and len(list(tmp_path.glob("shards/.staging*/images/*"))) < 20:
        pass
    child.kill()
    assert child.wait() != 0
    assert not (tmp_path / "1").exists()
    assert SiteCache(tmp_path).find(SHA256) is None
    server.pause_seconds = 0.0
    fetch(server.url, tmp_path, sha256=SHA256)
    assert contents(tmp_path / "1") == FILES
    assert len([path for path in (tmp_path / "shards").iterdir() if path.suffix != ".lock"]) == 2
