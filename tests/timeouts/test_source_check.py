"""The key map against NVFlare's source (T12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt_flare.timeouts.class_arguments import find_class_arguments
from rt_flare.timeouts.key_map import KeyMap, load_key_map
from rt_flare.timeouts.source_check import check_key_map
from rt_flare.timeouts.source_scan import nvflare_root, scan_config_reads


def changed(name: str, **fields: object) -> KeyMap:
    keys = load_key_map()
    key = keys.keys[name].model_copy(update=fields)
    return keys.model_copy(update={"keys": {**keys.keys, name: key}})


def test_the_map_says_what_the_installed_nvflare_does() -> None:
    """T12: every key has its reader and its default there, and no reader of a setting is missing from the map."""
    assert check_key_map(load_key_map()) == []


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("task_check_timeout", {"default": 6.0}, "defaults to 5.0, the map says 6.0"),
        ("task_check_timeout", {"reader": "private/fed/tbi.py"}, "private/fed/tbi.py does not read it"),
        ("task_check_timeout", {"reader": "gone.py"}, "NVFlare has no gone.py"),
        ("workflow.train_timeout", {"classes": {"nvflare.app_common.workflows.fedavg.FedAvg": 0}}, "no such argument"),
        ("workflow.train_timeout", {"classes": {"nvflare.nowhere.Class": 0}}, "no class nvflare.nowhere.Class"),
        (
            "workflow.train_timeout",
            {"classes": {"nvflare.app_common.workflows.scatter_and_gather.ScatterAndGather": 5}},
            "defaults to 0, the map says 5",
        ),
        ("comm.tcp_no_delay", {"reader": None}, "neither a reader nor a class"),
    ],
)
def test_a_difference_is_named(name: str, fields: dict[str, object], message: str) -> None:
    """T12: the check finds what an upgrade of NVFlare would change."""
    problems = check_key_map(changed(name, **fields))
    assert any(problem.startswith(f"{name}: ") and message in problem for problem in problems), problems


def test_a_reader_that_the_map_lacks_is_named() -> None:
    """T12"""
    keys = load_key_map()
    without = {name: key for name, key in keys.keys.items() if name != "job_heartbeat_interval"}
    (problem,) = check_key_map(keys.model_copy(update={"keys": without}))
    assert problem.startswith("job_heartbeat_interval: read at private/fed/client/client_runner.py:")


def test_a_retired_key_that_is_read_after_all_is_named() -> None:
    """T12"""
    keys = load_key_map()
    retired = {**keys.retired, "task_check_interval": keys.retired["max_resends"]}
    problems = check_key_map(keys.model_copy(update={"retired": retired}))
    assert any("retired in the map, but read at" in problem for problem in problems)


def test_readers_are_found_however_their_key_is_written(tmp_path: Path) -> None:
    """T12: text, constants of a class or a module, imported ones, parameters, and built names."""
    root = tmp_path / "nvflare"
    (root / "fuel").mkdir(parents=True)
    (root / "names.py").write_text('class ConfigVarName:\n    ONE = "one"\nTWO = "two"\n')
    (root / "fuel" / "reader.py").write_text(
        "from nvflare.names import TWO, ConfigVarName\n"
        'THREE = "three"\n'
        "def wrapped(var_name):\n"
        "    return acu.get_positive_float_var(var_name, 3.0)\n"
        "class Reader:\n"
        "    def read(self):\n"
        "        acu.get_positive_float_var(ConfigVarName.ONE, 1.0)\n"
        "        ConfigService.get_int_var(name=TWO, conf=SystemConfigs.APPLICATION_CONF, default=2)\n"
        "        wrapped(THREE)\n"
        '        ConfigService.get_bool_var("four")\n'
        "        acu.get_int_var(self._config_var_name(ConfigVarName.ONE), 5)\n"
    )
    found = {(read.key, read.kind, read.section, read.default) for read in scan_config_reads(root)}
    assert found == {
        ("one", "positive_float", "application_config", "1.0"),
        ("two", "int", "application_config", "2"),
        ("three", "positive_float", "application_config", "3.0"),
        ("four", "bool", "", ""),
        ("np_one", "int", "application_config", "5"),
        ("tensor_one", "int", "application_config", "5"),
    }


def test_arguments_that_bases_take_are_found() -> None:
    """T12: through keywords that a constructor passes on, and imports."""
    fedavg = find_class_arguments("nvflare.app_common.workflows.fedavg.FedAvg")
    assert fedavg is not None
    assert fedavg.complete
    assert {"num_clients", "task_check_period", "persistor_id"} <= fedavg.defaults.keys()
    assert not fedavg.accepts("min_clients")
    assert find_class_arguments("nvflare.app_common.workflows.fedavg.Nothing") is None
    assert find_class_arguments("no_such_package.Class") is None


def test_nvflare_is_found_without_importing_it() -> None:
    """DESIGN, Timeouts"""
    assert (nvflare_root() / "apis" / "fl_constant.py").is_file()
