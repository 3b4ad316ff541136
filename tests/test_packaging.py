"""What is shipped: wheels with everything that the package reads, built from the sdists, on every Python (P4)."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if path.is_dir())
PYTHONS = ("3.11", "3.12", "3.13")


def _files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


def _uv(*arguments: str) -> None:
    # Set by `python -m uv`: it would take that interpreter's environment for ours.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("UV_INTERNAL", "VIRTUAL_ENV"))}
    done = subprocess.run(["uv", *arguments], cwd=ROOT, env=inherited, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sdists of all packages, and the wheels that come of them."""
    folder = tmp_path_factory.mktemp("dist")
    offline = ["--offline", "--no-build-isolation", "--python", sys.executable]
    _uv("build", "--quiet", "--all-packages", "--out-dir", str(folder), *offline)
    return folder


def test_the_wheel_has_every_file_of_the_package_and_the_job_templates(dist: Path) -> None:
    """Schemas, projects, the report's assets, the table of failures, templates; and nothing else."""
    (wheel,) = dist.glob("rt_flare-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {f"rt_flare/{name}" for name in _files(ROOT / "rt_flare")}
    expected |= {f"rt_flare/_job_templates/{name}" for name in _files(ROOT / "job_templates")}
    assert sorted(expected - names) == []
    assert sorted(names - expected) == []
    assert {".json", ".toml", ".conf", ".css", ".js", ".j2", ".md", ".typed"} <= {Path(name).suffix for name in names}


def test_the_sdist_has_what_builds_and_tests_it(dist: Path) -> None:
    """The wheels here were built from the sdists."""
    (sdist,) = dist.glob("rt_flare-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("rt_flare", "job_templates", "plugins", "tests", "docs", "benchmarks"):
        missing = {f"{folder}/{name}" for name in _files(ROOT / folder)} - names
        assert not missing
    assert {".ci/run", "README.md", "CHANGELOG.md", "LICENSE", "mkdocs.yml", "pyproject.toml"} <= names
    assert not [name for name in names if name.endswith((".lock", ".pyc"))]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugins_wheel_has_its_modules_and_its_entry_point(dist: Path, plugin: str) -> None:
    """P4"""
    (wheel,) = dist.glob(f"{plugin.replace('-', '_')}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert archive.read(points).startswith(b"[rt_flare]\n")
    assert _files(ROOT / "plugins" / plugin / "src") <= names


@pytest.mark.slow
@pytest.mark.simulator
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("python", PYTHONS)
def test_a_fresh_environment_runs_the_quickstart_and_takes_every_plugin(
    dist: Path, tmp_path: Path, python: str
) -> None:
    """P4, P5: the wheels, from elsewhere than the sources; what they depend on comes from the package index."""
    found = subprocess.run(
        ["uv", "python", "find", "--no-project", "--no-python-downloads", python],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"there is no Python {python} here: uv python install {python}")
    venv = tmp_path / "venv"
    _uv("venv", "--quiet", "--python", found.stdout.strip(), str(venv))
    interpreter = str(venv / "bin" / "python")
    (wheel,) = dist.glob("rt_flare-*.whl")
    _uv("pip", "install", "--quiet", "--python", interpreter, f"{wheel}[quickstart]")
    for plugin in PLUGINS:
        (wheel,) = dist.glob(f"{plugin.replace('-', '_')}-*.whl")
        _uv("pip", "install", "--quiet", "--python", interpreter, str(wheel))
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    outputs = {}
    for words in ("quickstart --rounds 2", "plugins check", "report rt-quickstart/jobs/digits", "job list"):
        command = [str(venv / "bin" / "rt-flare"), *words.split()]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        outputs[words] = done
    assert "FINISHED: 2 of 2 rounds" in outputs["quickstart --rounds 2"].stdout
    assert "All of it can be used" in outputs["plugins check"].stdout
    assert (tmp_path / "rt-quickstart" / "jobs" / "digits" / "report.html").is_file()
