"""The user's module: which contract it follows, decided once, and how its functions are called."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.payload import Payload, TrainResult, parse_metrics, parse_result
from rt_flare.core.sample_count import sample_count_problem
from rt_flare.core.state_dict import load_strictly
from rt_flare.core.user_logger import UserLogger
from rt_flare.errors import ContractError, ResultError

__all__ = ["Contract", "UserCode", "Validation"]

Validation = tuple[dict[str, float], int | None]
"""Metrics of the received model, and the samples behind them when the function says."""


class Contract(StrEnum):
    """The two signatures that a user's module may follow."""

    PAYLOAD = "fl_train_model(payload, out_dir, logger)"
    MODEL = "fl_train(model, env, out_dir, logger)"


_FUNCTIONS = {Contract.PAYLOAD: ("fl_train_model", "fl_validate_model"), Contract.MODEL: ("fl_train", "fl_validate")}


class UserCode:
    """The user's module, imported, and the contract that it follows.

    ``fl_train_model`` makes it `Contract.PAYLOAD`; otherwise ``fl_train`` makes it `Contract.MODEL`, the published
    SDK's newer signature: rt_flare builds the model from ``model_spec``, loads the global weights strictly, and
    passes an ``env`` with ``EPOCHS``, ``BATCH_SIZE``, ``LR`` and ``DATA_ROOT`` beside the usual keys.

    Args:
        module_name: importable name of the module, as ``model_def``.
        model_spec: how to build the model; used by `Contract.MODEL` only.

    Raises:
        ContractError: the module has neither function, or one with another signature.
    """

    def __init__(self, module_name: str, model_spec: ModelSpec) -> None:
        self.module = importlib.import_module(module_name)
        self.contract = _decide(self.module)
        train_name, validate_name = _FUNCTIONS[self.contract]
        self._model_spec = model_spec
        self._train = _function(self.module, train_name, self.contract)
        self._validate = _function(self.module, validate_name, self.contract) if self.validates else None

    @property
    def validates(self) -> bool:
        """Whether the module has a validation function."""
        return callable(getattr(self.module, _FUNCTIONS[self.contract][1], None))

    def train(self, payload: Payload, out_dir: Path, logger: UserLogger) -> TrainResult:
        """Call the training function and check its result (see `parse_result`)."""
        try:
            return parse_result(self._call(self._train, payload, out_dir, logger), out_dir)
        except ResultError as error:
            error.source = error.source or _source(self._train)
            raise

    def validate(self, payload: Payload, out_dir: Path, logger: UserLogger) -> Validation | None:
        """Call the validation function on the received model; None when the module has none.

        The function returns ``{"metrics": {...}, "samples": n}``, where ``samples`` may be left out.

        Raises:
            ResultError: it returned something else.
        """
        if self._validate is None:
            return None
        result = self._call(self._validate, payload, out_dir, logger)
        try:
            return _parse_validation(result)
        except ResultError as error:
            error.source = _source(self._validate)
            raise

    def _call(self, function: Callable[..., Any], payload: Payload, out_dir: Path, logger: UserLogger) -> Any:
        if self.contract is Contract.PAYLOAD:
            return function(payload, str(out_dir), logger=logger)
        env = payload["env"]
        model = self._model_spec.build()
        if payload["initial_weights"]:
            load_strictly(model, payload["initial_weights"], what="the global model")
        sdk_env = {
            **env,
            "EPOCHS": env["local_epochs"],
            "BATCH_SIZE": env["batch_size"],
            "LR": env["learning_rate"],
            "DATA_ROOT": payload["dataset"]["data_root"],
        }
        return function(model.to(env["DEVICE"]), sdk_env, str(out_dir), logger=logger)


def _parse_validation(result: Any) -> Validation:
    if not isinstance(result, Mapping) or "metrics" not in result:
        found = type(result).__name__ if not isinstance(result, Mapping) else f"keys {sorted(map(str, result))}"
        raise ResultError("metrics_invalid", f'expected {{"metrics": {{...}}, "samples": <int>}}, found {found}')
    samples = result.get("samples")
    if samples is not None and (problem := sample_count_problem(samples)):
        raise ResultError(*problem)
    return parse_metrics(result["metrics"]), None if samples is None else int(samples)


def _source(function: Callable[..., Any]) -> tuple[str, int] | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else None


def _decide(module: ModuleType) -> Contract:
    for contract, (train_name, _) in _FUNCTIONS.items():
        if callable(getattr(module, train_name, None)):
            return contract
    own = [name for name, value in vars(module).items() if inspect.isfunction(value)]
    near = difflib.get_close_matches("fl_train_model", own, n=1) or difflib.get_close_matches("fl_train", own, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ContractError(f"{module.__name__} defines neither fl_train_model nor fl_train{hint}")


def _function(module: ModuleType, name: str, contract: Contract) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(module, name)
    num_positional = 2 if contract is Contract.PAYLOAD else 3
    try:
        inspect.signature(function).bind(*range(num_positional), logger=None)
    except TypeError as error:
        expected = contract.value if name == _FUNCTIONS[contract][0] else contract.value.replace("train", "validate")
        mismatch = ContractError(f"{name}{inspect.signature(function)} cannot be called as {expected}: {error}")
        mismatch.source = _source(function)
        raise mismatch from error
    return function
