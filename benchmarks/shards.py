"""Shards against what people write by hand: ratios from pairs of runs in one process, min/median/max.

``python -m benchmarks.shards fetch``      a shard over loopback: against requests to a file, then zipfile.extractall
``python -m benchmarks.shards throttled``  the same over a link of 1 Gbit/s: against the bare transfer
``python -m benchmarks.shards manifest``   checking manifests: cost per line and memory from 10,000 lines on
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import requests

from benchmarks.figures import Figure, command
from rt_flare.data.http_source import HttpSource
from rt_flare.data.manifest import check_manifest
from rt_flare.data.shard_fetch import fetch_shard
from rt_flare.data.site_cache import SiteCache

GIGABIT = 125_000_000


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["fetch", "throttled", "manifest"])
    parser.add_argument("--folder", type=Path, help="where files are written; a new temporary folder by default")
    parser.add_argument("--mebibytes", type=int, default=1024, help="size of the shard")
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the largest manifest")
    command(parser, measure)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Measure what ``name`` says."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Path(folder)
        if options.name == "manifest":
            return measure_manifests(place, options.lines, options.repeats)
        if options.name == "fetch":
            return measure_fetch(place, options.mebibytes, options.repeats)
        return measure_throttled(place, options.mebibytes, options.repeats)


def measure_fetch(folder: Path, mebibytes: int, repeats: int) -> list[Figure]:
    """Loopback: ours against requests to a file, then extractall; bar: 1.25."""
    shard = make_shard(folder, mebibytes)
    ratios: list[float] = []
    peaks: list[float] = []

    def watched(url: str, work: Path) -> None:
        with memory_peak() as peak:
            fetch_ours(url, work)
        peaks.append(peak[0] / (1 << 20))

    with serving(shard, 0) as url:
        timed(fetch_ours, url, folder)  # what is imported and cached on first use counts for nobody
        for _ in range(repeats):
            by_hand, ours = timed(fetch_by_hand, url, folder), timed(watched, url, folder)
            print(f"  by hand {by_hand:.2f} s, ours {ours:.2f} s, ratio {by_hand / ours:.2f}, {peaks[-1]:.0f} MiB")
            ratios.append(by_hand / ours)
    return [
        Figure("requests to a file, then extractall / ours", tuple(ratios), at_least=1.25),
        Figure("memory above the start", tuple(peaks), at_most=200, unit="MiB"),
    ]


def measure_throttled(folder: Path, mebibytes: int, repeats: int) -> list[Figure]:
    """1 Gbit/s: ours against the bare transfer; bar: 1.05."""
    shard = make_shard(folder, mebibytes)
    ratios = []
    with serving(shard, GIGABIT) as url:
        for _ in range(repeats):
            bare = timed(transfer, url, folder)
            ours = timed(fetch_ours, url, folder)
            print(f"  bare {bare:.2f} s, ours {ours:.2f} s, ratio {ours / bare:.3f}")
            ratios.append(ours / bare)
    return [Figure("ours / the bare transfer at 1 Gbit/s", tuple(ratios), at_most=1.05)]


def measure_manifests(folder: Path, lines: int, repeats: int) -> list[Figure]:
    """Cost per line; bar: flat, and less than 500 MiB at 5 million lines."""
    counts = [10_000, 100_000, *([1_000_000] if lines > 1_000_000 else []), lines]
    for count in counts:
        path = folder / f"{count}.ndjson"
        with path.open("wb") as file:
            for number in range(count):
                file.write(b'{"id":"%d","uri":"file://images/%08d.jpg","y":[%d]}\n' % (number, number, number % 1000))
    growth, peaks = [], []
    for _ in range(repeats):
        costs = []
        for count in counts:
            with memory_peak() as peak:
                start = time.process_time()
                check_manifest(folder / f"{count}.ndjson", lambda entry: None)
                costs.append((time.process_time() - start) / count)
            print(f"  {count:>9,} lines: {costs[-1] * 1e6:.2f} us of CPU per line, {peak[0] >> 20} MiB above the start")
        growth.append(costs[-1] / costs[0])
        peaks.append(peak[0] / (1 << 20))
    return [
        Figure(f"cost per line at {lines:,} lines / at {counts[0]:,}", tuple(growth)),
        Figure(f"memory above the start at {lines:,} lines", tuple(peaks), at_most=500, unit="MiB"),
    ]


def make_shard(folder: Path, mebibytes: int) -> Path:
    """A ZIP of stored files of 60 to 160 kB, as photos are."""
    rng = random.Random(1)
    noise = rng.randbytes(4 << 20)
    path = folder / "shard_0001.zip"
    total = 0
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.ndjson", "{}\n")
        while total < mebibytes << 20:
            size = rng.randint(60_000, 160_000)
            start = rng.randint(0, len(noise) - size)
            archive.writestr(zipfile.ZipInfo(f"images/{total:012d}.jpg"), noise[start : start + size])
            total += size
    return path


@contextlib.contextmanager
def serving(path: Path, bytes_per_second: int) -> Iterator[str]:
    """Serve ``path`` from a process of its own and yield the URL."""
    command = [sys.executable, str(Path(__file__).with_name("file_server.py")), str(path), str(bytes_per_second)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def touch_memory() -> None:
    """Use as much memory as the page cache is about to need, once."""
    content = b"\1" * (1 << 20)
    with mmap.mmap(-1, 3 << 30) as memory:
        for start in range(0, len(memory), len(content)):
            memory[start : start + len(content)] = content


def fetch_by_hand(url: str, work: Path) -> None:
    """What people write."""
    with requests.get(url, stream=True, timeout=60) as response, (work / "shard.zip").open("wb") as file:
        for chunk in response.iter_content(1 << 20):
            file.write(chunk)
    with zipfile.ZipFile(work / "shard.zip") as archive:
        archive.extractall(work / "unpacked")


def fetch_ours(url: str, work: Path) -> None:
    """What a site does, checks and hash included; that the files reach the disk is waited for by neither."""
    fetch_shard(HttpSource(url), SiteCache(work), 1)


def transfer(url: str, work: Path) -> None:
    """The bytes alone."""
    with requests.get(url, stream=True, timeout=60) as response:
        for _ in response.iter_content(1 << 20):
            pass


def timed(action: Callable[[str, Path], None], url: str, folder: Path) -> float:
    """Seconds of ``action`` in a new folder, with nothing left to write to disk from before.

    Nothing is deleted before the end: ext4 takes up to 0.5 ms to find a number for a new file while those of files
    deleted in the last minutes may not be used again, and that would be measured instead. Nor is what a virtual
    machine's host takes to give back the memory that it lent elsewhere.
    """
    work = Path(tempfile.mkdtemp(dir=folder))
    os.sync()
    touch_memory()
    start = time.perf_counter()
    action(url, work)
    seconds = time.perf_counter() - start
    while any(thread.name == "shard flush" for thread in threading.enumerate()):
        time.sleep(0.01)
    return seconds


@contextlib.contextmanager
def memory_peak() -> Iterator[list[int]]:
    """Yield a list whose only element is by how many bytes the process has grown at most."""
    process = psutil.Process()
    start = process.memory_info().rss
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
