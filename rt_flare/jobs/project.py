"""A project: a folder with ``rt_flare.toml``, a module and shards, from which a job is rendered."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.data.shard_names import find_shards
from rt_flare.errors import ConfigError
from rt_flare.jobs.render import render_job

__all__ = ["PROJECT_FILE", "Project", "ProjectConfig", "is_project", "read_project", "render_project"]

PROJECT_FILE = "rt_flare.toml"


class ProjectConfig(BaseModel):
    """The content of ``rt_flare.toml``. Paths start at the project's folder.

    Attributes:
        template: name of the job template.
        model_def: the module with the model and the training function.
        model: name of the model's class or factory in it.
        model_args: its keyword arguments.
        shards: folder with ``shard_0001.zip`` and on, one per site; or the same in a storage, as a URL that the server
            signs.
        data_root: folder that every site has its data in already, absolute; then there are no shards. "" for none.
        checkpoint: state dict file to start from; "" builds the model anew.
        adapter: name of the dataset adapter; "" for the template's. ``adapter_args`` are its options.
        requirements: file with what the module needs beyond rt_flare; need not exist.
        extra_files: files that go along with the module.
        training: what every site trains with.
        federation: how the sites work together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str = "rt_fedavg"
    model_def: str = "model_def.py"
    model: str = "Model"
    model_args: dict[str, Any] = Field(default_factory=dict)
    shards: str = "shards"
    data_root: str = ""
    checkpoint: str = ""
    adapter: str = ""
    adapter_args: dict[str, Any] = Field(default_factory=dict)
    requirements: str = "requirements.txt"
    extra_files: tuple[str, ...] = ()
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    federation: FederationConfig = Field(default_factory=FederationConfig)

    @field_validator("model")
    @classmethod
    def _model_is_a_name(cls, value: str) -> str:
        if not value.isidentifier():
            raise ValueError(f"expected the name of a class or function in model_def, found {value!r}")
        return value

    @model_validator(mode="after")
    def _data_is_in_one_place(self) -> Self:
        if self.data_root and "shards" in self.model_fields_set:
            raise ValueError("found shards and data_root, expected one of them")
        if self.data_root and not PurePosixPath(self.data_root).is_absolute():
            raise ValueError(f"data_root: expected an absolute path, the same at every site, found {self.data_root!r}")
        return self


@dataclass(frozen=True)
class Project:
    """A project that was read.

    Attributes:
        folder: its folder, absolute.
        config: the content of its ``rt_flare.toml``.
    """

    folder: Path
    config: ProjectConfig

    @property
    def model_def(self) -> Path:
        """The module."""
        return self.folder / self.config.model_def

    @property
    def shards_dir(self) -> Path | None:
        """The folder of the shards; None when they lie in a storage, or the data is at the sites."""
        return None if self.config.data_root or "://" in self.config.shards else self.folder / self.config.shards


def is_project(folder: Path) -> bool:
    """Whether a folder is a project."""
    return (folder / PROJECT_FILE).is_file()


def read_project(folder: Path) -> Project:
    """Read the project in ``folder``.

    Raises:
        ConfigError: ``rt_flare.toml`` is missing or no TOML, or a field of it is unknown or cannot be.
    """
    path = folder / PROJECT_FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return Project(folder.resolve(), ProjectConfig.model_validate(content))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read, expected TOML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{path}: {problems}") from error


def render_project(
    project: Project, out: Path, *, sites: Sequence[str] | None = None, data_dir: Path | str = ""
) -> tuple[Path, list[str]]:
    """Render the project's job.

    Args:
        project: the project.
        out: the job folder (see `render_job`).
        sites: names of the sites; None takes ``site-1`` and on, one for each shard, or ``min_clients`` of them where
            the data is at the sites.
        data_dir: folder on the sites that shards are unpacked into; "" takes the template's.

    Returns:
        The job folder, and the names of the sites.

    Raises:
        ConfigError, DataError, JobError, ShardError: as in `render_job`; ShardError too when there are no shards.
    """
    config = project.config
    if sites is None:
        if config.data_root:
            number = config.federation.min_clients
        elif project.shards_dir is None:
            raise ConfigError(f"{project.folder / PROJECT_FILE}: shards is a URL: name the sites, one for each shard")
        else:
            number = len(find_shards(project.shards_dir))
        sites = [f"site-{n}" for n in range(1, number + 1)]
    checkpoint = [project.folder / config.checkpoint] if config.checkpoint else []
    job = render_job(
        out=out,
        model_def=project.model_def,
        training=config.training,
        federation=config.federation,
        sites=sites,
        model_path=f"model_def.{config.model}",
        model_args=config.model_args,
        shards_dir=project.shards_dir or "",
        shards_url="" if project.shards_dir or config.data_root else config.shards,
        data_dir=data_dir,
        data_root=config.data_root,
        adapter=config.adapter,
        adapter_args=config.adapter_args,
        template=config.template,
        server_variables={"INITIAL_CHECKPOINT": Path(config.checkpoint).name} if config.checkpoint else None,
        extra_files=[*(project.folder / name for name in config.extra_files), *checkpoint],
    )
    return job, list(sites)
