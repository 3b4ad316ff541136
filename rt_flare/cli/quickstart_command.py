"""``rt-flare quickstart``: from nothing to a federated model."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rt_flare.cli.reply import exit_code, outcome_document, print_json
from rt_flare.cli.round_view import RoundView, SilentView, make_console, round_view
from rt_flare.cli.run_report import print_outcome, print_outputs
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.plain_path import is_plain
from rt_flare.quickstart.demo import QuickstartResult, run_quickstart
from rt_flare.quickstart.reference import Comparison

__all__ = ["quickstart_command"]


def quickstart_command(*, out: Path, rounds: int, sites: int, seed: int, model_def: Path | None, as_json: bool) -> int:
    """Run the quickstart, show what it gave, and return the exit code."""

    def run(view: RoundView) -> QuickstartResult:
        return run_quickstart(
            out,
            num_rounds=rounds,
            num_sites=sites,
            seed=seed,
            model_def=model_def,
            on_stage=view.stage,
            on_round=view.round,
        )

    if as_json:
        result = run(SilentView())
        print_json(_document(result))
    else:
        console = make_console()
        with round_view(console) as view:
            result = run(view)
        _print(console, result)
    return exit_code(result.outcome)


def next_commands(result: QuickstartResult) -> list[str]:
    """Commands to try next, as they can be pasted into a shell: for a failed run, the one that tries again."""
    out = result.job_dir.parent.parent
    retrain = ["rt-flare", "quickstart", "--model-def", str(result.model_def), "--out", str(out)]
    if result.outcome.state is not JobState.FINISHED:
        return [shlex.join(retrain)]
    job = result.job_dir / "job"
    sites = ",".join(result.sites)
    # NVFlare's own command cannot work in a path that a shell would split.
    workspace = out / "nvflare" if is_plain(out) else Path(tempfile.gettempdir()) / "rt-flare-nvflare"
    commands = [
        retrain,
        ["rt-flare", "run", str(job), "--sites", sites, "--out", str(result.job_dir.parent / "digits-again")],
        ["nvflare", "simulator", str(job), "-w", str(workspace), "-c", sites, "-t", str(len(result.sites))],
    ]
    return [shlex.join(command) for command in commands]


def _document(result: QuickstartResult) -> dict[str, object]:
    comparison = result.comparison or Comparison()
    notes = list(result.outcome.notes)
    if comparison.failure is not None:
        notes.append(f"no comparison with central training: {comparison.failure.describe()}")
    extra = {
        "held_out_accuracy": comparison.held_out_accuracy,
        "central_accuracy": comparison.central_accuracy,
        "federated_steps": comparison.federated_steps,
        "central_steps": comparison.central_steps,
        "model_def": str(result.model_def),
        "next_commands": next_commands(result),
        "notes": notes,
    }
    return outcome_document("quickstart", result.outcome, job_dir=result.job_dir, outputs=result.outputs, extra=extra)


def _print(console: Console, result: QuickstartResult) -> None:
    print_outcome(console, result.outcome)
    if result.comparison is not None:
        _print_comparison(console, result.comparison)
    console.print()
    print_outputs(console, result.outputs, result.job_dir)
    console.print()
    finished = result.outcome.state is JobState.FINISHED
    console.print(f"Try next (the first after a change to {result.model_def.name}):" if finished else "Try again:")
    for command in next_commands(result):
        console.print(Text(f"  {command}"), soft_wrap=True)


def _print_comparison(console: Console, comparison: Comparison) -> None:
    if comparison.failure is not None:
        text = f"No comparison with central training: {comparison.failure.describe()}"
        console.print(Text(text), soft_wrap=True)
        return
    console.print()
    console.print("Accuracy on digits that no site has seen:")
    rows = [
        ("federated", comparison.held_out_accuracy, comparison.federated_steps, "by all sites"),
        ("central", comparison.central_accuracy, comparison.central_steps, "all data in one place"),
    ]
    for name, accuracy, steps, how in rows:
        shown = f"{accuracy:.4f}" if accuracy is not None else "not measured"
        console.print(Text(f"  {name:<10} {shown}   {steps} optimizer steps, {how}"))
