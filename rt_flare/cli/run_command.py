"""``rt-flare run``: a job folder in the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rt_flare.cli.reply import exit_code, outcome_document, print_json
from rt_flare.cli.round_view import SilentView, make_console, round_view
from rt_flare.cli.run_report import print_outcome, print_outputs
from rt_flare.jobs.job_sites import default_sites
from rt_flare.jobs.project import is_project, read_project, render_project
from rt_flare.jobs.render import check_sites
from rt_flare.jobs.results import collect_results
from rt_flare.jobs.simulator import run_simulator

__all__ = ["run_command"]


def run_command(
    *, job_folder: Path, sites: Sequence[str] | None, num_sites: int | None, out: Path | None, as_json: bool
) -> int:
    """Run the job, or the project's, collect its results, show them, and return the exit code."""
    if sites is None and num_sites:
        sites = [f"site-{n}" for n in range(1, num_sites + 1)]
    if is_project(job_folder):
        job_dir = (out or job_folder / "run").resolve()
        project, data_dir = read_project(job_folder), job_dir / "data"
        job_folder, sites = render_project(project, job_dir / "job", sites=sites, data_dir=data_dir)
    else:
        # Both are checked before anything is printed.
        named = default_sites(job_folder)
        sites = sites if sites is not None else named
        check_sites(sites)
        job_dir = (out or Path(f"{job_folder.resolve().name}-run")).resolve()
    if as_json:
        outcome = run_simulator(job_folder, job_dir / "workspace", sites, on_round=SilentView().round)
        outputs = collect_results(outcome, job_dir)
        print_json(outcome_document("run", outcome, job_dir=job_dir, outputs=outputs, extra={}))
        return exit_code(outcome)
    console = make_console()
    with round_view(console) as view:
        view.stage(f"Running {job_folder} in NVFlare's simulator at {', '.join(sites)}")
        outcome = run_simulator(job_folder, job_dir / "workspace", sites, on_round=view.round)
    outputs = collect_results(outcome, job_dir)
    print_outcome(console, outcome)
    print_outputs(console, outputs, job_dir)
    return exit_code(outcome)
