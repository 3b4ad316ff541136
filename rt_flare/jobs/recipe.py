"""The job of a template as an NVFlare recipe: for `SimEnv`, `PocEnv` and `ProdEnv`, and for what recipes can add.

Importing this module imports `nvflare.recipe`, which takes ``--export`` and ``--export-dir`` out of ``sys.argv``: a
script with a recipe in it is meant to have them. Nothing else in rt_flare imports it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nvflare.app_common.widgets.component_path_authorizer import CLASS_ALLOW_LIST
from nvflare.fuel.utils.json_scanner import JsonScanner
from nvflare.fuel.utils.wfconf import resolve_var_refs
from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType
from nvflare.recipe.poc_env import PocEnv
from nvflare.recipe.sim_env import SimEnv
from nvflare.recipe.spec import ExecEnv, Recipe

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.core.durable_io import read_json
from rt_flare.errors import ConfigError
from rt_flare.jobs.render import render_job
from rt_flare.jobs.simulator_policy import allow_in_simulator

__all__ = ["RtFedAvgRecipe"]

_PACKAGE = "rt_flare"
_FILTERS = {"task_data_filters": FilterType.TASK_DATA, "task_result_filters": FilterType.TASK_RESULT}
_BUILT = {"format_version", "components", "workflows", "executors", *_FILTERS}


class RtFedAvgRecipe(Recipe):
    """The job that `render_job` writes for the same arguments, as a recipe.

    Components may be added with the recipe's own methods. Without ``model_def`` the job carries no code: `SimEnv` then
    gets rt_flare's prefix into its ``class_allow_list``; a production site needs it from its administrator, and
    `PocEnv`, which provisions anew at every run, refuses such a job.

    Args:
        name: name of the job.
        model_def: the user's module, or None for a job without custom code.
        min_clients: accepted updates that a round needs, and sites that the job needs.
        num_rounds: rounds of training.
        training: what every site trains with.
        federation: how the sites work together, beyond the arguments above, which go before it.
        sites: names of the sites; needed where each gets a shard. By default ``site-1`` to ``site-{min_clients}``.
        template: name of the job template.
        options: what else `render_job` takes: ``model_path``, ``shards_dir``, ``data_root``, ...

    Raises:
        ConfigError, JobError, ShardError: as `render_job`.
    """

    def __init__(
        self,
        *,
        name: str,
        model_def: Path | str | None,
        min_clients: int,
        num_rounds: int = 5,
        training: TrainingConfig | None = None,
        federation: FederationConfig | None = None,
        sites: Sequence[str] | None = None,
        template: str = "rt_fedavg",
        **options: Any,
    ) -> None:
        given = (federation or FederationConfig()).model_dump(exclude_unset=True)
        self.carries_code = model_def is not None
        self._folder = TemporaryDirectory(prefix="rt_flare_recipe_")
        job = render_job(
            out=Path(self._folder.name) / "job",
            model_def=None if model_def is None else Path(model_def),
            training=training or TrainingConfig(),
            federation=FederationConfig.model_validate(
                {**given, "job_name": name, "min_clients": min_clients, "num_rounds": num_rounds}
            ),
            sites=sites or [f"site-{number}" for number in range(1, min_clients + 1)],
            template=template,
            **options,
        )
        super().__init__(_fed_job(job))

    def process_env(self, env: ExecEnv) -> None:
        """Let a job without code use rt_flare's classes in the simulator.

        Raises:
            ConfigError: ``env`` is a `PocEnv`, where such a job cannot run.
        """
        if self.carries_code:
            return
        if isinstance(env, PocEnv):
            raise ConfigError(
                f"a job without custom code needs {_PACKAGE!r} in every site's {CLASS_ALLOW_LIST}, which PocEnv writes "
                "anew at every run: give model_def, or use a deployment that `rt-flare site allow` has prepared"
            )
        if isinstance(env, SimEnv):
            allow_in_simulator(Path(env.workspace_root) / self.name)


def _fed_job(folder: Path) -> FedJob:
    """The job in ``folder`` as NVFlare's own object."""
    meta = read_json(folder / "meta.json")
    server = _resolved(folder / "app" / "config" / "config_fed_server.json")
    client = _resolved(folder / "app" / "config" / "config_fed_client.json")
    others = {key: value for key, value in meta.items() if key not in {"name", "min_clients", "deploy_map"}}
    job = FedJob(name=meta["name"], min_clients=meta["min_clients"], meta_props=others)
    # Installed at every site: NVFlare would otherwise copy its source into the job.
    job.set_app_packages([_PACKAGE])
    for entry in [*server["workflows"], *server["components"]]:
        job.to_server(_build(entry), id=entry["id"])
    for entry in client["executors"]:
        job.to_clients(_build(entry["executor"]), tasks=entry["tasks"])
    for entry in client["components"]:
        job.to_clients(_build(entry), id=entry["id"])
    for config, send in ((server, job.to_server), (client, job.to_clients)):
        for key, kind in _FILTERS.items():
            for group in config[key]:
                for entry in group["filters"]:
                    send(_build(entry), filter_type=kind, tasks=group["tasks"])
        if rest := {key: value for key, value in config.items() if key not in _BUILT}:
            send(rest)
    code = folder / "app" / "custom"
    if code.is_dir():
        job.to_clients(str(code))  # one app for all: the server's folder is the same
    return job


def _resolved(path: Path) -> dict[str, Any]:
    """A configuration with its variables put in, without the variables themselves."""
    config = read_json(path)
    variables = {key: value for key, value in config.items() if key.isupper()}
    resolve_var_refs(JsonScanner(config), dict(config))
    return {key: value for key, value in config.items() if key not in variables}


def _build(entry: Mapping[str, Any]) -> Any:
    module, _, name = entry["path"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**entry["args"])
