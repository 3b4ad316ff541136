"""Rounds of a large model: rt_flare against NVFlare's FedAvgRecipe and the published resontech job, as they come.

Run with ``uv run python -m benchmarks.large_model``. Two sites train in NVFlare's simulator by adding a constant to
every weight, so that a round is what happens to the weights between. Every repeat runs all jobs one after the other;
what counts are the ratios within a repeat. A round lasts from its start to the next one's start; the first, in which
processes start, is left out for all.

With ``--memory`` it runs rt_flare's job with 2 and with 8 sites instead and prints the server's peak memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil

from benchmarks.figures import Figure, command, spread
from benchmarks.job_times import run_in_simulator
from benchmarks.peer_jobs import write_published_job, write_recipe_job
from benchmarks.peers import PUBLISHED
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.ledger import ROUND_SUMMARY_FILE, read_ledger
from rt_flare.jobs.render import render_job

HERE = Path(__file__).parent / "large"
MODEL_DEF, CLIENT_SCRIPT = HERE / "model_def.py", HERE / "client.py"
TEMPLATE = "rt_large_model"
TASK_REQUEST_INTERVAL = 0.25
"""Seconds; the template's own second is for many sites."""
FULL, BFLOAT16 = "rt_flare", "rt_flare, bfloat16"
TARGETS = {FULL: 0.65, BFLOAT16: 0.4}
MAX_GROWTH = 1.3
_SAMPLE_SECONDS = 0.1

Write = Callable[[Path], Path]


def write_own_job(out: Path, *, num_rounds: int, num_sites: int, wire_dtype: str) -> Path:
    """Write rt_flare's job."""
    return render_job(
        out=out,
        model_def=MODEL_DEF,
        training=TrainingConfig(),
        federation=FederationConfig(
            num_rounds=num_rounds, min_clients=num_sites, task_request_interval=TASK_REQUEST_INTERVAL
        ),
        sites=[f"site-{number + 1}" for number in range(num_sites)],
        data_root=HERE,
        client_variables={"WIRE_DTYPE": wire_dtype},
        template=TEMPLATE,
    )


def writers(num_rounds: int, data_root: Path) -> dict[str, Write]:
    """The jobs that are compared, by name."""
    numbers = {"num_rounds": num_rounds, "num_sites": 2}
    return {
        "FedAvgRecipe": lambda out: write_recipe_job(out, model_def=MODEL_DEF, train_script=CLIENT_SCRIPT, **numbers),
        PUBLISHED: lambda out: write_published_job(out, model_def=MODEL_DEF, data_root=data_root, **numbers),
        FULL: lambda out: write_own_job(out, wire_dtype="", **numbers),
        BFLOAT16: lambda out: write_own_job(out, wire_dtype="bfloat16", **numbers),
    }


def compare(options: argparse.Namespace) -> list[Figure]:
    """Run all jobs, interleaved, and print seconds per round."""
    seconds: dict[str, list[float]] = {}
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory(prefix="rt-flare-large-") as folder:
            root = Path(folder)
            os.environ["RESONTECH_OUT_DIR"] = str(root / "published-out")
            for number, (name, write) in enumerate(writers(options.rounds, root / "data").items()):
                job = write(root / f"job{number}")
                times = run_in_simulator(job, root / f"run{number}", num_rounds=options.rounds, num_sites=2)
                seconds.setdefault(name, []).append(median(times.rounds[1:]))
                rounds = " ".join(f"{round_seconds:.2f}" for round_seconds in times.rounds[1:])
                print(f"repeat {repeat}  {name:<20} rounds {rounds} s{_wire_errors(root / f'run{number}')}", flush=True)
    for name, values in seconds.items():
        print(f"{name:<20} seconds per round: {spread(values)}")
    figures = []
    for own, target in TARGETS.items():
        for peer in ("FedAvgRecipe", PUBLISHED):
            ratios = [ours / theirs for ours, theirs in zip(seconds[own], seconds[peer], strict=True)]
            figures.append(Figure(f"a round: {own} / {peer}", tuple(ratios), at_most=target))
    return figures


def measure_memory(options: argparse.Namespace) -> list[Figure]:
    """Run rt_flare's job with 2 and with 8 sites, in turn."""
    peaks: dict[int, list[float]] = {2: [], 8: []}
    for _ in range(options.repeats):
        for num_sites, found in peaks.items():
            with tempfile.TemporaryDirectory(prefix="rt-flare-memory-") as folder:
                root = Path(folder)
                job = write_own_job(root / "job", num_rounds=options.rounds, num_sites=num_sites, wire_dtype="")
                found.append(_server_peak(job, root, num_sites))
            print(f"{num_sites} sites: the server's peak is {found[-1]:.0f} MB", flush=True)
    growth = tuple(eight / two for two, eight in zip(peaks[2], peaks[8], strict=True))
    return [Figure("the server's peak memory, 8 sites / 2 sites", growth, at_most=MAX_GROWTH)]


def _server_peak(job: Path, root: Path, num_sites: int) -> float:
    """Peak resident memory in MB of the simulator's process that holds the server."""
    command = [sys.executable, "-m", "nvflare.cli", "simulator", str(job), "-w", str(root / "run")]
    command += ["-n", str(num_sites), "-t", str(num_sites)]
    peak = 0.0
    with (root / "console.log").open("wb") as console:
        process = psutil.Popen(command, cwd=root, stdout=console, stderr=subprocess.STDOUT)
        while process.poll() is None:
            for member in [process, *_children(process)]:
                peak = max(peak, _peak_if_server(member))
            time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        log = (root / "console.log").read_text()
        raise RuntimeError(f"the simulator ended with {process.returncode}:\n{log[-4000:]}")
    return peak / 1e6


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _peak_if_server(process: psutil.Process) -> float:
    try:
        if any(part.endswith(("simulator_worker", "worker_process")) for part in process.cmdline()):
            return 0.0
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (psutil.NoSuchProcess, psutil.ZombieProcess, FileNotFoundError, ProcessLookupError):
        return 0.0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return float(lines[0][1]) * 1024 if lines else 0.0


def _wire_errors(run: Path) -> str:
    found = list(run.rglob(ROUND_SUMMARY_FILE))
    errors = [record.wire_error for record in read_ledger(found[0]).rounds] if found else []
    if not any(errors):
        return ""
    return f", largest relative error {max(error or 0.0 for error in errors):.6f} (below {2**-8:.6f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, help="size of the model; 400, or 100 with --memory")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--memory", action="store_true", help="measure the server's peak memory instead")
    command(parser, measure)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Compare the jobs, or measure memory."""
    megabytes = options.megabytes or (100 if options.memory else 400)
    os.environ["MODEL_MEGABYTES"] = str(megabytes)
    print(f"a model of {megabytes} MB, {options.rounds} rounds")
    return (measure_memory if options.memory else compare)(options)


if __name__ == "__main__":
    main()
