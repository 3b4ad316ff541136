"""The manifest's index: the cost to make it, per line, and to open it when it is warm.

Run with ``uv run python -m benchmarks.index``. Every figure is one of a fresh process, so that memory counts from its
start; "read" is what the kernel says that the process read from files.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, command
from rt_flare.data.manifest_index import open_index


def open_once(manifest: Path, folder: Path) -> dict[str, float]:
    """Open the index and one entry of it; return what that cost this process."""

    def peak_bytes() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def read_bytes() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    memory, read, start = peak_bytes(), read_bytes(), time.perf_counter()
    index = open_index(manifest, folder)
    seconds = time.perf_counter() - start
    index.uri(len(index) - 1)
    return {"seconds": seconds, "memory": peak_bytes() - memory, "read": read_bytes() - read}


def write_lines(path: Path, count: int) -> None:
    """Write a manifest of ``count`` lines."""
    with path.open("w") as file:
        for number in range(count):
            file.write(f'{{"id":"sample-{number}","uri":"file://images/{number:08d}.jpg","y":[{number % 1000}]}}\n')


def measure(options: argparse.Namespace) -> list[Figure]:
    """Make and open the index of manifests of several sizes."""
    figures = []
    for count in options.entries:
        made, opened = [], []
        for _ in range(options.repeats):
            with tempfile.TemporaryDirectory() as folder:
                manifest = Path(folder, "manifest.ndjson")
                write_lines(manifest, count)
                time.sleep(0.1)
                once = [sys.executable, "-m", "benchmarks.index", "--open-once", str(manifest), folder]
                for costs in (made, opened):
                    costs.append(json.loads(subprocess.check_output(once)))
        figures += [
            Figure(f"{count:,} lines, made", tuple(cost["seconds"] / count * 1e6 for cost in made), unit="us per line"),
            Figure(f"{count:,} lines, made", tuple(cost["memory"] / 1e6 for cost in made), unit="MB of memory"),
            Figure(f"{count:,} lines, opened warm", tuple(cost["seconds"] * 1e3 for cost in opened), unit="ms"),
            Figure(f"{count:,} lines, opened warm", tuple(cost["read"] / 1e3 for cost in opened), unit="kB read"),
        ]
    return figures


def main() -> None:
    """Measure, or be one of the fresh processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 5_000_000])
    if sys.argv[1:2] == ["--open-once"]:
        print(json.dumps(open_once(*map(Path, sys.argv[2:]))))
    else:
        command(parser, measure)


if __name__ == "__main__":
    main()
