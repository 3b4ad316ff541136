"""``rt-flare job``: the work, and what is printed of it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rt_flare.catalog import load_catalog
from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.reply import print_json
from rt_flare.jobs.hocon import read_hocon
from rt_flare.jobs.job_folder import ConfigFile, create_job, read_job, read_template_files, set_in_job

__all__ = ["list_command", "new_command", "set_command", "show_command"]

_SCHEMA = "rt_flare.job/1"
_WIDTH = 116


def list_command(*, as_json: bool) -> int:
    """Print every installed template with its description, and return the exit code."""
    catalog = load_catalog()
    templates = [
        {"name": name, **read_hocon(catalog.job_template(name) / "info.conf")} for name in catalog.job_templates
    ]
    if as_json:
        print_json(_document("job list", templates=templates))
        return ExitCode.OK
    width = max((len(template["name"]) for template in templates), default=0)
    for template in templates:
        print(f"{template['name']:{width}}  {template.get('description', '')}")
    return ExitCode.OK


def show_command(*, target: str, as_json: bool) -> int:
    """Print every setting of a template or a job, and return the exit code."""
    folder = Path(target)
    files = read_job(folder) if folder.is_dir() else read_template_files(target)
    if as_json:
        print_json(_document("job show", files=[_described(file) for file in files]))
        return ExitCode.OK
    for file in files:
        _print_file(file)
    return ExitCode.OK


def new_command(*, template: str, out: Path, values: Sequence[str], model_def: Path | None, as_json: bool) -> int:
    """Make a job, say what is still missing in it, and return the exit code."""
    files = create_job(template, out, values, model_def=model_def)
    notes = _missing(files, out)
    if as_json:
        print_json(_document("job new", job=str(out), files=[_described(file) for file in files], notes=notes))
        return ExitCode.OK
    print(f"{out}: a job from {template}. Run it with: rt-flare run {out}; or: nvflare job submit -j {out}")
    for note in notes:
        print(f"  {note}")
    return ExitCode.OK


def set_command(*, job: Path, values: Sequence[str], as_json: bool) -> int:
    """Change settings of a job, say which, and return the exit code."""
    changes = set_in_job(job, values)
    if as_json:
        changed = [{"path": str(path), "values": new} for path, new in changes.items()]
        print_json(_document("job set", job=str(job), changed=changed))
        return ExitCode.OK
    for path, new in changes.items():
        for name, value in new.items():
            print(f"{path.relative_to(job)}: {name} = {json.dumps(value)}")
    return ExitCode.OK


def _document(command: str, **content: Any) -> dict[str, Any]:
    return {"schema": _SCHEMA, "command": command, "exit_code": int(ExitCode.OK), "error": None, **content}


def _described(file: ConfigFile) -> dict[str, Any]:
    settings = [{"name": s.name, "value": s.value, "meaning": s.comment, "section": s.section} for s in file.settings]
    return {"kind": file.kind, "path": str(file.path), "settings": settings}


def _print_file(file: ConfigFile) -> None:
    print(f"{file.path.name} ({file.kind})")
    section, said = "", ""
    for setting in file.settings:
        if setting.section != section:
            section = setting.section
            print(f"\n  {section}")
        print(f"    {setting.name} = {json.dumps(setting.value)}")
        if setting.comment != said:
            said = setting.comment
            print(textwrap.fill(said, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8))
    print()


def _missing(files: Sequence[ConfigFile], out: Path) -> list[str]:
    """What a job cannot run without and the template cannot know."""
    meta, server, client = (file.content for file in files)
    notes = []
    custom = out / "app" / "custom"
    module = str(client.get("USER_MODULE", ""))
    if module and "." not in module and not (custom / f"{module}.py").is_file():
        notes.append(f"It has no {module}.py yet: put one into {custom}, or give --model-def")
    if server.get("MIN_CLIENTS") != meta.get("min_clients"):
        notes.append(
            f"MIN_CLIENTS is {server.get('MIN_CLIENTS')} and min_clients of {files[0].path.name} is "
            f"{meta.get('min_clients')}: updates that a round needs, and sites that the job needs"
        )
    places = ("DATA_ROOT", "SHARDS_DIR", "SHARDS_FROM_SERVER")
    if not any(client.get(name) for name in places):
        named = ", ".join(name for name in places if name in client)
        notes.append(f"It names no data ({named}): every site must name its own, in its local/rt_flare_data.json")
    return notes
