"""NVFlare's template commands: what they do with our templates, and each limit that the templates' README names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nvflare.fuel.utils.config_factory import ConfigFactory

from rt_flare.builtin_plugin import rt_flare_job_templates, templates_home
from rt_flare.jobs.job_folder import create_job, read_template_files, set_in_job

TEMPLATES = sorted(rt_flare_job_templates())
SERVER = "config_fed_server.conf"
# No rounds to keep, a misspelt name, an object, a negative number where the template has null.
VALUES = ["KEEP_LAST=0", "NUM_ROUND=3", "SITE_SHARDS={site-1: 1}", "SEED=-1"]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, nvflare_cli: Callable[..., Any]) -> tuple[Path, dict[str, Any]]:
    """Where the commands ran, and what each said."""
    folder = tmp_path_factory.mktemp("nvflare")
    template = str(templates_home() / "rt_large_model")
    commands = {
        "list": ["job", "list-templates", "-d", str(templates_home())],
        **{f"create {name}": ["job", "create", "-j", name, "-w", str(templates_home() / name)] for name in TEMPLATES},
        **{f"show {name}": ["job", "show-variables", "-j", name] for name in TEMPLATES},
        "values": ["job", "create", "-j", "values", "-w", template, "-f", SERVER, *VALUES],
        "submit": ["job", "submit", "-j", "values", "-f", SERVER, "NUM_ROUNDS=3"],
    }
    done = nvflare_cli(folder, list(commands.values()))
    return folder, dict(zip(commands, done, strict=True))


def test_list_templates_shows_them_all_with_their_descriptions(said: tuple[Path, dict[str, Any]]) -> None:
    """N1."""
    text = said[1]["list"].text
    assert said[1]["list"].code == 0
    for name in TEMPLATES:
        assert name in text
    assert "federated averaging" in text
    assert "executor" in text


@pytest.mark.parametrize("template", TEMPLATES)
def test_show_variables_shows_every_variable_with_its_value(template: str, said: tuple[Path, dict[str, Any]]) -> None:
    """N1."""
    shown = said[1][f"show {template}"]
    assert shown.code == 0
    lines = [line.split() for line in shown.text.splitlines()]
    for file in read_template_files(template):
        for setting in file.settings:
            if (file.kind, setting.name) == ("meta", "name"):
                continue  # NVFlare leaves it out
            for name in setting.value if isinstance(setting.value, dict) else [setting.name]:
                # It cuts names after 30 characters.
                assert [file.path.name, name[:30]] in [line[:2] for line in lines], name
    assert "num_rounds" in shown.text


def _values(job: Path) -> dict[str, Any]:
    return dict(ConfigFactory.load_config(str(job / f"app/config/{SERVER}")).to_dict())


def test_submit_takes_no_overrides_and_job_set_does_it_before(said: tuple[Path, dict[str, Any]]) -> None:
    """N1: `submit -f` is a usage error in 2.9."""
    assert said[1]["submit"].code == 4
    assert "unrecognized arguments" in said[1]["submit"].text
    set_in_job(said[0] / "rt_fedavg", ["NUM_ROUNDS=3"])
    assert _values(said[0] / "rt_fedavg")["NUM_ROUNDS"] == 3


def test_create_ignores_zero_adds_unknown_names_and_takes_objects_for_text(said: tuple[Path, dict[str, Any]]) -> None:
    """N1, T12: each row of the README's table, as it is in the installed NVFlare."""
    values = _values(said[0] / "values")
    assert values["KEEP_LAST"] == 3
    assert values["NUM_ROUND"] == 3
    assert values["SITE_SHARDS"] == "{site-1: 1}"
    assert values["SEED"] == "-1"
    assert "# " not in (said[0] / f"values/app/config/{SERVER}").read_text()


def test_job_new_does_what_create_does_not(tmp_path: Path) -> None:
    """N1, T12: zeros, objects, types and comments arrive."""
    values = ["KEEP_LAST=0", 'server.SITE_SHARDS={"site-1": 1}', "SEED=-1"]
    create_job("rt_large_model", tmp_path / "job", values)
    found = _values(tmp_path / "job")
    assert (found["KEEP_LAST"], found["SITE_SHARDS"], found["SEED"]) == (0, {"site-1": 1}, -1)
    original = (templates_home() / "rt_large_model" / SERVER).read_text().splitlines()
    now = (tmp_path / f"job/app/config/{SERVER}").read_text().splitlines()
    differing = [line for line, old in zip(now, original, strict=True) if line != old]
    assert differing == ["SEED = -1", "KEEP_LAST = 0", 'SITE_SHARDS = {"site-1": 1}']


def test_create_leaves_an_empty_folder_for_code_and_job_new_none(
    said: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """N7: with the folder, NVFlare counts the job as one with custom code."""
    assert list((said[0] / "rt_site_data/app/custom").iterdir()) == []
    create_job("rt_site_data", tmp_path / "job")
    assert not (tmp_path / "job/app/custom").exists()


def test_list_templates_changes_the_users_settings(said: tuple[Path, dict[str, Any]]) -> None:
    """N1: which is why these tests have a home of their own."""
    assert str(templates_home()) in (said[0] / ".nvflare/config.conf").read_text()
