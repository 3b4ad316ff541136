"""What a round of a tiny model costs: NVFlare's FedAvgRecipe, the published resontech 0.3.0 and rt_flare.

Run with ``uv run python -m benchmarks.rounds``. The three jobs run one after the other on two sites, in NVFlare's
simulator and in a deployment of real processes, again and again; what counts are the ratios within a repeat. All
times are NVFlare's own: a round lasts from its "Round N started." in the server's log to the next one's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.figures import Figure, command, spread
from benchmarks.job_times import JobTimes, run_in_deployment, run_in_simulator
from benchmarks.peer_jobs import write_published_job, write_recipe_job
from benchmarks.peers import PUBLISHED
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.durable_io import read_json, write_json
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.render import render_job
from rt_flare.timeouts.job_placement import JobConfigs, place_in_job
from rt_flare.timeouts.placement import apply_preset

SITES = ("site-1", "site-2")
NOOP = Path(__file__).parent / "noop"
RECIPE, OURS = "NVFlare FedAvgRecipe", "rt_fedavg, low_latency"
TARGETS = {"simulator": 8.0, "deployment": 10.0}
FIGURES: dict[str, Callable[[JobTimes], float]] = {
    "round (median of a job)": lambda times: times.median_round,
    "submission to the first round": lambda times: times.until_first_round,
    "submission to the second round": lambda times: times.until_second_round,
    "last result to the final state": lambda times: times.after_last_result,
}


def write_jobs(folder: Path, num_rounds: int) -> dict[str, Path]:
    """Write the three jobs below ``folder``; return their folders by name."""
    sizes = {"num_rounds": num_rounds, "num_sites": len(SITES)}
    model_def, data = NOOP / "model_def.py", folder / "data"
    data.mkdir()
    federation = FederationConfig(num_rounds=num_rounds, min_clients=len(SITES), job_name="ours")
    ours = render_job(
        out=folder / "ours",
        model_def=model_def,
        training=TrainingConfig(),
        federation=federation,
        sites=SITES,
        data_root=data,
    )
    use_preset(ours, "low_latency")
    recipe = write_recipe_job(folder / "recipe", model_def=model_def, train_script=NOOP / "client.py", **sizes)
    published = write_published_job(folder / "published", model_def=model_def, data_root=data, **sizes)
    return {RECIPE: recipe, PUBLISHED: published, OURS: ours}


def use_preset(job: Path, preset: str) -> None:
    """Put a timeout preset's values into a job folder."""
    paths = [job / "app" / "config" / f"config_fed_{side}.json" for side in ("server", "client")]
    paths.append(job / "meta.json")
    configs = place_in_job(JobConfigs(*map(read_json, paths)), apply_preset(preset, num_sites=len(SITES)))
    for path, config in zip(paths, (configs.server, configs.client, configs.meta), strict=True):
        write_json(path, config)


def figures_of(place: str, repeats: list[Mapping[str, JobTimes]]) -> list[Figure]:
    """Print what the repeats took in one place; return the ratios."""
    figures = []
    for what, read in FIGURES.items():
        print(f"{place}: {what}, seconds")
        for name in repeats[0]:
            print(f"  {name:24} {spread(read(repeat[name]) for repeat in repeats)}")
        ratios = [min(read(repeat[peer]) for peer in (RECIPE, PUBLISHED)) / read(repeat[OURS]) for repeat in repeats]
        target = TARGETS[place] if read is FIGURES["round (median of a job)"] else 1.0
        figures.append(Figure(f"{place}: {what}, the better peer / ours", tuple(ratios), at_least=target))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--places", nargs="+", choices=TARGETS, default=list(TARGETS))
    command(parser, measure)


def measure(options: argparse.Namespace) -> list[Figure]:
    """Run all jobs, interleaved, in each place."""
    warnings.simplefilter("ignore")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Where the published job's persistor puts its copy of every model.
        os.environ["RESONTECH_OUT_DIR"] = str(folder / "published_out")
        jobs = write_jobs(folder, options.rounds)
        if "simulator" in options.places:
            repeats: list[Mapping[str, JobTimes]] = []
            for number in range(options.repeats):
                repeats.append({kind: _simulate(job, folder / f"run-{number}", options) for kind, job in jobs.items()})
            figures += figures_of("simulator", repeats)
        if "deployment" in options.places:
            with PocDeployment(folder / "deployment", SITES) as deployment:
                repeats = []
                for _ in range(options.repeats):
                    repeats.append(
                        {
                            kind: run_in_deployment(job, deployment, num_rounds=options.rounds)
                            for kind, job in jobs.items()
                        }
                    )
            figures += figures_of("deployment", repeats)
    return figures


def _simulate(job: Path, workspace: Path, options: argparse.Namespace) -> JobTimes:
    return run_in_simulator(job, workspace / job.name, num_rounds=options.rounds, num_sites=len(SITES))


if __name__ == "__main__":
    main()
