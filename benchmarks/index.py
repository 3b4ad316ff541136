"""The manifest's index: the cost to make it, per line, and to open it when it is warm.

Run with ``uv run python -m benchmarks.index``. Every figure is one of a fresh process, so that memory counts from its
start; "read" is what the kernel says that the process read from files.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 5_000_000])
    parser.add_argument("--open-once", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open_once:
        print(json.dumps(open_once(*options.open_once)))
        return
    print(f"{platform.platform()}, Python {platform.python_version()}")
    print(f"{'entries':>10} {'manifest MB':>12} | {'made, us/line':>14} {'memory MB':>10} | ", end="")
    print(f"{'opened, ms':>11} {'memory MB':>10} {'read kB':>8}")
    for count in options.entries:
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder, "manifest.ndjson")
            write_lines(manifest, count)
            time.sleep(0.1)
            command = [sys.executable, "-m", "benchmarks.index", "--open-once", str(manifest), folder]
            made, opened = (json.loads(subprocess.check_output(command)) for _ in range(2))
            print(f"{count:10} {manifest.stat().st_size / 1e6:12.0f} | ", end="")
            print(f"{made['seconds'] / count * 1e6:14.1f} {made['memory'] / 1e6:10.1f} | ", end="")
            print(f"{opened['seconds'] * 1e3:11.2f} {opened['memory'] / 1e6:10.1f} {opened['read'] / 1e3:8.1f}")


if __name__ == "__main__":
    main()
