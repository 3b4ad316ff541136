"""A job of the published SDK as it lies in a folder: where its files are, and its configurations, read as data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rt_flare.errors import ConfigError, JobError
from rt_flare.jobs.published.foreign_folder import ForeignFolder

__all__ = ["EXECUTOR_FILE", "PERSISTOR_FILE", "Component", "ExecutorArgs", "PublishedJob", "WorkflowArgs", "read_job"]

EXECUTOR_FILE = "custom_client_executor.py"
PERSISTOR_FILE = "custom_persistor.py"
_MAX_CONFIG_BYTES = 4 << 20


class _Document(BaseModel):
    # What is not known is kept, to be accounted for; its values may be secrets, and stay out of messages.
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, hide_input_in_errors=True)


class Component(_Document):
    """One of NVFlare's components in a configuration."""

    id: str = ""
    path: str
    args: dict[str, Any] = Field(default_factory=dict)


class ExecutorEntry(_Document):
    """Which tasks which executor does."""

    tasks: list[str] = Field(default_factory=list)
    executor: Component


class ClientConfig(_Document):
    """``config_fed_client.json``."""

    format_version: int = 2
    submit_task_result_timeout: float = 300.0
    executors: list[ExecutorEntry] = Field(min_length=1, max_length=1)
    task_data_filters: list[Any] = Field(default_factory=list)
    task_result_filters: list[Any] = Field(default_factory=list)
    components: list[Any] = Field(default_factory=list)


class ServerConfig(_Document):
    """``config_fed_server.json``."""

    format_version: int = 2
    server: dict[str, Any] = Field(default_factory=dict)
    task_data_filters: list[Any] = Field(default_factory=list)
    task_result_filters: list[Any] = Field(default_factory=list)
    components: list[Component] = Field(default_factory=list)
    workflows: list[Component] = Field(min_length=1, max_length=1)


class Meta(_Document):
    """``meta.json``."""

    name: str
    resource_spec: dict[str, Any] = Field(default_factory=dict)
    deploy_map: dict[str, Any] = Field(default_factory=dict)
    min_clients: int | None = None


class ExecutorArgs(_Document):
    """Arguments of the SDK's executor; all others are keys of the user's own for ``env``."""

    data_root: str = "/app/payload"
    adapter_module: str = "model_def"
    model_class: str = "Model"
    model_args: dict[str, Any] = Field(default_factory=dict)
    train_fn: str = "fl_train"
    validate_fn: str = "fl_validate"
    local_epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 1e-3
    out_dir_name: str = "runs"


class WorkflowArgs(_Document):
    """Arguments of NVFlare's ``ScatterAndGather`` that the SDK sets."""

    num_rounds: int = 5
    min_clients: int = 1
    start_round: int = 0
    wait_time_after_min_received: int = 10
    train_timeout: int = 0
    train_task_name: str = "train"
    aggregator_id: str = "aggregator"
    persistor_id: str = "persistor"
    shareable_generator_id: str = "shareable_generator"


@dataclass(frozen=True)
class PublishedJob:
    """One such job.

    Attributes:
        folder: its folder.
        scripts: name of the folder with its code, in ``folder``.
        requirements: name of the file with what its code needs; "" for none.
        checkpoint: name of the file with the weights to start from; "" for none.
        shards: names of its ZIPs, one per site; empty when the data is at the sites.
        client, server, meta: its configurations.
        arguments: those of its executor.
        workflow: those of its workflow.
    """

    folder: ForeignFolder
    scripts: str
    requirements: str
    checkpoint: str
    shards: tuple[str, ...]
    client: ClientConfig
    server: ServerConfig
    meta: Meta
    arguments: ExecutorArgs
    workflow: WorkflowArgs

    @property
    def executor(self) -> Component:
        """Its executor."""
        return self.client.executors[0].executor

    def component(self, component_id: str) -> Component | None:
        """The server's component of that id."""
        return next((each for each in self.server.components if each.id == component_id), None)


def read_job(folder: ForeignFolder) -> PublishedJob:
    """Read the job in ``folder``: as the SDK uploads it (``configs/``, ``scripts/``, ...), or as NVFlare runs it.

    Raises:
        JobError: it is neither of them, or a file cannot be used.
        ConfigError: a configuration has another form than the SDK writes, or another executor than it ships.
    """
    if "configs" in folder.names()[1]:
        meta, configs, scripts = "configs/meta.json", "configs", "scripts"
    else:
        apps = [name for name in folder.names()[1] if folder.has(f"{name}/config/config_fed_client.json")]
        if len(apps) != 1 or not folder.has("meta.json"):
            raise JobError(
                f"{folder.root}: found neither configs/ and scripts/, as the published SDK uploads a job, nor "
                "meta.json and one app/ with config/ and custom/, as NVFlare runs it"
            )
        meta, configs, scripts = "meta.json", f"{apps[0]}/config", f"{apps[0]}/custom"
    client = _read(folder, f"{configs}/config_fed_client.json", ClientConfig)
    server = _read(folder, f"{configs}/config_fed_server.json", ServerConfig)
    executor = client.executors[0].executor
    if executor.path.rpartition(".")[0] != EXECUTOR_FILE.removesuffix(".py"):
        raise ConfigError(
            f"{folder.root / configs}/config_fed_client.json: executors[0].executor.path: found {executor.path!r}, "
            f"expected a class of {EXECUTOR_FILE}: this is no job of the published SDK"
        )
    where = f"{folder.root / configs}/config_fed"
    beside = [f"requirements/{name}" for name in folder.names("requirements")[0] if name == "requirements.txt"]
    beside += [f"{scripts}/requirements.txt"] if folder.has(f"{scripts}/requirements.txt") else []
    weights = folder.names("model")[0]
    if len(weights) > 1:
        raise JobError(
            f"{folder.root / 'model'}: found {len(weights)} files, expected one with the weights to start from"
        )
    return PublishedJob(
        folder=folder,
        scripts=scripts,
        requirements=beside[0] if beside else "",
        checkpoint=f"model/{weights[0]}" if weights else "",
        shards=tuple(f"shards/{name}" for name in shard_order(folder.names("shards")[0])),
        client=client,
        server=server,
        meta=_read(folder, meta, Meta),
        arguments=_valid(ExecutorArgs, executor.args, f"{where}_client.json: executors[0].executor.args"),
        workflow=_valid(WorkflowArgs, server.workflows[0].args, f"{where}_server.json: workflows[0].args"),
    )


def shard_order(names: list[str]) -> list[str]:
    """The ZIPs of ``names``, those with a number in the order of the numbers."""
    zips = [name for name in names if PurePosixPath(name).suffix.lower() == ".zip"]

    def key(name: str) -> tuple[int, str]:
        number = re.search(r"([0-9]{1,18})[^0-9]*$", PurePosixPath(name).stem)
        return (int(number[1]) if number else -1, name)

    return sorted(zips, key=key)


_Read = TypeVar("_Read", bound=BaseModel)


def _read(folder: ForeignFolder, file: str, form: type[_Read]) -> _Read:
    try:
        content = orjson.loads(folder.read(file, _MAX_CONFIG_BYTES))
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{folder.root / file}: no valid JSON: {error}") from error
    return _valid(form, content, str(folder.root / file))


def _valid(form: type[_Read], content: Any, where: str) -> _Read:
    try:
        return form.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ConfigError(f"{where}: {problems}; expected what resontech 0.3 writes") from error
