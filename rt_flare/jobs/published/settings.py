"""The settings of a published job, as those of a project."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rt_flare.configs import FederationConfig
from rt_flare.core.payload import RESERVED_ENV
from rt_flare.errors import ConfigError
from rt_flare.jobs.config_values import config_object
from rt_flare.jobs.published.change import Change, ChangeKind
from rt_flare.jobs.published.published_job import PublishedJob

__all__ = ["federation_settings", "model_settings", "training_settings"]

_KEPT, _MAPPED, _DROPPED = ChangeKind.KEPT, ChangeKind.MAPPED, ChangeKind.DROPPED
_ARGS = "executor args"
_WORKFLOW = "workflow args"
# The SDK lets a key of the user's own go before the setting that stands behind it.
_ENV_FIELDS = {"EPOCHS": "local_epochs", "BATCH_SIZE": "batch_size", "LR": "learning_rate"}
_IMAGE_FIELDS = ("img_size", "num_classes", "manifest_file")
_SERVER_HEART_BEAT = 600
_SAVED = "every round's model is saved, while the next round runs"
# Arguments of NVFlare's workflow without a counterpart, and why that is.
_WITHOUT = {
    "persist_every_n_rounds": _SAVED,
    "snapshot_every_n_rounds": "NVFlare 2.9 takes no snapshots",
    "ignore_result_error": "a site's error never ends the job: its round goes on without it, and says so",
    "allow_empty_global_weights": "rt_flare sets it from the model",
    "task_check_period": "NVFlare 2.9 does not read it; task_request_interval sets the pace",
    "memory_gc_rounds": "memory is bounded by the number of updates that are held at a time",
}


def training_settings(job: PublishedJob, changes: list[Change]) -> dict[str, Any]:
    """``[training]`` of the project; what became of each setting is added to ``changes``.

    Raises:
        ConfigError: a key of the user's own would not reach the sites as it is.
    """
    given = job.arguments
    own = dict(given.model_extra or {})
    training: dict[str, Any] = {}
    for key, field in _ENV_FIELDS.items():
        value = own.pop(key, None)
        training[field] = getattr(given, field) if value is None else value
        reason = "" if value is None else f"the key {key} of extra went before {field}"
        changes.append(_plain(_ARGS, field, training[field], f"training.{field}", reason))
    for field in _IMAGE_FIELDS:
        if field in own:
            training[field] = own.pop(field)
            changes.append(Change(_MAPPED, f"extra {field}", f"training.{field}", "a setting of its own in rt_flare"))
    for key in sorted((RESERVED_ENV | {"DATA_ROOT"}) & set(own)):
        del own[key]
        why = "rt_flare sets it itself, and training code sees that value instead"
        changes.append(Change(_DROPPED, f"extra {key}", reason=why, needs_attention=True))
    extra = _without_null(own, "extra", changes)
    if extra:
        training["extra"] = config_object(extra, "training.extra")
        changes.append(Change(_KEPT, f"extra: {', '.join(sorted(extra))}", "training.extra"))
    return training


def model_settings(job: PublishedJob, changes: list[Change]) -> dict[str, Any]:
    """``model`` and ``model_args`` of the project.

    Raises:
        ConfigError: server and sites build another model, or an argument would not reach them as it is.
    """
    persistor = job.component(job.workflow.persistor_id)
    model = persistor.args.get("model") if persistor else None
    if not isinstance(model, Mapping) or not isinstance(path := model.get("path"), str):
        raise ConfigError(f"{job.folder.root}: the server's persistor: found no model with a path")
    name, args = path.rpartition(".")[2], model.get("args") or {}
    here = job.arguments
    if name != here.model_class or args != here.model_args:
        raise ConfigError(
            f"{job.folder.root}: the server builds {name!r} and the sites {here.model_class!r}, or with other "
            "arguments; expected the same in both configurations"
        )
    changes.append(Change(_KEPT, f"model {name}", "model"))
    kept = config_object(_without_null(dict(here.model_args), "model_args", changes), "model_args") or {}
    if kept:
        changes.append(Change(_KEPT, f"model_args: {', '.join(sorted(kept))}", "model_args"))
    assert persistor is not None
    for key in sorted(set(persistor.args) - {"model"}):
        why = "rt_flare's persistor has options of its own; a project names weights to start from as checkpoint"
        changes.append(Change(_DROPPED, f"persistor args {key}", reason=why, needs_attention=True))
    return {"model": name, "model_args": kept}


def federation_settings(job: PublishedJob, changes: list[Change]) -> dict[str, Any]:
    """``[federation]`` of the project."""
    given, workflow = job.workflow, job.server.workflows[0]
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", job.meta.name).strip("-._")[:64] or "imported"
    federation = {
        "job_name": name,
        "num_rounds": given.num_rounds,
        "min_clients": given.min_clients,
        "wait_time_after_min_received": given.wait_time_after_min_received,
    }
    why = "" if name == job.meta.name else f"{name}: letters, digits, '_', '.' and '-' only"
    changes.append(_plain("job", "name", job.meta.name, "federation.job_name", why))
    for field in ("num_rounds", "min_clients", "wait_time_after_min_received"):
        changes.append(_plain(_WORKFLOW, field, federation[field], f"federation.{field}"))
    if job.meta.min_clients not in (None, given.min_clients):
        why = f"min_clients of the workflow, {given.min_clients}, holds for the job too"
        changes.append(Change(_DROPPED, f"job min_clients = {job.meta.min_clients}", reason=why))
    deadline = "federation.round_timeout_seconds"
    if given.train_timeout > 0:
        federation["round_timeout_seconds"] = given.train_timeout
        changes.append(_plain(_WORKFLOW, "train_timeout", given.train_timeout, deadline))
    else:
        seconds = FederationConfig.model_fields["round_timeout_seconds"].default
        why = f"a round has always a deadline: {seconds} s unless you set it"
        changes.append(Change(_MAPPED, "train_timeout = 0 (none)", deadline, why))
    if given.start_round:
        why = "a project's job begins with round 0"
        changes.append(Change(_DROPPED, f"start_round = {given.start_round}", reason=why, needs_attention=True))
    for key in sorted(given.model_extra or {}):
        why, known = _WITHOUT.get(key, "rt_flare's workflow has no such argument"), key in _WITHOUT
        changes.append(Change(_DROPPED, f"{workflow.id} {key}", reason=why, needs_attention=not known))
    changes.extend(_server_side(job))
    return federation


def _server_side(job: PublishedJob) -> Iterator[Change]:
    beat = job.server.server.get("heart_beat_timeout", _SERVER_HEART_BEAT)
    if beat != _SERVER_HEART_BEAT:
        why = "NVFlare 2.9 reads it from the server's own local/resources.json only"
        yield Change(_DROPPED, "server heart_beat_timeout", reason=why)
    if job.client.submit_task_result_timeout != 300:
        why = "a timeout preset has it: federation.timeouts, and rt-flare timeouts suggest"
        yield Change(_DROPPED, "submit_task_result_timeout", reason=why)
    if job.meta.deploy_map not in ({}, {"app": ["@ALL"]}):
        why = "a project's job goes to the server and all its sites"
        yield Change(_DROPPED, "job deploy_map", reason=why, needs_attention=True)
    if job.meta.resource_spec:
        why = "set it in run/job/meta.json, once the job is rendered"
        yield Change(_DROPPED, "job resource_spec", reason=why, needs_attention=True)


def _plain(place: str, name: str, value: Any, became: str, reason: str = "") -> Change:
    return Change(_MAPPED if reason else _KEPT, f"{place} {name} = {value}", became, reason)


def _without_null(values: dict[str, Any], where: str, changes: list[Change]) -> dict[str, Any]:
    for key in sorted(key for key, value in values.items() if value is None):
        why = "TOML has no null: the default of whoever reads it applies"
        changes.append(Change(_DROPPED, f"{where} {key} = null", reason=why, needs_attention=True))
    kept = {key: value for key, value in values.items() if value is not None}
    if _holds_null(kept):
        raise ConfigError(f"{where}: found null inside of a list or an object, for which TOML has no form; replace it")
    return kept


def _holds_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_null(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_holds_null(inner) for inner in value)
    return value is None
