"""What is printed for people when a job has ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rt_flare.cli.round_view import round_table
from rt_flare.core.round_record import Verdict
from rt_flare.jobs.outcome import JobState, RunOutcome

__all__ = ["print_outcome", "print_outputs"]

_STYLES = {JobState.FINISHED: "bold green", JobState.FAILED: "bold red", JobState.CANCELLED: "bold yellow"}


def print_outcome(console: Console, outcome: RunOutcome) -> None:
    """Print the rounds, the state, and for a failed job its root cause."""
    if outcome.rounds:
        console.print(round_table(outcome.rounds))
        console.print()
    num_good = sum(1 for record in outcome.rounds if record.verdict is not Verdict.FAILED)
    rounds = f"{num_good} of {outcome.num_rounds} rounds" if outcome.num_rounds else "no rounds"
    line = Text.assemble((outcome.state.value, _STYLES[outcome.state]), f": {rounds} in {outcome.seconds:.0f} s")
    if outcome.stop_reason:
        line.append(f", stopped: {outcome.stop_reason}")
    console.print(line)
    if outcome.error is not None:
        console.print(Text.assemble(("Root cause: ", "bold"), outcome.error.describe()), soft_wrap=True)
    for note in outcome.notes:
        console.print(Text(f"Note: {note}"), soft_wrap=True)


def print_outputs(console: Console, outputs: Sequence[Path], job_dir: Path) -> None:
    """Print where the results stand, one path a line."""
    console.print(Text(f"Files in {job_dir}:"), soft_wrap=True)
    for path in outputs:
        console.print(Text(f"  {path.relative_to(job_dir)}"), soft_wrap=True)
