"""What sending logs and files to the server costs the rounds: the same job with and without it, in turn.

    python -m benchmarks.site_files [--repeats 3] [--rounds 40] [--file-bytes 4000000]

One deployment of a server and two sites as processes of this machine; a model of ten weights, sites that ask for work
every 50 ms, and a file that user code writes in every round. Prints seconds per round from the server's own record,
and from the last round's end until NVFlare calls the job finished: the medians of each run, and the ratios of the
pairs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, command
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.ledger import read_ledger
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.render import render_job

SITES = ["site-1", "site-2"]
MODEL_DEF = """
from pathlib import Path

from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)


def fl_train_model(payload, out_dir, logger=None):
    Path(out_dir, "file.bin").write_bytes(bytes(payload["env"]["file_bytes"]))
    return {"weights": payload["initial_weights"], "samples": 5, "metrics": {"loss": 1.0}}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--file-bytes", type=int, default=4_000_000)
    command(parser, measure)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Run the pairs."""
    with tempfile.TemporaryDirectory(prefix="site_files_") as name:
        folder = Path(name)
        jobs = {sends: _render(folder / str(sends), options, sends=sends) for sends in (False, True)}
        ratios: dict[str, list[float]] = {"round": [], "end": []}
        with PocDeployment(folder / "poc", SITES) as poc:
            for pair in range(options.repeats):
                order = (False, True) if pair % 2 == 0 else (True, False)
                seconds = {sends: _run(poc, jobs[sends], folder / f"download_{pair}_{sends}") for sends in order}
                for sends in (False, True):
                    per_round, end = seconds[sends]
                    print(f"pair {pair} {'with' if sends else 'without'}: {per_round:.3f} s per round, end {end:.1f} s")
                ratios["round"].append(seconds[True][0] / seconds[False][0])
                ratios["end"].append(seconds[True][1] / seconds[False][1])
    return [
        Figure("seconds per round with site files / without", tuple(ratios["round"])),
        Figure("last round's end to the end of the job, with / without", tuple(ratios["end"])),
    ]


def _render(folder: Path, options: argparse.Namespace, *, sends: bool) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "model_def.py").write_text(MODEL_DEF)
    job = render_job(
        out=folder / "job",
        model_def=folder / "model_def.py",
        training=TrainingConfig(extra={"file_bytes": options.file_bytes}),
        federation=FederationConfig(num_rounds=options.rounds, min_clients=2, task_request_interval=0.05),
        sites=SITES,
        data_root=folder / "data",
    )
    if not sends:
        for side in ("client", "server"):
            file = job / "app" / "config" / f"config_fed_{side}.json"
            config = json.loads(file.read_text())
            config["components"] = [c for c in config["components"] if "site_file" not in c["id"]]
            file.write_text(json.dumps(config))
    return job


def _run(poc: PocDeployment, job: Path, download: Path) -> tuple[float, float]:
    """Median seconds of a round, and seconds from the last round's end to the end of the job."""
    job_id = poc.submit(job)
    summary = poc.run_dir(job_id, "server") / "files_out" / "fl_round_complete.json"
    while not summary.is_file():
        time.sleep(0.05)
    num_rounds = read_ledger(summary).num_rounds
    while len(read_ledger(summary).rounds) < num_rounds:
        time.sleep(0.05)
    last_round = time.monotonic()
    while str(poc.nvflare("job", "meta", job_id)["status"]).startswith("RUNNING"):
        time.sleep(0.05)
    end = time.monotonic() - last_round
    [found] = poc.download(job_id, download).rglob("fl_round_complete.json")
    return statistics.median(record.seconds for record in read_ledger(found).rounds[1:]), end


if __name__ == "__main__":
    main()
