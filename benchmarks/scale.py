"""What many sites cost the server: 10, 100, 1,000 and 10,000 simulated ones, and the record of 1,000 rounds.

Run with ``uv run python -m benchmarks.scale``. NVFlare's own runner and rt_flare's components serve sites that are a
loop in the same process: no network, no training, a model of 1,000 parameters. What counts are the time and the memory
per site as their number grows, and the time per round as the rounds grow. Every part runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.large_ledger import write_ledger
from benchmarks.simulated_server import SimulatedServer, site_names
from rt_flare.report.contents import report_contents
from rt_flare.report.page import render_html
from rt_flare.report.run_folder import read_run

__all__ = ["measure_ledger", "measure_rounds"]

SITES = (10, 100, 1_000, 10_000)


def measure_rounds(num_sites: int, num_rounds: int) -> dict[str, Any]:
    """Run rounds, and return what one site costs in one: milliseconds by part, and bytes of memory."""
    with tempfile.TemporaryDirectory() as name:
        server = SimulatedServer(Path(name), site_names(num_sites), num_rounds=num_rounds)
        before = psutil.Process().memory_full_info().uss
        server.run()
        memory = psutil.Process().memory_full_info().uss - before
    per_site = 1e3 / num_sites / num_rounds
    ours = dict(sorted(server.watch.seconds.items()))
    return {
        "sites": num_sites,
        "round_seconds": statistics.median(server.round_seconds[1:]),
        "round_ms": statistics.median(server.round_seconds[1:]) * 1e3 / num_sites,
        "calls_ms": server.call_seconds * per_site,
        "ours_ms": sum(ours.values()) * per_site,
        "parts_ms": {part: seconds * per_site for part, seconds in ours.items()},
        "memory_bytes": memory / num_sites,
    }


def measure_ledger(num_sites: int, num_rounds: int) -> dict[str, Any]:
    """Write the record of a job and its report; return seconds of a round at the beginning and the end, and sizes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cost = write_ledger(folder, num_sites, num_rounds)
        started = time.perf_counter()
        page = render_html(report_contents(read_run(folder), seen_from=folder))
        report_seconds = time.perf_counter() - started
        peak = psutil.Process().memory_info().rss
    tenth = max(1, num_rounds // 10)
    contributions = num_sites * num_rounds
    return {
        "sites": num_sites,
        "rounds": num_rounds,
        "first_ms": statistics.median(cost.write_seconds[:tenth]) * 1e3,
        "last_ms": statistics.median(cost.write_seconds[-tenth:]) * 1e3,
        "longest_ms": max(cost.write_seconds) * 1e3,
        "memory_bytes": cost.memory_bytes[-1],
        "page_bytes": cost.page_bytes / contributions,
        "document_bytes": cost.document_bytes,
        "report_seconds": report_seconds,
        "report_bytes": len(page.encode()),
        "report_memory_bytes": peak,
    }


def print_rounds(results: Sequence[dict[str, Any]]) -> None:
    """Print what a site costs in a round, by the number of sites."""
    print("\nper site and round:")
    heads = ("round, s", "round, ms", "in calls, ms", "rt_flare, ms", "memory, kB")
    print(f"{'sites':>7} " + " ".join(f"{head:>13}" for head in heads))
    for found in results:
        cells = [found[key] for key in ("round_seconds", "round_ms", "calls_ms", "ours_ms")]
        cells.append(found["memory_bytes"] / 1e3)
        print(f"{found['sites']:>7} " + " ".join(f"{cell:>13.3f}" for cell in cells))
    for part in results[-1]["parts_ms"]:
        values = "  ".join(f"{found['parts_ms'].get(part, 0.0):.4f}" for found in results)
        print(f"  {part + ', ms':28} {values}")


def print_ledgers(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print what the record costs, by sites and rounds, each line as soon as it is known; return the figures."""
    found_so_far = []
    print("\nthe record:")
    heads = (
        "first, ms",
        "last, ms",
        "longest, ms",
        "memory, MB",
        "B/contrib.",
        "documents, MB",
        "report, s",
        "page, MB",
    )
    print(f"{'sites':>7} {'rounds':>7} " + " ".join(f"{head:>13}" for head in heads))
    for found in results:
        found_so_far.append(found)
        cells = (
            *(f"{found[key]:.1f}" for key in ("first_ms", "last_ms", "longest_ms")),
            *(f"{found['memory_bytes'] / 1e6:.1f}", f"{found['page_bytes']:.0f}"),
            *(f"{found['document_bytes'] / 1e6:.2f}", f"{found['report_seconds']:.1f}"),
            f"{found['report_bytes'] / 1e6:.2f}",
        )
        print(f"{found['sites']:>7} {found['rounds']:>7} " + " ".join(f"{cell:>13}" for cell in cells), flush=True)
    return found_so_far


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, nargs="+", default=list(SITES))
    parser.add_argument("--rounds", type=int, default=5, help="of the simulated server; the first one does not count")
    parser.add_argument("--ledger-rounds", type=int, default=1_000, help="of the record")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--part", nargs=3, metavar=("NAME", "SITES", "ROUNDS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        name, sites, rounds = options.part
        print(json.dumps({"rounds": measure_rounds, "ledger": measure_ledger}[name](int(sites), int(rounds))))
        return
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, ", end="")
    print(f"nvflare {version('nvflare')}, torch {version('torch')}")
    rounds_found = [_in_process("rounds", number, options.rounds) for number in options.sites]
    print_rounds(rounds_found)
    ledgers = print_ledgers(_in_process("ledger", number, options.ledger_rounds) for number in options.sites)
    if options.json:
        options.json.write_text(json.dumps({"rounds": rounds_found, "ledger": ledgers}, indent=2))


def _in_process(name: str, sites: int, rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scale", "--part", name, str(sites), str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
