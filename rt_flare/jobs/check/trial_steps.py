"""What runs in the child process of a dry run, as the module that the training worker is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.user_code import UserCode

__all__ = ["TRIAL_KEY", "TrialStep", "fl_train_model"]

TRIAL_KEY = "rt_flare_trial"
"""Key of ``payload["env"]`` with a `TrialStep`."""


class TrialStep(BaseModel):
    """What to do.

    Attributes:
        step: ``build``: make the model and return its weights. ``train``: call the user's functions.
        user_module: importable name of the user's module.
        model: how to build the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    user_module: str
    model: ModelSpec


def fl_train_model(payload: dict[str, Any], out_dir: str, logger: Any = None) -> dict[str, Any]:
    """Do one step with the user's module."""
    env = dict(payload["env"])
    step = TrialStep.model_validate(env.pop(TRIAL_KEY))
    if step.step == "build":
        return {"weights": step.model.build().state_dict(), "samples": 1}
    code = UserCode(step.user_module, step.model)
    if code.validates and payload["initial_weights"]:
        copies = {name: tensor.clone() for name, tensor in payload["initial_weights"].items()}
        code.validate({**payload, "initial_weights": copies, "env": env}, Path(out_dir), logger)
    result = code.train({**payload, "env": env}, Path(out_dir), logger)
    return {"weights": result.weights, "samples": result.num_samples, "metrics": result.metrics}
