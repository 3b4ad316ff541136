"""What the user gave, as variables of a template: what was left out takes the template's value."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from rt_flare.configs import FederationConfig, TrainingConfig
from rt_flare.jobs.config_values import config_object, config_text
from rt_flare.jobs.template import JobTemplate

__all__ = ["client_values", "server_values", "with_template_values"]

_Config = TypeVar("_Config", bound=BaseModel)

# Field to variable. `job_name` belongs to the job's meta, `heart_beat_timeout` to the server's own files.
_SERVER = {
    "num_rounds": "NUM_ROUNDS",
    "min_clients": "MIN_CLIENTS",
    "wait_time_after_min_received": "WAIT_TIME_AFTER_MIN_RECEIVED",
    "round_timeout_seconds": "ROUND_TIMEOUT_SECONDS",
    "deterministic": "DETERMINISTIC",
    "keep_last": "KEEP_LAST",
    "max_samples_per_site": "MAX_SAMPLES_PER_SITE",
    "seed": "SEED",
    "task_request_interval": "TASK_REQUEST_INTERVAL",
}
_CLIENT = {
    "local_epochs": "LOCAL_EPOCHS",
    "batch_size": "BATCH_SIZE",
    "learning_rate": "LEARNING_RATE",
    "img_size": "IMG_SIZE",
    "num_classes": "NUM_CLASSES",
    "manifest_file": "MANIFEST_FILE",
    "extra": "EXTRA",
    "num_threads": "NUM_THREADS",
    "seed": "SEED",
}


def server_values(federation: FederationConfig) -> dict[str, Any]:
    """Variables of the server's configuration that ``federation`` was given a value for."""
    return _given(federation, _SERVER)


def client_values(training: TrainingConfig, federation: FederationConfig) -> dict[str, Any]:
    """Variables of the sites' configuration that ``training`` and ``federation`` were given a value for.

    Raises:
        ConfigError: ``extra`` or ``manifest_file`` would not reach the sites as it is.
    """
    values = _given(training, _CLIENT) | _given(federation, _CLIENT)
    if "EXTRA" in values:
        values["EXTRA"] = config_object(values["EXTRA"], "extra")
    if "MANIFEST_FILE" in values:
        values["MANIFEST_FILE"] = config_text(values["MANIFEST_FILE"], "manifest_file")
    return values


def with_template_values(config: _Config, template: JobTemplate) -> _Config:
    """Return ``config`` with the template's values for the fields that it was not given."""
    left_out = {
        field: variables[name]
        for fields, variables in ((_SERVER, template.server), (_CLIENT, template.client))
        for field, name in fields.items()
        if field in type(config).model_fields
        and field not in config.model_fields_set
        and variables.get(name) is not None
    }
    return type(config).model_validate({**config.model_dump(), **left_out})


def _given(config: BaseModel, fields: dict[str, str]) -> dict[str, Any]:
    return {name: getattr(config, field) for field, name in fields.items() if field in config.model_fields_set}
