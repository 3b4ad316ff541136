"""The recipe, in NVFlare's environments. That it is the same job: tests/templates/test_three_ways.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
from nvflare.recipe.poc_env import PocEnv
from nvflare.recipe.sim_env import SimEnv

from rt_flare.configs import FederationConfig
from rt_flare.core.ledger import read_ledger
from rt_flare.errors import ConfigError
from rt_flare.jobs.poc import PocDeployment
from rt_flare.jobs.poc_kits import ADMIN
from rt_flare.jobs.recipe import RtFedAvgRecipe

MODEL_DEF = """
import torch


class Model(torch.nn.Module):
    def __init__(self, width=1):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width))


def fl_train_model(payload, out_dir, logger=None):
    number = int(payload["env"]["SITE_NAME"][-1])
    weights = {name: tensor + number for name, tensor in payload["initial_weights"].items()}
    return {"weights": weights, "samples": 10 * number, "metrics": {"loss": 0.25}}
"""
# A process of its own: NVFlare's environments start threads and processes and leave some.
RUN = """
import sys
from pathlib import Path
from rt_flare.configs import FederationConfig
from rt_flare.jobs.recipe import RtFedAvgRecipe

folder, environment = Path(sys.argv[1]), sys.argv[2]
code = None if environment == "sim without code" else folder / "model_def.py"
module = {"USER_MODULE": "our_models.readings"} if code is None else {}
recipe = RtFedAvgRecipe(
    name="readings", model_def=code, min_clients=2, num_rounds=2, data_root=folder, client_variables=module,
    model_path="our_models.readings.Model" if code is None else "model_def.Model", model_args={"width": 3},
    template="rt_site_data" if code is None else "rt_fedavg", federation=FederationConfig(num_threads=1),
)
if environment == "poc":
    from nvflare.recipe.poc_env import PocEnv
    env = PocEnv(num_clients=2)
elif environment == "prod":
    from nvflare.recipe.prod_env import ProdEnv
    env = ProdEnv(startup_kit_location=sys.argv[3], username=sys.argv[4])
else:
    from nvflare.recipe.sim_env import SimEnv
    env = SimEnv(num_clients=2, workspace_root=str(folder / "simulation"))
run = recipe.run(env)
try:
    print("RESULT", run.get_result(timeout=180, clean_up=False))
finally:
    env.stop(clean_up=False)
"""


@pytest.fixture
def model_def(tmp_path: Path) -> Path:
    """The module, in a folder of its own."""
    path = tmp_path / "model_def.py"
    path.write_text(MODEL_DEF)
    return path


def _run(model_def: Path, environment: str, *arguments: str, **variables: str) -> Path:
    """Run the recipe in a process of its own and return the server's folder of the job."""
    folder = model_def.parent
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), environment, *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    result = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return Path(result.removeprefix("RESULT "))


def _assert_trained(folder: Path) -> None:
    assert [record.num_samples for record in read_ledger(folder / "files_out/fl_round_complete.json").rounds] == [
        30,
        30,
    ]
    model = torch.load(folder / "model_out/global_model.pt", weights_only=True)
    torch.testing.assert_close(model["weight"], torch.full((3,), 10 / 3))


@pytest.mark.simulator
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("environment", ["sim", "sim without code"])
def test_the_recipe_runs_in_nvflares_simulator(environment: str, model_def: Path) -> None:
    """N2, N7: SimEnv; without code its class_allow_list gets rt_flare's prefix."""
    package = model_def.parent / "our_models"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "readings.py").write_text(MODEL_DEF)
    search_path = f"{model_def.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    _assert_trained(_run(model_def, environment, PYTHONPATH=search_path) / "server/simulate_job")


@pytest.mark.poc
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_recipe_runs_in_nvflares_poc(model_def: Path) -> None:
    """N2: PocEnv, which provisions, starts, submits and stops by itself."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folder = model_def.parent
    result = _run(model_def, "poc", PATH=programs, NVFLARE_POC_WORKSPACE=str(folder / "poc"))
    _assert_trained(result / "workspace")


@pytest.mark.poc
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_recipe_runs_on_a_deployment(model_def: Path, tmp_path: Path) -> None:
    """N2: ProdEnv, with an administrator's startup kit."""
    with PocDeployment(tmp_path / "deployment", ["site-1", "site-2"]) as poc:
        result = _run(model_def, "prod", str(poc.admin_kit), ADMIN)
    _assert_trained(result / "workspace")


def test_a_job_without_code_is_refused_where_it_cannot_run(tmp_path: Path) -> None:
    """N7: PocEnv writes the allow-lists of its sites anew at every run."""
    recipe = RtFedAvgRecipe(name="a", model_def=None, min_clients=1, template="rt_site_data")
    with pytest.raises(ConfigError, match="class_allow_list, which PocEnv writes anew"):
        recipe.process_env(PocEnv(num_clients=1))


def test_the_simulators_allow_list_gets_the_prefix_once_and_keeps_what_it_has(tmp_path: Path) -> None:
    """N7."""
    recipe = RtFedAvgRecipe(name="a", model_def=None, min_clients=1, template="rt_site_data")
    environment = SimEnv(num_clients=1, workspace_root=str(tmp_path))
    path = tmp_path / "a/local/resources.json"
    recipe.process_env(environment)
    first = json.loads(path.read_text())["class_allow_list"]
    assert first.count("rt_flare.") == 1
    assert len(first) > 10
    path.write_text(json.dumps({"class_allow_list": ["mine."], "other": 1}))
    recipe.process_env(environment)
    recipe.process_env(environment)
    resources = json.loads(path.read_text())
    assert resources["other"] == 1
    assert resources["class_allow_list"][:2] == ["mine.", "rt_flare."]
    assert resources["class_allow_list"].count("rt_flare.") == 1


def test_what_recipes_can_add_is_added(model_def: Path, tmp_path: Path) -> None:
    """N2: filters, settings and files by NVFlare's own methods; the modules beside the user's come along."""
    (tmp_path / "layers_of_mine.py").write_text("x = 1\n")
    model_def.write_text("import layers_of_mine\n" + MODEL_DEF)
    (tmp_path / "words.txt").write_text("a b")
    recipe = RtFedAvgRecipe(name="a", model_def=model_def, min_clients=1)
    recipe.add_client_output_filter(PercentilePrivacy(percentile=20), tasks=["train"])
    recipe.add_client_config({"get_task_timeout": 900})
    recipe.add_client_file(str(tmp_path / "words.txt"))
    recipe.export(str(tmp_path / "out"))
    client = json.loads((tmp_path / "out/a/app/config/config_fed_client.json").read_text())
    assert client["get_task_timeout"] == 900
    assert client["task_result_filters"][0]["filters"][0]["args"]["percentile"] == 20
    custom = {path.name for path in (tmp_path / "out/a/app/custom").iterdir()}
    assert custom == {"model_def.py", "layers_of_mine.py", "words.txt"}


def test_its_own_arguments_go_before_those_of_the_federation(model_def: Path, tmp_path: Path) -> None:
    """C2."""
    federation = FederationConfig(num_rounds=9, min_clients=3, keep_last=4)
    RtFedAvgRecipe(name="a", model_def=model_def, min_clients=2, num_rounds=7, federation=federation).export(
        str(tmp_path / "out")
    )
    server = json.loads((tmp_path / "out/a/app/config/config_fed_server.json").read_text())
    assert server["workflows"][0]["args"] == {"num_rounds": 7, "min_clients": 2}
    assert server["components"][0]["args"] == {"keep_last": 4}


@pytest.mark.parametrize("module", ["rt_flare", "rt_flare.jobs.render", "rt_flare.jobs.job_folder", "rt_flare.cli.app"])
def test_nothing_else_takes_the_export_option_from_a_script(module: str) -> None:
    """N2: importing nvflare.recipe takes --export out of sys.argv."""
    code = f"import sys; sys.argv[1:] = ['--export']; import {module}; print(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['--export']"
