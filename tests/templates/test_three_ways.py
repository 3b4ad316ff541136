"""One job, whoever makes it: `nvflare job create`, `rt-flare job new`, the renderer, the recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nvflare.fuel.utils.config_factory import ConfigFactory

from rt_flare.builtin_plugin import rt_flare_job_templates, templates_home
from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.job_folder import create_job
from rt_flare.jobs.recipe import RtFedAvgRecipe
from rt_flare.jobs.render import render_job

TEMPLATES = sorted(rt_flare_job_templates())
WITHOUT_CODE = {"rt_site_data"}
SERVER = "app/config/config_fed_server.conf"


@pytest.fixture(scope="module")
def created(tmp_path_factory: pytest.TempPathFactory, nvflare_cli: Callable[..., Any]) -> Path:
    """Every template, made into jobs by `nvflare job create -w`: NAME, NAME-3 and NAME-4 with other rounds."""
    folder = tmp_path_factory.mktemp("created")
    commands = []
    for name in TEMPLATES:
        create = ["job", "create", "-w", str(templates_home() / name), "-j"]
        meta = ["-f", "meta.conf", "min_clients=2"]
        commands += [
            [*create, name],
            # NVFlare 2.9 hears of meta.conf only with an absolute path.
            [*create, str(folder / f"{name}-3"), "-f", "config_fed_server.conf", "num_rounds=3", *meta],
            [*create, f"{name}-4", "-f", "config_fed_server.conf", "NUM_ROUNDS=4", *meta],
        ]
    assert {said.code for said in nvflare_cli(folder, commands)} == {0}
    return folder


def _model_def(template: str, folder: Path) -> Path | None:
    if template in WITHOUT_CODE:
        return None
    module = folder / "model_def.py"
    module.write_text("class Model: ...\n")
    return module


def _meta(path: Path) -> dict[str, Any]:
    return dict(ConfigFactory.load_config(str(path)).to_dict())


@pytest.mark.parametrize("template", TEMPLATES)
def test_all_ways_lead_to_the_same_job(
    template: str, created: Path, as_run: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    """N1, N2, M12: the same components with the same values of every argument, the same settings, the same meta."""
    model_def = _model_def(template, tmp_path)
    rendered = render_job(
        out=tmp_path / "rendered",
        model_def=model_def,
        training=TrainingConfig(),
        federation=FederationConfig(job_name=template),
        sites=["site-1"],
        template=template,
    )
    RtFedAvgRecipe(name=template, model_def=model_def, min_clients=1, template=template).export(
        str(tmp_path / "recipe")
    )
    create_job(template, tmp_path / "new", model_def=model_def)
    by_nvflare, by_recipe = created / template, tmp_path / "recipe" / template
    for config in ("config_fed_server", "config_fed_client"):
        expected = as_run(by_nvflare / f"app/config/{config}.conf")
        for job, ending in ((rendered, "json"), (by_recipe, "json"), (tmp_path / "new", "conf")):
            assert as_run(job / f"app/config/{config}.{ending}") == expected, job
    meta = _meta(by_nvflare / "meta.conf")
    assert json.loads((rendered / "meta.json").read_text()) == meta
    assert json.loads((by_recipe / "meta.json").read_text()) == meta
    assert _meta(tmp_path / "new/meta.conf") == meta
    for job in (rendered, by_recipe, tmp_path / "new"):
        custom = job / "app/custom"
        files = {path.name: path.read_bytes() for path in custom.iterdir()} if custom.exists() else None
        assert files == (None if model_def is None else {"model_def.py": model_def.read_bytes()}), job


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_override_by_nvflares_command_reaches_the_controller(
    template: str, created: Path, as_run: Callable[[Path], dict[str, Any]]
) -> None:
    """N1: by the argument's name and by the variable's; nothing else changes."""
    plain = as_run(created / template / SERVER)
    for rounds in (3, 4):
        changed = as_run(created / f"{template}-{rounds}" / SERVER)
        (workflow,) = changed["workflows"].values()
        assert workflow[1]["num_rounds"] == rounds
        workflow[1]["num_rounds"] = 5
        assert changed == plain
    assert [_meta(created / f"{template}-{n}/meta.conf")["min_clients"] for n in (3, 4)] == [2, 1]


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_given_to_the_renderer_and_the_recipe_goes_before_the_template(
    template: str, as_run: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    """C1, C2: a field that is given counts, even where it is the default; the others stay the template's."""
    model_def = _model_def(template, tmp_path)
    federation = FederationConfig(
        num_rounds=7, min_clients=2, job_name="mine", wait_time_after_min_received=10, keep_last=0, num_threads=2
    )
    training = TrainingConfig(batch_size=32, learning_rate=0.5)
    rendered = render_job(
        out=tmp_path / "rendered",
        model_def=model_def,
        training=training,
        federation=federation,
        sites=["site-1", "site-2"],
        template=template,
        data_root="/data",
    )
    recipe = RtFedAvgRecipe(
        name="mine",
        model_def=model_def,
        min_clients=2,
        num_rounds=7,
        training=training,
        federation=federation,
        template=template,
        data_root="/data",
    )
    recipe.export(str(tmp_path / "recipe"))
    for config in ("config_fed_server", "config_fed_client"):
        configs = [as_run(job / f"app/config/{config}.json") for job in (rendered, tmp_path / "recipe/mine")]
        assert configs[0] == configs[1]
    server, client = (as_run(rendered / f"app/config/config_fed_{side}.json") for side in ("server", "client"))
    (_, workflow), (_, persistor) = *server["workflows"].values(), server["components"]["persistor"]
    given = {"num_rounds": 7, "min_clients": 2, "wait_time_after_min_received": 10}
    assert {name: workflow[name] for name in given} == given
    assert persistor["keep_last"] == 0
    (_, (_, executor)) = client["executors"][0]
    given = {"batch_size": 32, "learning_rate": 0.5, "num_threads": 2, "data_root": "/data"}
    assert {name: executor[name] for name in given} == given
