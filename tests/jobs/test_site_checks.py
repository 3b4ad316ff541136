"""Single findings of the site check, without an interpreter."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rt_flare.jobs import site_checks
from rt_flare.jobs.site_checks import Level
from rt_flare.jobs.site_kit import StartupKit


def _kit(folder: Path, resources: dict[str, Any]) -> StartupKit:
    return StartupKit(folder, "client", resources, folder / "local" / "resources.json")


@pytest.mark.parametrize(
    ("resources", "level"),
    [
        ({"class_allow_list": ["rt_flare.", "rt_flare_robust."]}, Level.OK),
        ({"class_allow_list": ["rt_flare."]}, Level.FAIL),
        ({"class_allow_list": ["*"]}, Level.WARN),
        ({"class_allow_list": [], "class_list_enforcement_mode": "warn"}, Level.WARN),
        ({}, Level.FAIL),
    ],
)
def test_the_allow_list_is_judged_as_nvflare_reads_it(tmp_path: Path, resources: dict[str, Any], level: Level) -> None:
    """N7."""
    [finding] = site_checks._allow_list(_kit(tmp_path, resources))
    assert finding.level is level


@pytest.mark.parametrize(("free", "level"), [(100 << 30, Level.OK), (5 << 30, Level.WARN), (1 << 29, Level.FAIL)])
def test_little_disk_is_a_warning_and_none_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    """K3: before a shard comes; of a folder that is not there yet, the nearest one counts."""
    named = SimpleNamespace(free=free)
    monkeypatch.setattr(site_checks.shutil, "disk_usage", lambda folder: named if folder == tmp_path else None)
    finding = site_checks._disk("disk", tmp_path / "not" / "there")
    assert finding.level is level
    assert str(tmp_path / "not" / "there") in finding.found


@pytest.mark.parametrize(
    ("promised", "found", "level"), [(0, [], Level.OK), (1, ["H200"], Level.OK), (2, ["H200"], Level.FAIL)]
)
def test_gpus_that_the_kit_promises_must_be_there(
    tmp_path: Path, promised: int, found: list[str], level: Level
) -> None:
    """N7: NVFlare would schedule jobs on them."""
    component = {"id": "resource_manager", "args": {"num_of_gpus": promised}}
    [finding] = site_checks._gpus(_kit(tmp_path, {"components": [component]}), {"gpus": found})
    assert finding.level is level


def test_a_worker_that_cannot_start_is_a_failure_with_its_cause() -> None:
    """N7."""
    trial = {"worker_failure": "the training worker exited with code 1", "worker_seconds": 1.0}
    finding = site_checks._user_code(trial)
    assert (finding.level, finding.found) == (Level.FAIL, "the training worker exited with code 1")
