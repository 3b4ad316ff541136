"""``rt-flare plugins``: what is installed beside rt_flare, and whether it can be used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import typer

from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.group_help import help_without_command
from rt_flare.cli.output_format import Format, FormatOption
from rt_flare.cli.reply import print_json

if TYPE_CHECKING:
    from rt_flare.catalog import Catalog, PluginProblem
    from rt_flare.hookspecs import Entry

__all__ = ["app"]

_SCHEMA = "rt_flare.plugins/1"

app = typer.Typer(name="plugins", invoke_without_command=True)


@app.callback()
def _group(context: typer.Context) -> int | None:
    """Plugins: what is installed, and whether it can be used."""
    return help_without_command(context)


@app.command("list")
def list_plugins(output: FormatOption = Format.TXT) -> int:
    """Show every plugin, what it registers, and what is left out."""
    catalog = _catalog()
    _show("plugins list", catalog, catalog.problems, ExitCode.OK, output)
    return ExitCode.OK


@app.command()
def check(output: FormatOption = Format.TXT) -> int:
    """Import all that plugins register. Exits with 1 if some of it cannot be used."""
    catalog = _catalog()
    # A plugin may print while it is imported.
    with redirect_stdout(sys.stderr):
        problems = catalog.check()
    code = ExitCode.FAILED if problems else ExitCode.OK
    _show("plugins check", catalog, problems, code, output)
    return code


def _catalog() -> Catalog:
    from rt_flare.catalog import load_catalog

    with redirect_stdout(sys.stderr):
        return load_catalog()


def _show(command: str, catalog: Catalog, problems: Sequence[PluginProblem], code: ExitCode, output: Format) -> None:
    if output is Format.JSON:
        print_json(_document(command, catalog, problems, code))
        return
    for plugin in catalog.plugins:
        print(f"{plugin.distribution} {plugin.version} ({plugin.entry_point})")
        for entries in plugin.entries.values():
            for name, entry in entries.items():
                print(f"  {_kind(entry):20} {name:24} {_place(entry)}")
    if problems:
        print(f"{len(problems)} problem{'s' * (len(problems) > 1)}:")
    for problem in problems:
        print(f"  {problem.distribution}, {problem.plugin}: {problem.message}")
    if command == "plugins check" and not problems:
        print("All of it can be used.")


def _document(command: str, catalog: Catalog, problems: Sequence[PluginProblem], code: ExitCode) -> dict[str, Any]:
    plugins = [
        {
            "distribution": plugin.distribution,
            "version": plugin.version,
            "entry_point": plugin.entry_point,
            "registers": [
                {"kind": _kind(entry), "name": name, "path": _place(entry)}
                for entries in plugin.entries.values()
                for name, entry in entries.items()
            ],
        }
        for plugin in catalog.plugins
    ]
    found = [{"distribution": p.distribution, "plugin": p.plugin, "message": p.message} for p in problems]
    return {
        "schema": _SCHEMA,
        "command": command,
        "exit_code": int(code),
        "error": None,
        "plugins": plugins,
        "problems": found,
    }


def _kind(entry: Entry) -> str:
    kind = getattr(entry, "kind", None)
    return f"{kind} {entry.noun}" if kind else entry.noun


def _place(entry: Entry) -> str:
    return str(getattr(entry, "path", None) or getattr(entry, "folder", ""))
