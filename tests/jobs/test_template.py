"""The job templates as NVFlare reads them."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nvflare
import pytest
from nvflare.fuel.utils.config_factory import ConfigFactory
from nvflare.fuel.utils.json_scanner import JsonScanner
from nvflare.fuel.utils.wfconf import resolve_var_refs

from rt_flare.builtin_plugin import rt_flare_job_templates
from rt_flare.errors import ConfigError
from rt_flare.jobs.assignments import settable
from rt_flare.jobs.config_lines import read_settings
from rt_flare.jobs.template import find_template, load_template, references, variables

TEMPLATES = sorted(rt_flare_job_templates())
CONFIGS = ("config_fed_server", "config_fed_client")
FILES = {"config_fed_server.conf", "config_fed_client.conf", "meta.conf", "info.conf", "info.md"}
STRUCTURE = {"id", "path", "args", "tasks", "executor"}
# What is said of a setting with the same value as in rt_fedavg, in other words there.
OTHER_WORDS = {
    ("rt_custom", "EXTRA"),
    ("rt_custom", "DATA_ROOT"),
    ("rt_llm_lora", "EXTRA"),
    ("rt_llm_lora", "MODEL_PATH"),
    ("rt_sag", "MIN_CLIENTS"),
    ("rt_sag", "ROUND_TIMEOUT_SECONDS"),
    ("rt_site_data", "DATA_ROOT"),
    ("rt_site_data", "INITIAL_CHECKPOINT"),
    ("rt_site_data", "MANIFEST_FILE"),
}
# What rt_fedavg has and another template is meant to lack: a component, or an argument of one.
LEFT_OUT = {
    "rt_custom": {
        f"executor.{name}" for name in ("adapter", "adapter_args", "img_size", "num_classes", "manifest_file")
    },
    "rt_llm_lora": {"executor.img_size", "executor.num_classes"},
    "rt_sag": {"rt_fedavg"},
    "rt_site_data": {
        *("shard_urls", "site_file_receiver.site_shards", "executor.data_dir", "executor.shards_dir"),
        *("executor.shards_from_server", "executor.site_shards", "executor.cache_max_bytes"),
    },
}
each_template = pytest.mark.parametrize("template", TEMPLATES)
each_config = pytest.mark.parametrize("config", CONFIGS)


def _resolved(template: str, config: str) -> dict[str, Any]:
    """A configuration of the template, loaded and resolved by NVFlare's own code."""
    data = ConfigFactory.load_config(str(find_template(template) / f"{config}.conf")).to_dict()
    resolve_var_refs(JsonScanner(data), dict(data))
    return dict(data)


def _components(config: dict[str, Any]) -> list[dict[str, Any]]:
    executors = [entry["executor"] for entry in config.get("executors", [])]
    return [*config["components"], *config.get("workflows", []), *executors]


def _leaves(value: Any) -> Iterator[tuple[str, str]]:
    """Every key at any depth with its value, as text."""
    if isinstance(value, dict):
        yield from ((key, json.dumps(item)) for key, item in value.items())
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)


@each_template
def test_a_template_has_the_files_that_nvflare_looks_for(template: str) -> None:
    """N1."""
    assert {path.name for path in find_template(template).iterdir()} == FILES
    info = load_template(template).info
    assert set(info) == {"description", "controller_type", "execution_api_type", "timeouts"}
    assert load_template(template).meta["name"] == template


@each_template
@each_config
def test_every_variable_is_used_and_every_reference_defined(template: str, config: str) -> None:
    """N1: a variable that nothing reads would be set in vain."""
    loaded = load_template(template)
    content = loaded.server if config == "config_fed_server" else loaded.client
    assert variables(content) == references(content)


@each_template
@each_config
def test_a_name_stands_for_one_thing_in_a_file(template: str, config: str) -> None:
    """N1: `nvflare job create -f file key=value` changes every key of that name, at any depth."""
    content = ConfigFactory.load_config(str(find_template(template) / f"{config}.conf")).to_dict()
    values: dict[str, set[str]] = {}
    for name, value in _leaves(content):
        values.setdefault(name, set()).add(value)
    assert [name for name, found in values.items() if len(found) > 1 and name not in STRUCTURE] == []


@each_config
def test_the_arguments_of_the_plain_template_are_those_of_the_components(config: str) -> None:
    """N1, T12: none missing, none unknown, each with its component's own default."""
    for component in _components(_resolved("rt_fedavg", config)):
        module, _, name = component["path"].rpartition(".")
        signature = inspect.signature(getattr(importlib.import_module(module), name))
        defaults = {key: parameter.default for key, parameter in signature.parameters.items()}
        defaults.pop("resume_from", None)  # of the jobs that `rt-flare resume` makes
        assert component["args"] == defaults, name


@each_template
@each_config
def test_what_the_plain_template_has_the_others_have_too(template: str, config: str) -> None:
    """N1: but for what they are meant to lack, so that a new component or argument reaches all of them."""
    plain, other = (
        {component.get("id", "executor"): set(component["args"]) for component in _components(_resolved(name, config))}
        for name in ("rt_fedavg", template)
    )
    lacking = {*(plain.keys() - other.keys())}
    lacking |= {f"{key}.{name}" for key in plain.keys() & other.keys() for name in plain[key] - other[key]}
    assert lacking == {name for name in LEFT_OUT.get(template, ()) if name.partition(".")[0] in plain}


@each_template
@each_config
def test_every_component_can_be_made_with_its_arguments(template: str, config: str) -> None:
    """N1, T12: the class takes these names and values."""
    for component in _components(_resolved(template, config)):
        module, _, name = component["path"].rpartition(".")
        getattr(importlib.import_module(module), name)(**component["args"])


@each_template
@each_config
def test_every_other_top_level_key_has_a_reader_in_the_installed_nvflare(template: str, config: str) -> None:
    """T12."""
    text = "\n".join(
        path.read_text()
        for folder in ("private/fed", "apis", "fuel/utils/fobs")
        for path in (Path(nvflare.__file__).parent / folder).rglob("*.py")
    )
    content = _resolved(template, config)
    for key in set(settable(content)) - variables(content):
        # The prefix is put on where the key is read.
        assert f'"{key.removeprefix("tensor_")}"' in text, key


@each_template
def test_both_ends_of_a_transfer_have_the_same_limits(template: str) -> None:
    """T12: the sender's file decides, so a key in one of them would hold one way only."""
    loaded = load_template(template)
    server, client = (
        {key: value for key, value in content.items() if key.startswith("tensor_")}
        for content in (loaded.server, loaded.client)
    )
    assert server == client


@each_template
def test_every_setting_stands_on_a_line_of_its_own_and_is_explained(template: str) -> None:
    """N1: by the comment above it, or above the group that it belongs to."""
    for config in (*CONFIGS, "meta"):
        path = find_template(template) / f"{config}.conf"
        content = ConfigFactory.load_config(str(path)).to_dict()
        said = {setting.name: setting.comment for setting in read_settings(path.read_text(), str(path))}
        for name in settable(content):
            assert said[name], f"{path}: {name}"


@each_template
@each_config
def test_the_same_setting_is_explained_in_the_same_words(template: str, config: str) -> None:
    """N1: unless its value is another one."""
    here, there = (
        {setting.name: setting for setting in read_settings((find_template(name) / f"{config}.conf").read_text(), name)}
        for name in (template, "rt_fedavg")
    )
    differing = {
        (template, name)
        for name in here.keys() & there.keys()
        if here[name].comment != there[name].comment and here[name].value == there[name].value
    }
    assert differing <= OTHER_WORDS


@each_template
def test_the_timeouts_stand_in_one_block_that_names_their_preset(template: str) -> None:
    """T9."""
    preset = load_template(template).info["timeouts"]
    for config in CONFIGS:
        path = find_template(template) / f"{config}.conf"
        content = settable(load_template(template).server if "server" in config else load_template(template).client)
        blocks = {s.section for s in read_settings(path.read_text(), config) if s.name in content and s.name.islower()}
        assert len(blocks) <= 1
        assert all(f"the preset {preset}" in block for block in blocks)


def test_an_unknown_template_is_an_error_with_the_nearest_name() -> None:
    """C6."""
    with pytest.raises(ConfigError, match=r"job template 'rt_fedavgg' is not installed\. Did you mean 'rt_fedavg'"):
        load_template("rt_fedavgg")


@pytest.mark.parametrize("name", ["NUM_ROUND", "num_rounds"])
def test_an_unknown_variable_is_an_error_with_the_nearest_name(name: str) -> None:
    """T12."""
    with pytest.raises(ConfigError, match=rf"no variable '{name}'; did you mean 'NUM_ROUNDS'"):
        load_template("rt_fedavg").with_variables(server={name: 3}, client={})


def test_setting_variables_leaves_the_template_as_it_was() -> None:
    """N1."""
    template = load_template("rt_fedavg")
    changed = template.with_variables(server={"NUM_ROUNDS": 9}, client={"EXTRA": {"a": 1}})
    assert (changed.server["NUM_ROUNDS"], changed.client["EXTRA"]) == (9, {"a": 1})
    assert (template.server["NUM_ROUNDS"], template.client["EXTRA"]) == (5, None)
