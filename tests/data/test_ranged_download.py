"""Downloading in segments: parallel, in order, resumed, retried, and honest about failure (K2, K8)."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rt_flare.data import ranged_download, segment_file
from rt_flare.data.archive import DiskError
from rt_flare.data.http_source import HttpSource
from rt_flare.data.positioned_file import PositionedFile
from rt_flare.data.range_source import ConnectionLostError, RangeSource
from rt_flare.data.ranged_download import RangedDownload
from rt_flare.data.segment_file import map_path
from rt_flare.errors import DownloadAbortedError

SEGMENT = 100_000
CONTENT = random.Random(0).randbytes(17 * SEGMENT - 123)
Serve = Callable[..., Any]
Opened = tuple[RangedDownload, PositionedFile]


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are small, and each counts as one that took long to get."""
    monkeypatch.setattr(ranged_download, "_SEGMENT_BYTES", SEGMENT)
    monkeypatch.setattr(ranged_download, "_KEEP_SECONDS", 0.0)


@contextlib.contextmanager
def downloading(source: RangeSource, path: Path, **options: Any) -> Iterator[Opened]:
    options.setdefault("backoff_seconds", 0.01)
    download = RangedDownload(source, path, source.describe(), **options)
    reader = download.follow()
    try:
        download.start()
        yield download, reader
    finally:
        download.close()


def read_all(reader: PositionedFile, step: int = 70_000) -> bytes:
    return b"".join(bytes(reader.read_at(start, step)) for start in range(0, reader.size, step))


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("step", [999, 70_000, 350_000])
def test_hands_the_file_on_in_order(serve: Serve, tmp_path: Path, connections: int, step: int) -> None:
    """K2: over one or several connections, in pieces smaller and larger than a segment."""
    server = serve(CONTENT)
    progress: list[tuple[int, int]] = []
    report = lambda done, total: progress.append((done, total))  # noqa: E731
    options = {"connections": connections, "on_progress": report}
    with downloading(HttpSource(server.url), tmp_path / "a", **options) as (download, reader):
        assert read_all(reader, step) == CONTENT
        assert download.missing_bytes == 0
    assert max(progress) == (len(CONTENT), len(CONTENT))
    assert len(server.asked) == 1 + 17


def test_the_end_of_the_file_comes_first_and_what_is_peeked_at_next(serve: Serve, tmp_path: Path) -> None:
    """K2: a ZIP's directory is read before its files."""
    server = serve(CONTENT, pause_seconds=0.02)
    with downloading(HttpSource(server.url), tmp_path / "a", connections=1) as (download, reader):
        assert reader.peek_at(len(CONTENT) - 5, 5) == CONTENT[-5:]
        assert reader.peek_at(12 * SEGMENT - 5, 10) == CONTENT[12 * SEGMENT - 5 : 12 * SEGMENT + 5]
        assert download.missing_bytes > 10 * SEGMENT
        assert read_all(reader) == CONTENT


def test_a_download_waits_for_its_slowest_reader(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K2: memory is bounded, and what is peeked at comes all the same."""
    monkeypatch.setattr(ranged_download, "_NUM_BUFFERS", 3)
    source = HttpSource(serve(CONTENT).url)
    download = RangedDownload(source, tmp_path / "a", source.describe())
    fast, slow = download.follow(), download.follow()
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(read_all(fast)))
    try:
        download.start()
        thread.start()
        thread.join(timeout=1.0)
        assert thread.is_alive()
        assert download.missing_bytes == len(CONTENT) - 3 * SEGMENT - (len(CONTENT) - 16 * SEGMENT)
        assert slow.peek_at(9 * SEGMENT, 3 * SEGMENT) == CONTENT[9 * SEGMENT : 12 * SEGMENT]
        assert read_all(slow) == CONTENT
        thread.join(timeout=30)
        assert found == [CONTENT]
    finally:
        download.close()


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_after_cut_connections(serve: Serve, tmp_path: Path, ranges: bool) -> None:
    """K8: where the server has no ranges, from the start."""
    server = serve(CONTENT, ranges=ranges, cuts=4, cut_after=SEGMENT // 2)
    with downloading(HttpSource(server.url), tmp_path / "a") as (_, reader):
        assert read_all(reader) == CONTENT


def give_up(server: Any, path: Path) -> int:
    """Let a download fail in the middle and return what had not come."""
    with downloading(HttpSource(server.url), path, connections=1, max_tries=3) as (download, reader):
        reader.peek_at(0, 2 * SEGMENT)
        server.cuts = 10**6
        with pytest.raises(ConnectionLostError, match=r"Gave up after 3 tries in a row, \d+ of 1699877 bytes had come"):
            read_all(reader)
        missing = download.missing_bytes
    server.cuts = 0
    server.asked.clear()
    return missing


def test_gives_up_after_tries_without_a_byte_and_the_next_process_goes_on(serve: Serve, tmp_path: Path) -> None:
    """K8"""
    server = serve(CONTENT, cut_after=0, pause_seconds=0.005)
    missing = give_up(server, tmp_path / "a")
    assert 0 < missing < len(CONTENT)
    with downloading(HttpSource(server.url + "?sig=fresh"), tmp_path / "a", connections=1) as (download, reader):
        assert download.missing_bytes == missing
        assert read_all(reader) == CONTENT
    assert len(server.asked) == 1 + -(-missing // SEGMENT)


def test_what_was_quick_to_get_is_not_written_to_disk(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: only the end of the file, which was read out of turn."""
    monkeypatch.setattr(ranged_download, "_KEEP_SECONDS", 60.0)
    with downloading(HttpSource(serve(CONTENT).url), tmp_path / "a") as (_, reader):
        assert read_all(reader) == CONTENT
    kept = (tmp_path / "a").read_bytes()
    assert kept[: 16 * SEGMENT] == bytes(16 * SEGMENT)
    assert kept[16 * SEGMENT :] == CONTENT[16 * SEGMENT :]


def test_a_download_that_takes_long_as_a_whole_is_kept(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: each segment is quick, but there are many of them."""
    monkeypatch.setattr(ranged_download, "_KEEP_SECONDS", 60.0)
    monkeypatch.setattr(ranged_download, "_KEEP_TOTAL_SECONDS", 0.0)
    with downloading(HttpSource(serve(CONTENT).url), tmp_path / "a") as (_, reader):
        assert read_all(reader) == CONTENT
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("change", ["version", "place", "size", "map"])
def test_starts_anew_where_the_rest_would_not_fit(serve: Serve, tmp_path: Path, change: str) -> None:
    """K8: never a file of two halves."""
    server = serve(bytes(len(CONTENT)), tag="1", cut_after=0, pause_seconds=0.005)
    give_up(server, tmp_path / "a")
    server.content, server.tag = CONTENT, "2" if change == "version" else "1"
    url = server.url
    if change == "place":
        url = url.replace("shard_0001", "shard_0002")
    elif change == "size":
        server.content += b"more"
    elif change == "map":
        map_path(tmp_path / "a").write_bytes(b"x" * 20)
    with downloading(HttpSource(url), tmp_path / "a") as (_, reader):
        assert read_all(reader) == server.content


def test_a_file_whose_server_tells_no_version_is_not_resumed(serve: Serve, tmp_path: Path) -> None:
    """K8"""

    class Unversioned(HttpSource):
        def describe(self) -> Any:
            return replace(super().describe(), version="")

    server = serve(bytes(len(CONTENT)), tag="same")
    with downloading(Unversioned(server.url), tmp_path / "a") as (_, reader):
        read_all(reader)
    server.content = CONTENT
    with downloading(Unversioned(server.url), tmp_path / "a") as (_, reader):
        assert read_all(reader) == CONTENT


def test_a_server_without_ranges_that_always_cuts_is_given_up(serve: Serve, tmp_path: Path) -> None:
    """K8"""
    server = serve(CONTENT, ranges=False, cuts=10**6, cut_after=SEGMENT)
    with (
        downloading(HttpSource(server.url), tmp_path / "a", max_tries=3) as (_, reader),
        pytest.raises(ConnectionLostError, match="Gave up after 3 tries"),
    ):
        reader.read_at(0, 1)


def test_whatever_breaks_a_connections_thread_reaches_who_reads(serve: Serve, tmp_path: Path) -> None:
    """K8: nobody waits for ever."""

    def broken(done: int, total: int) -> None:
        raise ZeroDivisionError

    with (
        downloading(HttpSource(serve(CONTENT).url), tmp_path / "a", on_progress=broken) as (_, reader),
        pytest.raises(ZeroDivisionError),
    ):
        read_all(reader)


def test_an_ended_job_ends_the_download(serve: Serve, tmp_path: Path) -> None:
    """X7"""
    server = serve(CONTENT, pause_seconds=0.2)
    with (
        downloading(HttpSource(server.url), tmp_path / "a", aborted=lambda: True) as (_, reader),
        pytest.raises(DownloadAbortedError, match="the job ended before"),
    ):
        read_all(reader)


def test_a_full_disk_has_its_own_message(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K3: at whatever write it is met."""

    def refuse(*arguments: Any) -> int:
        raise OSError(28, "No space left")

    server = serve(CONTENT)
    with downloading(HttpSource(server.url), tmp_path / "a") as (_, reader):
        monkeypatch.setattr(segment_file.os, "pwrite", refuse)
        with pytest.raises(DiskError, match=r"cannot write the download: .*No space left.* Free some disk"):
            read_all(reader)
    with (
        pytest.raises(DiskError, match="cannot write the download"),
        downloading(HttpSource(server.url), tmp_path / "b"),
    ):
        pass


def test_an_empty_file_is_there_at_once(serve: Serve, tmp_path: Path) -> None:
    """K2"""
    source = HttpSource(serve(b"", ranges=False).url)
    with downloading(source, tmp_path / "a") as (_, reader):
        assert read_all(reader) == reader.peek_at(0, 5) == b""
