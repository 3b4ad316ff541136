"""One site's training and validation of one round, in whatever process it runs."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.payload import TrainResult, build_payload
from rt_flare.core.state_dict import StateDict
from rt_flare.core.user_code import UserCode
from rt_flare.core.user_logger import UserLogger

__all__ = ["SiteTask", "TaskOutcome", "TaskRunner", "UserCodeConfig"]


class UserCodeConfig(BaseModel):
    """What a training process needs to know once, at its start.

    Attributes:
        user_module: importable name of the user's module.
        code_dir: folder of the job's code, put at the end of the import path; None when the code is installed.
        model: how to build the model, for the contract that receives one.
        memory_limit_bytes: limit of the process's address space; 0 sets none.
        num_threads: CPU threads of PyTorch; 0 leaves its default.
        seed: seed of the random generators, mixed with site and round before each call; None leaves them alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_module: str = "model_def"
    code_dir: Path | None = None
    model: ModelSpec = Field(default_factory=ModelSpec)
    memory_limit_bytes: int = Field(default=0, ge=0)
    num_threads: int = Field(default=0, ge=0)
    seed: int | None = None


class SiteTask(BaseModel):
    """What one call of user code is about; the weights travel beside it.

    Attributes:
        kind: ``train`` (validates the received model first when the module can) or ``validate``.
        dataset: the payload's ``dataset``.
        env: the payload's ``env`` without ``DEVICE``, which the training process knows.
        extra: the job's own keys for ``env``.
        out_dir: folder for the files that user code writes in this round.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(default="train", pattern="^(train|validate)$")
    dataset: dict[str, Any]
    env: dict[str, Any]
    extra: dict[str, Any] = Field(default_factory=dict)
    out_dir: Path


@dataclass(frozen=True)
class TaskOutcome:
    """What a `SiteTask` gave.

    Attributes:
        result: the training's result; None for a validation.
        received_model_metrics: metrics of the received model; None without a validation function.
        validation_samples: samples behind them; None when the function does not say.
    """

    result: TrainResult | None
    received_model_metrics: dict[str, float] | None
    validation_samples: int | None


class TaskRunner:
    """Imports the user's module once and runs its functions, round after round.

    Raises:
        ContractError, ImportError, and whatever the user's module raises while it is imported.
    """

    def __init__(self, config: UserCodeConfig, logger: UserLogger) -> None:
        if config.code_dir is not None and str(config.code_dir) not in sys.path:
            sys.path.append(str(config.code_dir))
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        self._config = config
        self._logger = logger
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._user_code = UserCode(config.user_module, config.model)
        logger.info(f"user code: {config.user_module}, contract {self._user_code.contract.value}, on {self.device}")

    def run(self, task: SiteTask, weights: StateDict) -> TaskOutcome:
        """Run ``task`` with ``weights``, which user code may change freely.

        Raises:
            ResultError: user code returned something that breaks the contract; and whatever user code raises.
        """
        task.out_dir.mkdir(parents=True, exist_ok=True)
        Path(task.env["STATE_DIR"]).mkdir(parents=True, exist_ok=True)
        env = {**task.env, "DEVICE": self.device}
        validation = None
        if weights and (task.kind == "validate" or self._user_code.validates):
            self._seed(env, "validate")
            copies = {name: tensor.clone() for name, tensor in weights.items()}
            payload = build_payload(weights=copies, dataset=task.dataset, env=env, extra=task.extra)
            validation = self._user_code.validate(payload, task.out_dir, self._logger)
        metrics, samples = validation or (None, None)
        if task.kind == "validate":
            return TaskOutcome(None, metrics, samples)
        self._seed(env, "train")
        payload = build_payload(weights=weights, dataset=task.dataset, env=env, extra=task.extra)
        return TaskOutcome(self._user_code.train(payload, task.out_dir, self._logger), metrics, samples)

    def _seed(self, env: Mapping[str, Any], purpose: str) -> None:
        if self._config.seed is None:
            return
        text = f"{self._config.seed}/{env['SITE_NAME']}/{env['CURRENT_ROUND']}/{purpose}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
