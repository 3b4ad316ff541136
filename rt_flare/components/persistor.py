"""The global model's beginning and its files."""

from __future__ import annotations

import rt_flare.core.torch_import  # noqa: F401 - before all others: it loads PyTorch faster

# isort: split
from pathlib import Path
from typing import Any

import torch
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.app_constant import AppConstants
from pydantic import ValidationError

from rt_flare.components.events import JOB_ENDING, JobEnding
from rt_flare.components.site import code_dir, run_dir
from rt_flare.components.wire import NUM_SAMPLES, register_tensors
from rt_flare.core.checkpoints import GLOBAL_MODEL, CheckpointWriter, RoundModel, load_checkpoint, load_weights
from rt_flare.core.durable_io import read_json, write_json
from rt_flare.core.earlier_run import EarlierRun, carry_models
from rt_flare.core.failures import describe_exception
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.state_dict import StateDict, TensorSpec, check_fit, describe, to_plain
from rt_flare.errors import ConfigError, ResumeError

__all__ = ["CONTRIBUTORS", "MODEL_FOLDER", "CustomPersistor"]

MODEL_FOLDER = "model_out"
CONTRIBUTORS = "rt_contributors"
_INITIAL_WEIGHTS = ("model", "clients")


class CustomPersistor(ModelPersistor):
    """Builds the initial global model and saves the model of every round as a plain state dict.

    Files go to ``model_out/`` in the server's run folder of the job: ``model_round_N.pt`` (N is the 0-based round
    that produced it), ``global_model.pt`` (the last one) and ``best_model.pt``, each with a JSON sidecar. They load
    with ``Model().load_state_dict(torch.load(path, weights_only=True))``, without rt_flare or NVFlare. Saving runs
    in a thread of its own; before the workflow ends everything is on disk, or the job fails.

    Args:
        model_path: dotted path of the model class or factory function.
        model_args: its keyword arguments; JSON values.
        initial_weights: ``model`` (the fresh model's weights, or the checkpoint's) or ``clients`` (an empty global
            model: the first round's updates make it).
        initial_checkpoint: file with a state dict to start from, absolute or relative to the job's custom folder.
        keep_last: number of ``model_round_N.pt`` to keep; 0 keeps all.
        seed: seed for the fresh model's random weights; None leaves PyTorch's generator as it is.

    Raises:
        ConfigError: an argument is invalid.
    """

    def __init__(
        self,
        model_path: str = "model_def.Model",
        model_args: dict[str, Any] | None = None,
        initial_weights: str = "model",
        initial_checkpoint: str = "",
        keep_last: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.model_path = model_path
        self.model_args = model_args
        self.initial_weights = initial_weights
        self.initial_checkpoint = initial_checkpoint
        self.keep_last = keep_last
        self.seed = seed
        if initial_weights not in _INITIAL_WEIGHTS:
            raise ConfigError(f"initial_weights: found {initial_weights!r}, expected one of {_INITIAL_WEIGHTS}")
        try:
            self._model = ModelSpec(path=model_path, args=model_args or {})
        except ValidationError as error:
            raise ConfigError(f"model_path and model_args: {error}") from error
        register_tensors()
        self._specs: dict[str, TensorSpec] = {}
        self._writer: CheckpointWriter | None = None
        self._carried: list[int] = []

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Make everything durable before the workflow ends."""
        if event_type == EventType.END_WORKFLOW and self._writer is not None:
            self._finish(fl_ctx)

    def take_over(self, earlier: EarlierRun, best_round: int | None, fl_ctx: FLContext) -> None:
        """Go on from the last complete round of an earlier run: its models become this one's.

        Raises:
            ResumeError: the model is another one by its path or arguments; and as `carry_models`.
        """
        assert earlier.model is not None
        sidecar = read_json(earlier.model.with_suffix(".json"))
        for name, own in (("model_path", self._model.path), ("model_args", self._model.args)):
            if sidecar.get(name) != own:
                raise ResumeError(
                    f"{name} has changed: found {own!r}, expected {sidecar.get(name)!r} as in the earlier job"
                )
        write_json(run_dir(fl_ctx) / "artifact_manifest.json", _artifact_manifest())
        self._carried = carry_models(earlier, run_dir(fl_ctx) / MODEL_FOLDER, best_round)

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Build the initial global model.

        Raises:
            StateDictError: the checkpoint does not fit; and whatever the user's model code raises.
        """
        try:
            weights = self._initial_weights(fl_ctx)
        except Exception as error:
            failure = describe_exception(error, code_dir=code_dir(fl_ctx))
            self.fire_event_with_data(JOB_ENDING, fl_ctx, JOB_ENDING, JobEnding(error=failure))
            raise
        self._specs = describe(weights)
        return make_model_learnable(weights, {})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Save the model of the current round; returns while it is still being written.

        Raises:
            StateDictError: the model is not the one that was built; OSError: an earlier save failed.
        """
        folder = run_dir(fl_ctx)
        if self._writer is None:
            write_json(folder / "artifact_manifest.json", _artifact_manifest())
            self._writer = CheckpointWriter(folder / MODEL_FOLDER, keep_last=self.keep_last, saved=self._carried)
        weights = to_plain(model[ModelLearnableKey.WEIGHTS])
        if self._specs:
            check_fit(weights, self._specs, what="the global model")
        meta = model.get(ModelLearnableKey.META) or {}
        round_number = fl_ctx.get_prop(AppConstants.CURRENT_ROUND)
        self._writer.save(
            RoundModel(
                round=round_number,
                weights=weights,
                model=self._model,
                contributors=list(meta.get(CONTRIBUTORS, [])),
                num_samples=meta.get(NUM_SAMPLES),
            )
        )
        self.log_info(fl_ctx, f"saving the global model of round {round_number}")

    def mark_best(self, round_number: int) -> None:
        """Make ``best_model.pt`` the model of ``round_number``."""
        if self._writer is not None:
            self._writer.mark_best(round_number)

    def _initial_weights(self, fl_ctx: FLContext) -> StateDict:
        saved = run_dir(fl_ctx) / MODEL_FOLDER / GLOBAL_MODEL if self._carried else None
        if saved is not None and self.initial_weights == "clients":
            return load_weights(saved)
        if self.initial_weights == "clients":
            self.log_info(fl_ctx, "the global model starts empty: the first round's updates make it")
            return {}
        with torch.random.fork_rng(enabled=self.seed is not None):
            if self.seed is not None:
                torch.manual_seed(self.seed)
            weights = to_plain(self._model.build().state_dict())
        if saved is not None:
            return load_checkpoint(saved, describe(weights))
        if not self.initial_checkpoint:
            return weights
        path = (code_dir(fl_ctx) or Path()) / self.initial_checkpoint
        return load_checkpoint(path, describe(weights))

    def _finish(self, fl_ctx: FLContext) -> None:
        writer, self._writer = self._writer, None
        assert writer is not None
        try:
            writer.close()
        except Exception as error:  # noqa: BLE001 - whatever kept the model from disk fails the job
            failure = describe_exception(error)
            self.fire_event_with_data(JOB_ENDING, fl_ctx, JOB_ENDING, JobEnding(error=failure))
            self.system_panic(f"the global model could not be saved: {error}", fl_ctx)


def _artifact_manifest() -> dict[str, Any]:
    return {"schema_version": "1", "artifacts": {"global_model": f"{MODEL_FOLDER}/{GLOBAL_MODEL}"}}
