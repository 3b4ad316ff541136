"""What a site or a server must have before jobs come: one finding for each, with what to do."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from rt_flare.data.own_data import OWN_DATA_FILE, read_own_data
from rt_flare.errors import ConfigError, KitError
from rt_flare.jobs.site_allow import missing_prefixes, needed_prefixes
from rt_flare.jobs.site_kit import StartupKit
from rt_flare.jobs.site_outcomes import plan_outcomes

__all__ = ["Finding", "Level", "check_kit"]

_PACKAGES = ("rt-flare", "nvflare", "torch")
_VERSIONS = f"""
import importlib.metadata, json, sys
found = {{"python": "%d.%d.%d" % sys.version_info[:3]}}
for name in {_PACKAGES!r}:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""
_VERSIONS_SECONDS = 60
_TRIAL_SECONDS = 300
_GIB = 1 << 30
_LITTLE_DISK_BYTES = 10 * _GIB
_NO_DISK_BYTES = _GIB


class Level(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One row of the check.

    Attributes:
        check: what was looked at.
        level: how it stands.
        found: what was found.
        advice: what to do; "" when nothing is to be done.
    """

    check: str
    level: Level
    found: str
    advice: str = ""


def check_kit(kit: StartupKit, *, data_dir: Path) -> list[Finding]:
    """Check a kit and the interpreter that its ``start.sh`` finds.

    Args:
        kit: of a server or a site.
        data_dir: folder that shards are unpacked in; looked at for sites.
    """
    findings = [*_python(kit), *_allow_list(kit), _disk("disk of the kit", kit.folder)]
    if kit.role == "client":
        findings += [_data(kit, data_dir), _log_streaming(kit)]
    else:
        findings.append(_outcomes(kit))
    if kit.python is None or any(f.level is Level.FAIL and f.check in _PACKAGES for f in findings):
        return [*findings, Finding("user code", Level.FAIL, "not tried", "install what is missing above first")]
    trial = _run(kit.python, ["-P", "-m", "rt_flare.jobs.site_trial"], _TRIAL_SECONDS)
    if isinstance(trial, str):
        return [*findings, Finding("user code", Level.FAIL, trial, _reinstall(kit.python))]
    return [*findings, *_plugins(trial), *(_gpus(kit, trial) if kit.role == "client" else []), _user_code(trial)]


def _python(kit: StartupKit) -> Iterator[Finding]:
    python = kit.python
    if python is None:
        yield Finding("python", Level.FAIL, "no python3 on the path", "put the right environment's bin folder on PATH")
        return
    versions = _run(python, ["-c", _VERSIONS], _VERSIONS_SECONDS)
    if isinstance(versions, str):
        yield Finding("python", Level.FAIL, f"{python}: {versions}", "put the right environment's bin folder on PATH")
        return
    yield Finding("python", Level.OK, f"{versions['python']}, {python}")
    required = {requirement.name: requirement.specifier for requirement in _requirements()}
    here = importlib.metadata.version("rt-flare")
    for name in _PACKAGES:
        version, install = versions[name], f"{python} -m pip install '{name}{required.get(name, '')}'"
        if version is None:
            yield Finding(name, Level.FAIL, "not installed", install)
        elif name in required and not required[name].contains(version, prereleases=True):
            yield Finding(name, Level.FAIL, f"{version}, rt-flare {here} needs {required[name]}", install)
        elif name == "rt-flare" and version != here:
            yield Finding(name, Level.WARN, f"{version}, this command's is {here}", "use one version at all sites")
        else:
            yield Finding(name, Level.OK, version)


def _allow_list(kit: StartupKit) -> Iterator[Finding]:
    check = "class_allow_list"
    try:
        missing = missing_prefixes(kit, needed_prefixes())
    except KitError as error:
        yield Finding(check, Level.FAIL, str(error), f"correct {kit.resources_file}")
        return
    install = f"rt-flare site allow {kit.folder} --install"
    if missing and kit.resources.get("class_list_enforcement_mode") == "warn":
        yield Finding(check, Level.WARN, f"{', '.join(missing)} only warned of (mode warn)", install)
    elif missing:
        refused = "jobs without custom code that use it are refused"
        yield Finding(check, Level.FAIL, f"{', '.join(missing)} not in it: {refused}", install)
    elif "*" in kit.resources.get(check, []):
        yield Finding(check, Level.WARN, "it allows every class (*)", "list what jobs may use instead")
    else:
        yield Finding(check, Level.OK, f"allows {', '.join(needed_prefixes())}")


def _log_streaming(kit: StartupKit) -> Finding:
    if kit.resources.get("allow_log_streaming", True):
        return Finding("allow_log_streaming", Level.OK, "the server gets this site's logs and files")
    advice = f'to change that: "allow_log_streaming": true in {kit.own_resources_file}, and restart the site'
    return Finding("allow_log_streaming", Level.WARN, "false: logs and files of user code stay at this site", advice)


def _outcomes(kit: StartupKit) -> Finding:
    if not plan_outcomes(kit).added:
        return Finding("lost sites", Level.OK, "a restarted site does not spoil the status of a finished job")
    found = "a site that is restarted during a job makes NVFlare call the finished job ABNORMAL"
    return Finding("lost sites", Level.WARN, found, f"rt-flare site outcomes {kit.folder} --install, and restart it")


def _data(kit: StartupKit, data_dir: Path) -> Finding:
    try:
        own = read_own_data(kit.folder / "local", os.environ)
    except ConfigError as error:
        return Finding("data", Level.FAIL, str(error), f"correct {kit.folder / 'local' / OWN_DATA_FILE}")
    if own.data_root and not Path(own.data_root).is_dir():
        return Finding("data", Level.FAIL, f"no folder {own.data_root}", f"mount it, or correct {OWN_DATA_FILE}")
    return Finding("data", Level.OK, own.data_root) if own.data_root else _disk("disk of data_dir", data_dir)


def _disk(check: str, folder: Path) -> Finding:
    present = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(present).free
    found = f"{free / _GIB:.1f} GiB free for {folder}"
    if not os.access(present, os.W_OK | os.X_OK):
        return Finding(check, Level.FAIL, f"{present} cannot be written to", "give the user that runs NVFlare access")
    if free < _LITTLE_DISK_BYTES:
        level = Level.FAIL if free < _NO_DISK_BYTES else Level.WARN
        return Finding(check, level, found, "free some: a shard needs its size twice while it is unpacked")
    return Finding(check, Level.OK, found)


def _plugins(trial: Mapping[str, Any]) -> Iterator[Finding]:
    for distribution, version in sorted(trial["plugins"].items()):
        yield Finding(f"plugin {distribution}", Level.OK, version)
    for problem in trial["problems"]:
        yield Finding("plugin", Level.FAIL, problem, "uninstall it or install another version")


def _gpus(kit: StartupKit, trial: Mapping[str, Any]) -> Iterator[Finding]:
    gpus = trial["gpus"]
    components: list[dict[str, Any]] = kit.resources.get("components", [])
    component = next((c for c in components if c.get("id") == "resource_manager"), {})
    promised = component.get("args", {}).get("num_of_gpus", 0)
    if promised > len(gpus):
        found = f"PyTorch finds {len(gpus)}, the kit promises {promised}"
        yield Finding("gpu", Level.FAIL, found, f"correct num_of_gpus in {kit.own_resources_file}, or the driver")
    else:
        yield Finding("gpu", Level.OK, ", ".join(gpus) or "none: training runs on the CPU")


def _user_code(trial: Mapping[str, Any]) -> Finding:
    if trial["worker_failure"] is not None:
        return Finding("user code", Level.FAIL, trial["worker_failure"], "the training worker must be able to start")
    return Finding("user code", Level.OK, f"a training worker started and trained in {trial['worker_seconds']:.1f} s")


def _run(python: Path, arguments: list[str], timeout_seconds: int) -> dict[str, Any] | str:
    """The JSON that the kit's interpreter prints, or what went wrong."""
    try:
        done = subprocess.run(
            [str(python), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        return f"exit code {error.returncode}: {error.stderr.strip()[-2000:]}"
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_seconds} s"
    except (OSError, json.JSONDecodeError) as error:
        return str(error)
    return found


def _requirements() -> list[Requirement]:
    return [Requirement(text) for text in importlib.metadata.requires("rt-flare") or []]


def _reinstall(python: Path) -> str:
    return f"{python} -m pip install 'rt-flare=={importlib.metadata.version('rt-flare')}'"
