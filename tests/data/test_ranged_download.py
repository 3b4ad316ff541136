"""Downloading in segments: parallel, resumed, retried, and honest about failure (K2, K8)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rt_flare.data import ranged_download
from rt_flare.data.archive import DiskError
from rt_flare.data.http_source import HttpSource
from rt_flare.data.range_source import ConnectionLostError, RangeSource
from rt_flare.data.ranged_download import DownloadAbortedError, RangedDownload, map_path

SEGMENT = 100_000
CONTENT = bytes(number * 31 % 251 for number in range(7 * SEGMENT - 123))
Serve = Callable[..., Any]


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranged_download, "_SEGMENT_BYTES", SEGMENT)


@contextlib.contextmanager
def downloading(source: RangeSource, path: Path, **options: Any) -> Iterator[RangedDownload]:
    options.setdefault("backoff_seconds", 0.01)
    download = RangedDownload(source, path, source.describe(), **options)
    try:
        download.start()
        yield download
    finally:
        download.close()


@pytest.mark.parametrize("connections", [1, 4])
def test_fills_the_file_from_the_end_and_then_from_the_start(serve: Serve, tmp_path: Path, connections: int) -> None:
    """K2"""
    server = serve(CONTENT)
    progress: list[tuple[int, int]] = []
    report = lambda done, total: progress.append((done, total))  # noqa: E731
    with downloading(HttpSource(server.url), tmp_path / "a", connections=connections, on_progress=report) as download:
        download.wait(0, len(CONTENT))
        assert download.missing_bytes == 0
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.asked[1] == f"bytes={6 * SEGMENT}-{len(CONTENT) - 1}" or connections > 1
    assert max(progress) == (len(CONTENT), len(CONTENT))


def test_what_is_waited_for_comes_first(serve: Serve, tmp_path: Path) -> None:
    """K2"""
    server = serve(CONTENT, pause_seconds=0.05)
    with downloading(HttpSource(server.url), tmp_path / "a", connections=1) as download:
        download.wait(4 * SEGMENT, 4 * SEGMENT + 1)
        assert download.missing_bytes > 3 * SEGMENT


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_after_cut_connections(serve: Serve, tmp_path: Path, ranges: bool) -> None:
    """K8: where the server has no ranges, from the start."""
    server = serve(CONTENT, ranges=ranges, cuts=4, cut_after=SEGMENT // 2)
    with downloading(HttpSource(server.url), tmp_path / "a") as download:
        download.wait(0, len(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_gives_up_after_tries_without_a_byte_and_the_next_process_goes_on(serve: Serve, tmp_path: Path) -> None:
    """K8"""
    server = serve(CONTENT, cut_after=0)
    source = HttpSource(server.url)
    with downloading(source, tmp_path / "a", connections=1, max_tries=3) as download:
        download.wait(0, 2 * SEGMENT)
        server.cuts = 100
        with pytest.raises(ConnectionLostError, match=r"Gave up after 3 tries in a row; \d+ of 699877 bytes are there"):
            download.wait(0, len(CONTENT))
        missing = download.missing_bytes
    assert 0 < missing < len(CONTENT)
    server.cuts = 0
    server.asked.clear()
    with downloading(HttpSource(server.url + "?sig=fresh"), tmp_path / "a", connections=1) as download:
        assert download.missing_bytes == missing
        download.wait(0, len(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(server.asked) == 1 + -(-missing // SEGMENT)


@pytest.mark.parametrize("change", ["version", "place", "size", "map"])
def test_starts_anew_where_the_rest_would_not_fit(serve: Serve, tmp_path: Path, change: str) -> None:
    """K8: never a file of two halves."""
    first = serve(bytes(len(CONTENT)), tag="1")
    with downloading(HttpSource(first.url), tmp_path / "a") as download:
        download.wait(0, len(CONTENT))
    second = serve(CONTENT, tag="2" if change == "version" else "1")
    url = first.url
    first.content, first.tag = CONTENT, second.tag
    if change == "place":
        url = second.url
    elif change == "size":
        first.content += b"more"
    elif change == "map":
        map_path(tmp_path / "a").write_bytes(b"x" * 20)
    with downloading(HttpSource(url), tmp_path / "a") as download:
        download.wait(0, len(first.content))
    assert (tmp_path / "a").read_bytes() == first.content


def test_a_server_without_ranges_that_always_cuts_is_given_up(serve: Serve, tmp_path: Path) -> None:
    """K8"""
    server = serve(CONTENT, ranges=False, cuts=10**6, cut_after=SEGMENT)
    with (
        downloading(HttpSource(server.url), tmp_path / "a", max_tries=3) as download,
        pytest.raises(ConnectionLostError, match="Gave up after 3 tries"),
    ):
        download.wait(0, 1)


def test_whatever_breaks_a_connections_thread_reaches_who_waits(serve: Serve, tmp_path: Path) -> None:
    """K8: nobody waits for ever."""

    def broken(done: int, total: int) -> None:
        raise ZeroDivisionError

    with (
        downloading(HttpSource(serve(CONTENT).url), tmp_path / "a", on_progress=broken) as download,
        pytest.raises(ZeroDivisionError),
    ):
        download.wait(0, len(CONTENT))


def test_an_ended_job_ends_the_download(serve: Serve, tmp_path: Path) -> None:
    """X7"""
    server = serve(CONTENT, pause_seconds=0.2)
    with (
        downloading(HttpSource(server.url), tmp_path / "a", aborted=lambda: True) as download,
        pytest.raises(DownloadAbortedError, match="the job ended before"),
    ):
        download.wait(0, len(CONTENT))


def test_a_full_disk_has_its_own_message(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """K3"""
    server = serve(CONTENT)
    monkeypatch.setattr(ranged_download.os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(DiskError, match=r"cannot write the download: .*No space left.* Free some disk"):  # noqa: SIM117
        with downloading(HttpSource(server.url), tmp_path / "a") as download:
            download.wait(0, 1)


def test_a_file_whose_server_tells_no_version_is_not_resumed(serve: Serve, tmp_path: Path) -> None:
    """K8"""

    class Unversioned(HttpSource):
        def describe(self) -> Any:
            from dataclasses import replace

            return replace(super().describe(), version="")

    server = serve(bytes(len(CONTENT)))
    with downloading(Unversioned(server.url), tmp_path / "a") as download:
        download.wait(0, len(CONTENT))
    server.content = CONTENT
    server.tag = "same"
    with downloading(Unversioned(server.url), tmp_path / "a") as download:
        download.wait(0, len(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_an_empty_file_is_there_at_once(serve: Serve, tmp_path: Path) -> None:
    """K2"""
    source = HttpSource(serve(b"", ranges=False).url)
    with downloading(source, tmp_path / "a") as download:
        download.wait(0, 0)
    assert (tmp_path / "a").read_bytes() == b""
