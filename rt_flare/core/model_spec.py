"""A model named by its path and arguments: built the same way on the server, on the sites and after a download."""

from __future__ import annotations

import importlib
from typing import Any

import orjson
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rt_flare.core.state_dict import TensorSpec, describe
from rt_flare.errors import ModelError

__all__ = ["ModelSpec"]


class ModelSpec(BaseModel):
    """A model class or factory function and its keyword arguments.

    Attributes:
        path: dotted path, as ``model_def.Model`` or ``package.module.make_model``.
        args: keyword arguments; JSON values only, because they travel in job configurations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = "model_def.Model"
    args: dict[str, Any] = Field(default_factory=dict)

    @field_validator("path")
    @classmethod
    def _path_is_dotted(cls, value: str) -> str:
        parts = value.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            raise ValueError(f"expected a dotted path as 'model_def.Model', found {value!r}")
        return value

    @field_validator("args")
    @classmethod
    def _args_survive_rendering(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            survives = orjson.loads(orjson.dumps(value)) == value
        except TypeError as error:
            raise ValueError(f"model arguments must be JSON values: {error}") from error
        if not survives:
            raise ValueError(f"model arguments change when they are written as JSON (a tuple, NaN?): {value!r}")
        return value

    def build(self) -> torch.nn.Module:
        """Import the class or function and call it.

        Raises:
            ModelError: the module or name does not exist, or the call does not return a `torch.nn.Module`. Errors
                raised by the user's own code pass through unchanged, with their own file and line.
        """
        module_name, _, attribute = self.path.rpartition(".")
        module = importlib.import_module(module_name)
        factory = getattr(module, attribute, None)
        if not callable(factory):
            raise ModelError(f"{module_name} defines no class or function {attribute!r}; is the model path right?")
        model = factory(**self.args)
        if not isinstance(model, torch.nn.Module):
            raise ModelError(f"{self.path}(...) returned {type(model).__name__}, expected a torch.nn.Module")
        return model

    def describe(self) -> dict[str, TensorSpec]:
        """Names, shapes and dtypes of a fresh model's state dict."""
        return describe(self.build().state_dict())
