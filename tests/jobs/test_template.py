"""The job templates as NVFlare reads them."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nvflare
import pytest
from nvflare.fuel.utils.config_factory import ConfigFactory
from nvflare.fuel.utils.json_scanner import JsonScanner
from nvflare.fuel.utils.wfconf import resolve_var_refs

from rt_flare.errors import ConfigError
from rt_flare.jobs.template import find_template, load_template, references, variables

CONFIGS = ("config_fed_server", "config_fed_client")
FILES = {"config_fed_server.conf", "config_fed_client.conf", "meta.conf", "info.conf", "info.md"}
STRUCTURE = {
    *("format_version", "server", "task_data_filters", "task_result_filters"),
    *("components", "workflows", "executors"),
}


def _resolved(config: str) -> dict[str, Any]:
    """A configuration of the template, loaded and resolved by NVFlare's own code."""
    path = find_template("rt_fedavg") / f"{config}.conf"
    data = ConfigFactory.load_config(str(path)).to_dict()
    resolve_var_refs(JsonScanner(data), dict(data))
    return data


def _components(config: dict[str, Any]) -> list[dict[str, Any]]:
    executors = [entry["executor"] for entry in config.get("executors", [])]
    return [*config["components"], *config.get("workflows", []), *executors]


def test_a_template_has_the_files_that_nvflare_looks_for() -> None:
    """N1."""
    assert {path.name for path in find_template("rt_fedavg").iterdir()} == FILES


@pytest.mark.parametrize("config", CONFIGS)
def test_every_variable_is_used_and_every_reference_defined(config: str) -> None:
    """N1: a variable that nothing reads would be set in vain."""
    template = load_template("rt_fedavg")
    content = template.server if config == "config_fed_server" else template.client
    assert variables(content) == references(content)


@pytest.mark.parametrize("config", CONFIGS)
def test_no_variable_has_the_name_of_an_argument(config: str) -> None:
    """N1: `nvflare job create -f file key=value` changes every key of that name, at any depth."""
    data = _resolved(config)
    arguments = {name for component in _components(data) for name in component["args"]}
    assert not variables(data) & (arguments | STRUCTURE)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_arguments_are_those_of_the_components(config: str) -> None:
    """N1, T12: none missing, none unknown, each with its component's own default."""
    for component in _components(_resolved(config)):
        module, _, name = component["path"].rpartition(".")
        signature = inspect.signature(getattr(importlib.import_module(module), name))
        assert component["args"] == {key: parameter.default for key, parameter in signature.parameters.items()}, name


@pytest.mark.parametrize("config", CONFIGS)
def test_every_other_top_level_key_has_a_reader_in_the_installed_nvflare(config: str) -> None:
    """T12."""
    keys = set(_resolved(config)) - STRUCTURE - variables(_resolved(config))
    sources = [p.read_text() for p in (Path(nvflare.__file__).parent / "private" / "fed").rglob("*.py")]
    constants = (Path(nvflare.__file__).parent / "apis" / "fl_constant.py").read_text()
    for key in keys:
        assert f'"{key}"' in constants or any(f'"{key}"' in source for source in sources), key


def test_every_value_is_explained() -> None:
    """N1: the line above each variable, or above the group that it closes, is a comment."""
    for config in CONFIGS:
        lines = (find_template("rt_fedavg") / f"{config}.conf").read_text().splitlines()
        for number, line in enumerate(lines):
            name = line.split(" ")[0]
            if name.isupper() and " = " in line:
                above = lines[number - 1]
                assert above.startswith("#") or above.split(" ")[0].isupper(), f"{config}: {name}"


def test_an_unknown_template_is_an_error_with_the_nearest_name() -> None:
    """C6."""
    with pytest.raises(ConfigError, match=r"job template 'rt_fedavgg' is not installed\. Did you mean 'rt_fedavg'"):
        load_template("rt_fedavgg")


def test_an_unknown_variable_is_an_error_with_the_nearest_name() -> None:
    """T12."""
    with pytest.raises(ConfigError, match=r"no variable 'NUM_ROUND'; did you mean 'NUM_ROUNDS'"):
        load_template("rt_fedavg").with_variables(server={"NUM_ROUND": 3}, client={})


def test_setting_variables_leaves_the_template_as_it_was() -> None:
    """N1."""
    template = load_template("rt_fedavg")
    changed = template.with_variables(server={"NUM_ROUNDS": 9}, client={"EXTRA": {"a": 1}})
    assert (changed.server["NUM_ROUNDS"], changed.client["EXTRA"]) == (9, {"a": 1})
    assert (template.server["NUM_ROUNDS"], template.client["EXTRA"]) == (5, None)


def test_nvflares_own_template_commands_list_and_use_it(tmp_path: Path) -> None:
    """N1."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    folder = find_template("rt_fedavg")

    def nvflare_job(*arguments: str) -> str:
        command = [sys.executable, "-m", "nvflare.cli", "job", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    listed = nvflare_job("list-templates", "-d", str(folder.parent))
    assert "rt_fedavg" in listed
    assert "federated averaging" in listed
    nvflare_job("create", "-j", "job", "-w", str(folder), "-f", "config_fed_server.conf", "NUM_ROUNDS=7")
    assert "NUM_ROUNDS" in nvflare_job("show-variables", "-j", "job")
    data = ConfigFactory.load_config(str(tmp_path / "job/app/config/config_fed_server.conf")).to_dict()
    resolve_var_refs(JsonScanner(data), dict(data))
    assert data["workflows"][0]["args"]["num_rounds"] == 7
    assert (tmp_path / "job" / "meta.conf").is_file()
