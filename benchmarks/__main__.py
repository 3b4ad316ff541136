"""Every benchmark with one command: ``uv run --group bench python -m benchmarks [NAME...]``.

Each runs in a process of its own, prints its figures, and replaces its part of ``docs/benchmarks.json``; then
``docs/benchmarks.md`` is written anew from that file. ``--repeats 0`` measures nothing and writes the page only. Exit
code 1: a median is beyond its bound.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.figures import read_figures
from benchmarks.machine import describe_machine, versions
from benchmarks.page import render
from rt_flare.core.durable_io import read_json, write_bytes, write_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
BENCHMARKS = {
    "aggregation-25M": ["benchmarks.aggregation", "--only", "25M"],
    "aggregation-100M-8": ["benchmarks.aggregation", "--only", "100M.* x 8"],
    "aggregation-100M-32": ["benchmarks.aggregation", "--only", "100M.* x 32"],
    "aggregation-one-thread": ["benchmarks.aggregation", "--only", "25M.* x 8", "--clock", "cpu"],
    "aggregation-memory": ["benchmarks.aggregation_memory"],
    "saving": ["benchmarks.saving"],
    "worker": ["benchmarks.worker"],
    "rounds": ["benchmarks.rounds"],
    "large-model": ["benchmarks.large_model"],
    "large-model-memory": ["benchmarks.large_model", "--memory"],
    "polling": ["benchmarks.polling"],
    "site-files": ["benchmarks.site_files"],
    "decoding": ["benchmarks.decoding"],
    "fetch": ["benchmarks.shards", "fetch"],
    "throttled": ["benchmarks.shards", "throttled"],
    "manifest": ["benchmarks.shards", "manifest", "--lines", "5000000"],
    "index": ["benchmarks.index"],
}
"""Name, then module and arguments."""


def main() -> int:
    """Run the named benchmarks, all without names, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=RESULTS, help="file with all results")
    parser.add_argument("--page", type=Path, default=PAGE, help="page to write from it")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"found {', '.join(unknown)}, expected some of {', '.join(BENCHMARKS)}")
    missed = False
    for name in (options.names or BENCHMARKS) if options.repeats else ():
        missed |= run(name, options.repeats, options.json)
    results = read_json(options.json)
    ordered = {name: results[name] for name in BENCHMARKS if name in results}
    write_bytes(options.page, render(ordered).encode())
    return int(missed)


def run(name: str, repeats: int, results_file: Path) -> bool:
    """Run one benchmark and put its figures into the file; return whether one of them misses its bound.

    Raises:
        subprocess.CalledProcessError: it failed; the file is as it was.
    """
    print(f"== {name}", flush=True)
    module, *arguments = BENCHMARKS[name]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "figures.json")
        command = ["python", "-m", module, *arguments, "--repeats", str(repeats)]
        subprocess.run([sys.executable, *command[1:], "--json", str(out)], cwd=ROOT, check=True)
        figures = read_figures(out)
    results = read_json(results_file) if results_file.exists() else {}
    results[name] = {
        "command": shlex.join(command),
        "machine": describe_machine(),
        "versions": versions(),
        "figures": [asdict(figure) for figure in figures],
    }
    write_json(results_file, results)
    return any(figure.holds is False for figure in figures)


if __name__ == "__main__":
    sys.exit(main())
