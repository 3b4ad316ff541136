"""Global models on disk: plain state dicts with a sidecar, written whole, off the round's critical path."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import queue
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from rt_flare.core.direct_file import DirectWriter
from rt_flare.core.durable_io import link_file, write_atomic, write_json
from rt_flare.core.full_disk import outlast_full_disk
from rt_flare.core.model_files import BEST_MODEL, GLOBAL_MODEL, SIDECAR_SCHEMA, link_model, round_model_name
from rt_flare.core.model_spec import ModelSpec
from rt_flare.core.state_dict import StateDict, TensorSpec, check_fit, fit_names, to_plain
from rt_flare.errors import StateDictError

__all__ = [
    "BEST_MODEL",
    "GLOBAL_MODEL",
    "CheckpointWriter",
    "RoundModel",
    "load_checkpoint",
    "load_weights",
    "round_model_name",
]


@dataclass(frozen=True)
class RoundModel:
    """A global model to be saved.

    Attributes:
        round: 0-based round that produced it.
        weights: its state dict; must not change until it is saved.
        model: how to build the model that the weights fit.
        contributors: names of the sites whose updates are in it.
        num_samples: samples behind those updates.
        metrics: metrics known when it is saved.
    """

    round: int
    weights: StateDict
    model: ModelSpec
    contributors: list[str] = field(default_factory=list)
    num_samples: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class CheckpointWriter:
    """Saves models in a thread of its own, one at a time: a round's model is durable before the round after next.

    For each model ``model_round_N.pt`` and its sidecar ``model_round_N.json`` are written, then ``global_model.pt``
    and ``global_model.json`` are replaced by the same content. Every file is whole at every instant, and
    ``global_model.pt`` is always the last model that was saved. Older rounds beyond ``keep_last`` are removed. While
    the disk is full, a save waits for room, up to a minute, and the next one for it.

    Args:
        folder: where the models go.
        keep_last: number of ``model_round_N.pt`` to keep, at least 2: a round's model is measured in the next round,
            and may then turn out to be the best; 0 keeps all.
        saved: rounds whose models an earlier run left in ``folder``; they count as if saved here.
    """

    def __init__(self, folder: Path, *, keep_last: int = 0, saved: Iterable[int] = ()) -> None:
        self._folder = folder
        self._keep_last = keep_last
        self._saved = sorted(saved)
        self._error: Exception | None = None
        self._queue: queue.Queue[RoundModel | int | None] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._work, name="rt-flare-checkpoints", daemon=True)
        self._thread.start()

    def save(self, model: RoundModel) -> None:
        """Begin to save ``model``, once the one before is durable.

        Raises:
            OSError (or whatever the failed save raised): an earlier save failed.
            ValueError: the writer is closed.
        """
        self.flush()
        self._put(model)

    def mark_best(self, round_number: int) -> None:
        """Make ``best_model.pt`` the model of ``round_number``, which must be among those still kept."""
        self._put(round_number)

    def flush(self) -> None:
        """Wait until everything queued is durable on disk.

        Raises:
            OSError (or whatever the failed save raised): a save failed.
        """
        self._queue.join()
        self._raise_failure()

    def close(self) -> None:
        """Flush and end the thread; raises as `flush` does."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._raise_failure()

    def _put(self, item: RoundModel | int) -> None:
        self._raise_failure()
        if not self._thread.is_alive():
            raise ValueError("the checkpoint writer is closed: nothing more is saved")
        self._queue.put(item)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if self._error is None:
                    self._put_on_disk(item)
            except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
                self._error = error
            finally:
                del item
                self._queue.task_done()
        self._queue.task_done()

    def _put_on_disk(self, item: RoundModel | int) -> None:
        if isinstance(item, int):
            outlast_full_disk(lambda: self._link_best(item))
        else:
            outlast_full_disk(lambda: self._write(item))

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error

    def _write(self, model: RoundModel) -> None:
        name = round_model_name(model.round)
        path = self._folder / name
        sha256 = _save(path, model.weights)
        sidecar = _sidecar(model, name, sha256, path.stat().st_size)
        write_json(path.with_suffix(".json"), sidecar)
        link_file(path, self._folder / GLOBAL_MODEL)
        write_json((self._folder / GLOBAL_MODEL).with_suffix(".json"), {**sidecar, "file": GLOBAL_MODEL})
        self._saved = [*(saved for saved in self._saved if saved != model.round), model.round]
        self._prune()

    def _link_best(self, round_number: int) -> None:
        link_model(self._folder / round_model_name(round_number), self._folder / BEST_MODEL)

    def _prune(self) -> None:
        while self._keep_last and len(self._saved) > max(self._keep_last, 2):
            path = self._folder / round_model_name(self._saved.pop(0))
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)


def load_checkpoint(path: Path, expected: Mapping[str, TensorSpec]) -> StateDict:
    """Read a state dict that must fit ``expected``, with ``weights_only=True``.

    A file that holds the state dict under ``model``, ``model_state``, ``model_state_dict`` or ``state_dict`` is
    unwrapped, and prefixes of ``torch.compile`` and ``DataParallel`` are dropped.

    Raises:
        StateDictError: the file cannot be read safely, or does not fit.
    """
    state = fit_names(load_weights(path), expected)
    check_fit(state, expected, what=str(path))
    return state


def load_weights(path: Path) -> StateDict:
    """Read a state dict as `load_checkpoint` does, whatever its names and shapes are.

    Raises:
        StateDictError: the file cannot be read safely, or is none.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StateDictError(f"{path}: cannot be read as weights only: {error}") from error
    for key in ("model", "model_state", "model_state_dict", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise StateDictError(f"{path}: found {type(loaded).__name__}, expected a state dict")
    return to_plain(loaded)


def _save(path: Path, weights: StateDict) -> str:
    digest = hashlib.sha256()

    def write(file: BinaryIO) -> None:
        direct = DirectWriter(file)
        hashing = _HashingFile(direct, digest)
        try:
            torch.save(weights, cast("IO[bytes]", hashing))
        except RuntimeError as error:
            # torch hides why the file could not be written behind an assertion of its own.
            raise hashing.error or error from error
        direct.finish()

    write_atomic(path, write)
    return digest.hexdigest()


class _HashingFile:
    """Passes bytes on and hashes them: torch writes its archives front to back."""

    def __init__(self, file: DirectWriter, digest: Any) -> None:
        self._file = file
        self._digest = digest
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Nothing: the file is flushed when it is whole."""


def _sidecar(model: RoundModel, name: str, sha256: str, size: int) -> dict[str, Any]:
    return {
        "schema": SIDECAR_SCHEMA,
        "file": name,
        "sha256": sha256,
        "size_bytes": size,
        "round": model.round,
        "model_path": model.model.path,
        "model_args": model.model.args,
        "contributors": model.contributors,
        "num_samples": model.num_samples,
        "metrics": model.metrics,
        "versions": {"python": platform.python_version(), **_versions("rt-flare", "nvflare", "torch", "numpy")},
    }


def _versions(*distributions: str) -> dict[str, str]:
    found = {}
    for name in distributions:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
