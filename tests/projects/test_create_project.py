"""Projects to begin with: they are written, checked and run as they are, offline (K10, X5)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rt_flare.errors import DataError, JobError
from rt_flare.jobs.check.offline_check import check_path
from rt_flare.jobs.check.options import CheckOptions
from rt_flare.jobs.project import read_project, render_project
from rt_flare.projects import ProjectKind, create_project


def _rt_flare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "rt-flare")]
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow if kind in (ProjectKind.TABULAR, ProjectKind.TEXT) else [])
        for kind in ProjectKind
    ],
)
def test_a_project_is_written_with_its_data_and_has_no_mistake(tmp_path: Path, kind: ProjectKind) -> None:
    """C6, K1, K10: read, rendered and checked; the code itself runs in the slow test below."""
    files = create_project(kind, tmp_path / "mine")
    assert {path.name for path in files} == {"README.md", "make_data.py", "model_def.py", "rt_flare.toml"}
    assert check_path(tmp_path / "mine", CheckOptions(dry_run=False)).findings == ()
    job, sites = render_project(read_project(tmp_path / "mine"), tmp_path / "job")
    assert sites == ["site-1", "site-2", "site-3"]
    assert (job / "app/custom/model_def.py").read_text() == (tmp_path / "mine/model_def.py").read_text()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """N6."""
    (tmp_path / "mine.txt").touch()
    with pytest.raises(JobError, match="not empty"):
        create_project(ProjectKind.TEXT, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_data_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """N6: the script's own words."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy today')")
    with pytest.raises(DataError, match="no numpy today"):
        create_project(ProjectKind.TEXT, tmp_path / "mine")


@pytest.mark.slow
@pytest.mark.simulator
@pytest.mark.parametrize("kind", [kind.value for kind in ProjectKind])
def test_init_check_and_run_work_at_the_first_try(tmp_path: Path, kind: str) -> None:
    """X5, K10: the three commands of the project's README, and the model has learned."""
    assert _rt_flare(tmp_path, "init", "mine", "--kind", kind).returncode == 0
    checked = _rt_flare(tmp_path / "mine", "check", ".", "--format", "json")
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["findings"] == []
    ran = _rt_flare(tmp_path / "mine", "run", ".", "--format", "json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert (document["state"], len(document["rounds"])) == ("FINISHED", 5)
    assert (tmp_path / "mine/run/model_out/global_model.pt").is_file()
    again = _rt_flare(tmp_path / "mine", "check", ".", "--format", "json")
    assert json.loads(again.stdout)["findings"] == []
