"""docs/jobs.md names what exists."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import typer
from nvflare.apis.job_def import RunStatus

from rt_flare.cli.app import app
from rt_flare.configs import FederationConfig, ResonTechConfig, TrainingConfig
from rt_flare.jobs.job_results import JobResults
from rt_flare.jobs.outcome import JobState
from rt_flare.jobs.submitted_job import Job
from rt_flare.sdk import ResonTech

PAGE = (Path(__file__).parents[1] / "docs" / "jobs.md").read_text()


def test_every_command_of_the_page_exists_with_its_options() -> None:
    """N6: drift."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = re.findall(r"^rt-flare (\w+)(.*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
    assert {"submit", "status", "watch", "stop", "cancel", "resume", "logs", "results"} == {name for name, _ in lines}
    for name, rest in lines:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= options


def test_the_pages_python_fits_the_signatures() -> None:
    """C5: every keyword and method in it is one that exists."""
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    known = {
        "rt_submit": set(inspect.signature(ResonTech.rt_submit).parameters),
        "ResonTechConfig": set(ResonTechConfig.model_fields),
        "TrainingConfig": set(TrainingConfig.model_fields),
        "FederationConfig": set(FederationConfig.model_fields),
    }
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert {keyword.arg for keyword in node.keywords} <= known.get(name, set())
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "job":
            assert hasattr(Job, node.attr)
    assert "results().download(" in block
    assert hasattr(JobResults, "download")


def test_the_page_names_every_state_and_status() -> None:
    """J1, J4."""
    for state in JobState:
        assert f"| `{state.value}` |" in PAGE
    for status in RunStatus:
        assert status.value.removeprefix("FINISHED:") in PAGE
