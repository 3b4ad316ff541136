"""Startup kits for an NVFlare deployment on this machine: made by ``nvflare provision``, completed here."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rt_flare.core.credentials import without_credentials
from rt_flare.core.durable_io import read_json, write_json
from rt_flare.errors import DeploymentError
from rt_flare.jobs.site_outcomes import OUTCOMES_COMPONENT

__all__ = ["ADMIN", "SERVER", "private_environment", "provision_kits", "start_command"]

SERVER = "localhost"
ADMIN = "admin@example.com"
_PROJECT = "poc"
_ORGANISATION = "rt"
_PROVISION_SECONDS = 120
_START_LINE = re.compile(r'^\s*exec python3 (?P<module>-u -m \S+) -m "\$WORKSPACE" (?P<rest>.*)$', re.MULTILINE)


def provision_kits(
    folder: Path,
    sites: Sequence[str],
    *,
    class_prefixes: Sequence[str],
    server_settings: Mapping[str, Any],
) -> Path:
    """Make the kits of a server, the sites and one administrator in the empty folder ``folder``.

    Args:
        folder: absolute path without characters that a shell interprets.
        sites: names of the sites.
        class_prefixes: packages, as ``"rt_flare."``, whose classes a job without custom code may use.
        server_settings: keys of the first entry of ``servers`` in the server's ``local/resources.json``.

    Returns:
        The folder with one kit per participant.

    Raises:
        DeploymentError: ``nvflare provision`` failed; the message holds its output.
    """
    fed_learn_port, admin_port = _free_ports(2)
    participants = [
        {
            "name": SERVER,
            "type": "server",
            "org": _ORGANISATION,
            "fed_learn_port": fed_learn_port,
            "admin_port": admin_port,
        },
        *({"name": site, "type": "client", "org": _ORGANISATION} for site in sites),
        {"name": ADMIN, "type": "admin", "org": _ORGANISATION, "role": "project_admin"},
    ]
    builders = [
        {
            "path": "nvflare.lighter.impl.workspace.WorkspaceBuilder",
            "args": {"template_file": ["master_template.yml"]},
        },
        {"path": "nvflare.lighter.impl.static_file.StaticFileBuilder", "args": {"config_folder": "config"}},
        {"path": "nvflare.lighter.impl.cert.CertBuilder"},
        {"path": "nvflare.lighter.impl.signature.SignatureBuilder"},
    ]
    # YAML reads JSON.
    write_json(
        folder / "project.yml",
        {
            "api_version": 3,
            "name": _PROJECT,
            "description": "a deployment on one machine",
            "participants": participants,
            "builders": builders,
        },
    )
    command = [sys.executable, "-m", "nvflare.cli", "provision", "-p", "project.yml", "-w", "kits"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=private_environment(folder, without_credentials(os.environ)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PROVISION_SECONDS,
        check=False,
    )
    kits = folder / "kits" / _PROJECT / "prod_00"
    if done.returncode != 0 or not (kits / SERVER).is_dir():
        raise DeploymentError(
            f"{folder}: `nvflare provision` failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    for name in (SERVER, *sites):
        _complete_resources(kits / name, folder, class_prefixes, server_settings if name == SERVER else {})
    return kits


def private_environment(folder: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """``inherited`` for NVFlare's processes: our interpreter's programs first, a home folder of the deployment's.

    NVFlare writes to the home folder; a deployment must not change the user's settings.
    """
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in inherited.items() if not key.startswith(("NVFL_", "NVFLARE_STARTUP"))}
    programs = str(Path(sys.executable).parent)
    return environment | {"HOME": str(home), "PATH": f"{programs}{os.pathsep}{environment.get('PATH', os.defpath)}"}


def start_command(kit: Path) -> list[str]:
    """The Python command that the kit's ``startup/sub_start.sh`` runs.

    Raises:
        DeploymentError: the script has no such line: this NVFlare is not one that rt_flare knows.
    """
    script = kit / "startup" / "sub_start.sh"
    match = _START_LINE.search(script.read_text())
    if match is None:
        raise DeploymentError(f'{script}: expected a line `exec python3 -u -m MODULE -m "$WORKSPACE" ...`, found none')
    return [sys.executable, *shlex.split(match["module"]), "-m", str(kit), *shlex.split(match["rest"])]


def _complete_resources(
    kit: Path, folder: Path, class_prefixes: Sequence[str], server_settings: Mapping[str, Any]
) -> None:
    """Write the kit's ``local/resources.json``; NVFlare reads it instead of the default beside it, not in addition."""
    resources = read_json(kit / "local" / "resources.json.default")
    resources["class_allow_list"] = [*resources["class_allow_list"], *class_prefixes]
    for entry in resources.get("servers", [])[:1]:
        entry.update(server_settings)
    # By default every deployment on a machine keeps its jobs in one folder below the system's temporary folder.
    if "servers" in resources:
        resources["components"] = [*resources.get("components", []), OUTCOMES_COMPONENT]
    if "snapshot_persistor" in resources:
        storage = resources["snapshot_persistor"]["args"]["storage"]
        storage["args"]["root_dir"] = str(folder / "storage" / "snapshots")
    for component in resources.get("components", []):
        if component["id"] == "job_manager":
            component["args"]["uri_root"] = str(folder / "storage" / "jobs")
    write_json(kit / "local" / "resources.json", resources)


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [int(bound.getsockname()[1]) for bound in sockets]
