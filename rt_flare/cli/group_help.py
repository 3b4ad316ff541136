"""What a group of commands does when none of them is named."""

from __future__ import annotations

import typer

from rt_flare.cli.exit_code import ExitCode

__all__ = ["help_without_command"]


def help_without_command(context: typer.Context) -> int | None:
    """Print the group's help and return the exit code of wrong usage; None when a command follows."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        return ExitCode.USAGE
    return None
