"""The contract with user code: what a training function receives, and what it must return."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rt_flare.core.finite_check import first_not_finite
from rt_flare.core.sample_count import sample_count_problem
from rt_flare.core.state_dict import StateDict, to_plain
from rt_flare.errors import ConfigError, ResultError, StateDictError

__all__ = ["RESERVED_ENV", "Payload", "TrainResult", "build_payload", "parse_metrics", "parse_result"]

Payload = dict[str, Any]

RESERVED_ENV = frozenset(
    {
        *("SITE_NAME", "JOB_ID", "CURRENT_ROUND", "NUM_ROUNDS", "DEVICE", "STATE_DIR"),
        *("local_epochs", "batch_size", "learning_rate", "img_size", "num_classes", "manifest_file"),
    }
)
_RESULT_KEYS = {"weights", "state_dict", "samples", "num_samples", "metrics", "final_checkpoint"}
_NESTED_STATE_KEYS = ("model_state", "model_state_dict", "state_dict")
_FALLBACK_CHECKPOINT = "state_dict.pt"
_METRIC_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@ -]{0,63}")
_MAX_METRICS = 256


@dataclass(frozen=True)
class TrainResult:
    """What a training function returned, checked.

    Attributes:
        weights: state dict of plain, dense CPU tensors.
        num_samples: samples behind the weights, at least 1.
        metrics: finite or non-finite floats by name.
        warnings: what was odd but no reason to refuse the result.
    """

    weights: StateDict
    num_samples: int
    metrics: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def build_payload(
    *, weights: StateDict, dataset: Mapping[str, Any], env: Mapping[str, Any], extra: Mapping[str, Any]
) -> Payload:
    """Build the dict that ``fl_train_model`` receives.

    Args:
        weights: the global model: name to CPU tensor.
        dataset: ``data_root``, ``adapter``, ``manifest`` and ``adapter_args``.
        env: every key of `RESERVED_ENV`.
        extra: the job's own keys, merged into ``env``.

    Raises:
        ConfigError: ``extra`` names a key that rt_flare sets itself.
    """
    if taken := sorted(RESERVED_ENV & set(extra)):
        raise ConfigError(f"extra must not name {', '.join(taken)}: set the field of that name instead")
    return {"initial_weights": dict(weights), "dataset": dict(dataset), "env": {**env, **extra}}


def parse_result(result: Any, out_dir: Path) -> TrainResult:
    """Check what a training function returned: weights, samples and metrics.

    Weights are taken from ``weights`` or ``state_dict``; else from the file that ``final_checkpoint`` names
    (relative to ``out_dir``), else from ``out_dir/state_dict.pt``, read with ``weights_only=True``.

    Raises:
        ResultError: with a ``reason``: ``result_not_a_dict``, ``weights_missing``, ``weights_empty``,
            ``weights_invalid``, ``weights_not_finite``, ``checkpoint_missing``, ``checkpoint_invalid``,
            ``samples_conflict``, one of `sample_count_problem`, or ``metrics_invalid``.
    """
    if not isinstance(result, Mapping):
        raise ResultError(
            "result_not_a_dict",
            f"the training function returned {type(result).__name__}, expected "
            '{"weights": model.state_dict(), "samples": <int>, "metrics": {...}}',
        )
    weights = _weights(result, out_dir)
    num_samples = _num_samples(result)
    unknown = sorted(str(key) for key in result if key not in _RESULT_KEYS)
    warnings = (f"the result's keys {unknown} are not part of the contract and were not used",) if unknown else ()
    return TrainResult(weights, num_samples, parse_metrics(result.get("metrics")), warnings)


def parse_metrics(metrics: Any) -> dict[str, float]:
    """Check a metrics mapping: plain names, numbers as values (NaN and infinities are kept).

    Raises:
        ResultError: reason ``metrics_invalid``.
    """
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise ResultError("metrics_invalid", f"metrics: found {type(metrics).__name__}, expected a dict of numbers")
    if len(metrics) > _MAX_METRICS:
        raise ResultError("metrics_invalid", f"metrics: found {len(metrics)} entries, expected at most {_MAX_METRICS}")
    return {_metric_name(name): _metric_value(name, value) for name, value in metrics.items()}


def _metric_name(name: Any) -> str:
    if not isinstance(name, str) or not _METRIC_NAME.fullmatch(name):
        raise ResultError(
            "metrics_invalid",
            f"metrics: found the name {str(name)[:80]!r}, expected up to 64 letters, digits, spaces and _ . : / @ -",
        )
    return name


def _metric_value(name: str, value: Any) -> float:
    if (isinstance(value, torch.Tensor) and value.numel() == 1) or (isinstance(value, np.ndarray) and value.size == 1):
        value = value.item()
    if isinstance(value, bool | int | float | np.integer | np.floating | np.bool_):
        with contextlib.suppress(OverflowError):  # an int beyond every float
            return float(value)
    raise ResultError("metrics_invalid", f"metrics[{name!r}]: found {type(value).__name__}, expected a real number")


def _num_samples(result: Mapping[str, Any]) -> int:
    given = [result[key] for key in ("samples", "num_samples") if key in result] or [None]
    for value in given:
        if problem := sample_count_problem(value):
            raise ResultError(*problem)
    if given[0] != given[-1]:
        raise ResultError(
            "samples_conflict", f"samples and num_samples differ: {given[0]} and {given[-1]}; return one of them"
        )
    return int(given[0])


def _weights(result: Mapping[str, Any], out_dir: Path) -> StateDict:
    for key in ("weights", "state_dict"):
        if result.get(key) is not None:
            return _plain(result[key], f"the result's {key!r}")
    named = result.get("final_checkpoint")
    if named is not None:
        path = out_dir / str(named)
        if not path.is_file():
            raise ResultError("checkpoint_missing", f"final_checkpoint: found no file {named}")
        return _plain(_load(path), f"final_checkpoint {named}")
    fallback = out_dir / _FALLBACK_CHECKPOINT
    if not fallback.is_file():
        raise ResultError(
            "weights_missing",
            'the result has none of "weights", "state_dict" and "final_checkpoint", and out_dir no state_dict.pt; '
            'return {"weights": model.state_dict(), ...}',
        )
    return _plain(_load(fallback), _FALLBACK_CHECKPOINT)


def _load(path: Path) -> Any:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ResultError(
            "checkpoint_invalid",
            f"{path.name} cannot be read as weights only; save it with torch.save(model.state_dict(), path): {error}",
        ) from error
    if isinstance(loaded, Mapping):
        for key in _NESTED_STATE_KEYS:
            if isinstance(loaded.get(key), Mapping):
                return loaded[key]
    return loaded


def _plain(weights: Any, where: str) -> StateDict:
    if not isinstance(weights, Mapping):
        raise ResultError("weights_invalid", f"{where}: found {type(weights).__name__}, expected a state dict")
    if not weights:
        raise ResultError("weights_empty", f"{where}: found no entries, expected model.state_dict()")
    try:
        plain = to_plain(weights)
    except StateDictError as error:
        raise ResultError("weights_invalid", f"{where}: {error}") from error
    if name := first_not_finite(plain):
        raise ResultError(
            "weights_not_finite",
            f"{where}: {name} holds NaN or infinite values; the training diverged, try a smaller learning rate",
        )
    return plain
