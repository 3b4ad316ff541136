"""What idle sites cost the server: CPU time per question for work, and what the rule of N / 100 seconds makes of it.

Run with ``uv run python -m benchmarks.polling``. A real server and two real sites as processes; while one site trains,
threads in the other's job process ask for work like as many idle sites. CPU time is what the kernel counts for the
server's two processes: the parent, which passes every message on, and the job's own. An idle site's own question every
2 s and the heartbeats are in the phase without pollers, which is subtracted.
"""

from __future__ import annotations

import argparse
import bisect
import json
import tempfile
import time
import warnings
from pathlib import Path

import psutil

from benchmarks.figures import Figure, command
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.durable_io import read_json, write_json
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.render import render_job
from rt_flare.timeouts.placement import apply_preset

SITES = ("site-1", "site-2")
JOB = Path(__file__).parent / "polling_job"
SETTLE_SECONDS = 2.0
SAMPLE_SECONDS = 0.1
WIDTHS = (10, 11, 11, 9, 8, 10, 9, 10, 9)
Sample = tuple[float, float, float]
"""Seconds since 1970, and the CPU seconds so far of the server's parent process and of its job process."""


def phases(seconds: float) -> list[tuple[int, float, float]]:
    """Pollers, seconds between two questions of one, and duration: none; by the preset; and far beyond its rule."""
    by_preset = [(count, _preset_interval(count), seconds) for count in (2, 10, 50, 100)]
    return [(0, 1.0, seconds), *by_preset, (100, 0.05, seconds)]


def _preset_interval(num_sites: int) -> float:
    return float(apply_preset("low_latency", num_sites=num_sites).get("server.task_request_interval"))


def write_job(folder: Path, plan: list[tuple[int, float, float]], report: Path) -> Path:
    """Write the job whose one round lasts as long as the plan."""
    (folder / "data").mkdir()
    wait_seconds = sum(seconds + SETTLE_SECONDS for _, _, seconds in plan) + 5
    job = render_job(
        out=folder / "polling",
        model_def=JOB / "model_def.py",
        training=TrainingConfig(extra={"WAIT_SECONDS": wait_seconds}),
        federation=FederationConfig(num_rounds=1, min_clients=2, job_name="polling", task_request_interval=2.0),
        sites=SITES,
        data_root=folder / "data",
        extra_files=[JOB / "pollers.py"],
    )
    path = job / "app" / "config" / "config_fed_client.json"
    config = read_json(path)
    arguments = {"site": SITES[0], "phases": [list(phase) for phase in plan], "report": str(report)}
    config["components"].append({"id": "pollers", "path": "pollers.Pollers", "args": arguments})
    write_json(path, config)
    return job


def follow(deployment: PocDeployment, job_id: str, report: Path, num_phases: int) -> list[Sample]:
    """Sample the server's CPU time until the report has all phases."""
    parent = deployment.site_processes("server")[0]
    samples: list[Sample] = []
    job: psutil.Process | None = None
    deadline = time.monotonic() + 300
    while not report.is_file() or len(report.read_text().splitlines()) < num_phases:
        if time.monotonic() > deadline:
            raise TimeoutError("the pollers did not end")
        if job is None:
            job = next((p for p in parent.children(recursive=True) if job_id in p.cmdline()), None)
        if job is not None:
            samples.append((time.time(), _cpu_seconds(parent), _cpu_seconds(job)))
        time.sleep(SAMPLE_SECONDS)
    return samples


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def used(samples: list[Sample], start: float, end: float) -> tuple[float, float]:
    """CPU load of the two processes between two moments, as parts of one core."""
    moments = [sample[0] for sample in samples]
    first, last = samples[bisect.bisect_left(moments, start)], samples[bisect.bisect_right(moments, end) - 1]
    seconds = last[0] - first[0]
    return (last[1] - first[1]) / seconds, (last[2] - first[2]) / seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each phase")
    command(parser, measure)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Go through the phases, again and again, each time in a new deployment."""
    warnings.simplefilter("ignore")
    plan = phases(options.seconds)
    runs = [measure_once(plan) for _ in range(options.repeats)]
    names = [f"{count} idle sites that ask every {interval:g} s" for count, interval, _ in plan if count]
    return [
        *(Figure(name, tuple(run[i][0] for run in runs), unit="% of a core") for i, name in enumerate(names)),
        *(Figure(name, tuple(run[i][1] for run in runs), unit="ms of CPU a question") for i, name in enumerate(names)),
    ]


def measure_once(plan: list[tuple[int, float, float]]) -> list[tuple[float, float]]:
    """What each phase with pollers costs the server beyond the one without: % of a core, and ms of CPU a question."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report = folder / "report.jsonl"
        job = write_job(folder, plan, report)
        with PocDeployment(folder / "deployment", SITES) as deployment:
            samples = follow(deployment, deployment.submit(job), report, len(plan))
        lines = [json.loads(line) for line in report.read_text().splitlines()]
    return print_loads(plan, lines, samples)


def print_loads(
    plan: list[tuple[int, float, float]], lines: list[dict[str, float]], samples: list[Sample]
) -> list[tuple[float, float]]:
    """Print a line per phase; return load and cost of those with pollers."""
    costs = []
    print(f"\n{'':34}{'answers':>18} | {'CPU, % of a core':^20} | {'CPU, ms a question':^20}")
    heads = ("idle sites", "interval, s", "asked, 1/s", "1/s", "ms", "| parent", "job", "| parent", "job")
    print(" ".join(f"{head:>{width}}" for head, width in zip(heads, WIDTHS, strict=True)))
    idle = used(samples, lines[0]["start"], lines[0]["end"])
    for (count, interval, _), line in zip(plan, lines, strict=True):
        load = used(samples, line["start"], line["end"])
        rate = line["answers"] / (line["end"] - line["start"])
        cells = [str(count), f"{interval:.2f}", f"{count / interval:.0f}", f"{rate:.1f}", f"{line['took'] * 1e3:.1f}"]
        cells += [f"{part * 100:.1f}" for part in load]
        if count:
            cells += [f"{(loaded - unloaded) / rate * 1e3:.2f}" for loaded, unloaded in zip(load, idle, strict=True)]
            costs.append(((sum(load) - sum(idle)) * 100, (sum(load) - sum(idle)) / rate * 1e3))
        print(" ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False)))
    return costs


if __name__ == "__main__":
    main()
