"""``rt-flare site``: what an administrator sees."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rt_flare.jobs.poc_kits import provision_kits

Result = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return provision_kits(tmp_path_factory.mktemp("kits"), ["site-1"], class_prefixes=[], server_settings={})


@pytest.fixture
def kit(provisioned: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(provisioned / "site-1", tmp_path / "site-1"))
    (copy / "local" / "resources.json").unlink()
    return copy


@pytest.fixture
def site_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a python3 first on the path: this interpreter, or a script with this text."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def put(script: str = f'exec {sys.executable} "$@"') -> None:
        (programs / "python3").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "python3").chmod(0o755)

    return put


def test_allow_prints_the_entries(rt_flare: Callable[..., Result], kit: Path) -> None:
    """N7: one a line, for a configuration of the administrator's own; nothing is written."""
    done = rt_flare("site", "allow", str(kit))
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["rt_flare.", "rt_flare_robust."]
    assert not (kit / "local" / "resources.json").exists()


def test_allow_install_writes_and_dry_run_does_not(rt_flare: Callable[..., Result], kit: Path) -> None:
    """N7: and says which it did."""
    file = kit / "local" / "resources.json"
    done = rt_flare("site", "allow", str(kit), "--dry-run", "--prefix", "mine.")
    assert "mine.                    would be added" in done.stdout
    assert f"{file}: would be written" in done.stdout
    assert not file.exists()
    done = rt_flare("site", "allow", str(kit), "--install", "--format", "json")
    document = json.loads(done.stdout)
    assert (document["missing"], document["written"]) == (["rt_flare.", "rt_flare_robust."], True)
    assert json.loads(file.read_text())["class_allow_list"][-2:] == ["rt_flare.", "rt_flare_robust."]
    done = rt_flare("site", "allow", str(kit), "--install", "--format", "json")
    assert json.loads(done.stdout)["written"] is False


def test_a_folder_that_is_no_kit_is_a_wrong_argument(rt_flare: Callable[..., Result], tmp_path: Path) -> None:
    """N6: exit code 4, and what a kit is."""
    for command in ("allow", "check"):
        done = rt_flare("site", command, str(tmp_path))
        assert done.returncode == 4
        assert "expected the startup kit of a server or a site" in done.stderr
    assert rt_flare("site", "allow", str(tmp_path), "--install", "--dry-run").returncode == 4


def test_outcomes_are_installed_at_the_server_once(
    rt_flare: Callable[..., Result], provisioned: Path, kit: Path
) -> None:
    """X7: beside what is there; a site has nothing to decide."""
    server = Path(shutil.copytree(provisioned / "localhost", kit.parent / "server"))
    (server / "local" / "resources.json").unlink()
    assert "missing: rt_flare.components.lost_sites" in rt_flare("site", "outcomes", str(server)).stdout
    for written in (True, False):
        done = rt_flare("site", "outcomes", str(server), "--install", "--format", "json")
        assert json.loads(done.stdout)["written"] is written
    resources = json.loads((server / "local" / "resources.json").read_text())
    ids = [component["id"] for component in resources["components"]]
    assert ids.count("rt_flare_lost_site_outcomes") == 1
    assert "job_manager" in ids
    assert rt_flare("site", "outcomes", str(kit)).returncode == 4


def test_check_finds_a_ready_site_ready(
    rt_flare: Callable[..., Result], kit: Path, site_python: Callable[..., None], tmp_path: Path
) -> None:
    """N7: with a training worker really started, in the interpreter that start.sh finds."""
    site_python()
    rt_flare("site", "allow", str(kit), "--install")
    done = rt_flare("site", "check", str(kit), "--data-dir", str(tmp_path / "data"), "--format", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["role"]) == (0, 0, "client")
    levels = {row["check"]: row["level"] for row in document["findings"]}
    assert set(levels.values()) <= {"ok", "warn"}
    expected = {"python", "rt-flare", "nvflare", "torch", "class_allow_list", "disk of the kit", "disk of data_dir"}
    assert expected | {"allow_log_streaming", "gpu", "user code", "plugin rt-flare-robust"} <= set(levels)
    found = {row["check"]: row["found"] for row in document["findings"]}
    assert str(tmp_path / "bin" / "python3") in found["python"]
    assert "a training worker started" in found["user code"]


def test_check_names_what_is_missing_and_what_to_do(
    rt_flare: Callable[..., Result], kit: Path, site_python: Callable[..., None]
) -> None:
    """N7: exit code 1; user code is not tried with packages missing."""
    site_python('echo \'{"python": "3.11.7", "rt-flare": null, "nvflare": "2.7.0", "torch": "2.8.0"}\'')
    (kit / "local" / "rt_flare_data.json").write_text('{"data_root": "/no/such/folder"}')
    done = rt_flare("site", "check", str(kit))
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "rt-flare fail not installed" in text
    assert "nvflare fail 2.7.0, rt-flare" in text
    assert "torch ok 2.8.0" in text
    assert "data fail no folder /no/such/folder" in text
    assert "class_allow_list fail rt_flare., rt_flare_robust. not in it" in text
    assert "user code fail not tried install what is missing above first" in text


def test_check_reports_an_interpreter_that_cannot_run(
    rt_flare: Callable[..., Result], kit: Path, site_python: Callable[..., None]
) -> None:
    """N7: with what it printed."""
    site_python("echo broken >&2; exit 3")
    done = rt_flare("site", "check", str(kit), "--format", "json")
    python = next(row for row in json.loads(done.stdout)["findings"] if row["check"] == "python")
    assert python["level"] == "fail"
    assert "exit code 3: broken" in python["found"]


def test_check_warns_where_logs_stay_at_the_site(
    rt_flare: Callable[..., Result], kit: Path, site_python: Callable[..., None]
) -> None:
    """N5: and fails where NVFlare refuses the list."""
    resources = json.loads((kit / "local" / "resources.json.default").read_text())
    resources |= {"allow_log_streaming": False, "class_allow_list": ["rt_flare"]}
    (kit / "local" / "resources.json").write_text(json.dumps(resources))
    site_python('echo \'{"python": "3.11.7", "rt-flare": null, "nvflare": null, "torch": null}\'')
    rows = {
        row["check"]: row
        for row in json.loads(rt_flare("site", "check", str(kit), "--format", "json").stdout)["findings"]
    }
    assert rows["allow_log_streaming"]["level"] == "warn"
    assert "restart the site" in rows["allow_log_streaming"]["advice"]
    assert "NVFlare refuses every component" in rows["class_allow_list"]["found"]
