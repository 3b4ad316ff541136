"""Saving a round's model: rt_flare's persistor against NVFlare's followed by a copy, as in the published SDK.

Run with ``uv run python -m benchmarks.saving``. What counts is how long the round waits; that the model is on the disk
is compared with the bare writing of as many bytes, flushed. Before each measurement everything earlier is on the disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import torch
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.app_common.abstract.model import ModelLearnable, make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor

from benchmarks.figures import Figure, command, spread
from benchmarks.layouts import LAYOUTS, make_state
from rt_flare.components.persistor import CustomPersistor

_BLOCK = 1 << 22


class SavingJob:
    """A job's folder, and as much of NVFlare's engine and workspace as the persistors ask for."""

    def __init__(self, folder: Path, weights: dict[str, torch.Tensor]) -> None:
        self.folder = folder
        self.ours = CustomPersistor(keep_last=2)
        self.theirs = PTFileModelPersistor()
        self.fl_ctx: FLContext = FLContextManager(engine=self, identity_name="server", job_id="job").new_context()
        self.fl_ctx.set_prop(FLContextKey.APP_ROOT, str(folder / "app"), private=True, sticky=True)
        self.theirs.handle_event(EventType.START_RUN, self.fl_ctx)
        self._torch = make_model_learnable(weights, {})
        # NVFlare's persistor gets what its controllers hand it: numpy's arrays.
        self._numpy = make_model_learnable({name: tensor.numpy() for name, tensor in weights.items()}, {})
        self._round = 0

    def get_workspace(self) -> SavingJob:
        """Part of NVFlare's engine."""
        return self

    def get_run_dir(self, job_id: str) -> str:
        """Part of NVFlare's workspace."""
        return str(self.folder)

    def save_ours(self) -> tuple[float, float]:
        """Seconds until the round goes on, and until the model is durable."""
        seconds, start = self._seconds(self.ours, self._torch), time.perf_counter()
        assert self.ours._writer is not None
        self.ours._writer.flush()
        return seconds, seconds + time.perf_counter() - start

    def save_theirs(self) -> float:
        """Seconds until the round goes on, a copy of the file for the user included."""
        seconds, start = self._seconds(self.theirs, self._numpy), time.perf_counter()
        shutil.copy2(self.theirs._ckpt_save_path, self.folder / "copy.pt")
        return seconds + time.perf_counter() - start

    def close(self) -> None:
        """End the job."""
        self.ours.handle_event(EventType.END_WORKFLOW, self.fl_ctx)

    def _seconds(self, persistor: CustomPersistor | PTFileModelPersistor, model: ModelLearnable) -> float:
        self._round += 1
        self.fl_ctx.set_prop(AppConstants.CURRENT_ROUND, self._round, private=True, sticky=True)
        start = time.perf_counter()
        persistor.save_model(model, self.fl_ctx)
        return time.perf_counter() - start


def write_plain(path: Path, num_bytes: int) -> float:
    """Seconds to write as many bytes and flush them."""
    block = os.urandom(_BLOCK)
    start = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(num_bytes // _BLOCK):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start


def measure(options: argparse.Namespace) -> list[Figure]:
    """Save one model again and again in every way."""
    shapes = LAYOUTS["transformer"](options.megabytes * 10**6 // 4)
    weights = make_state(shapes, torch.float32, seed=0)
    num_bytes = sum(tensor.nbytes for tensor in weights.values())
    waits, durable, theirs, plain = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="rt-flare-saving-", dir=options.folder) as name:
        job = SavingJob(Path(name), weights)
        for number in range(options.repeats + 1):
            os.sync()
            wait, until_durable = job.save_ours()
            os.sync()
            their = job.save_theirs()
            os.sync()
            bare = write_plain(Path(name, "plain"), num_bytes)
            if number:  # the first of each makes what the others find
                waits.append(wait)
                durable.append(until_durable)
                theirs.append(their)
                plain.append(bare)
        job.close()
    for what, values in (("ours", waits), ("ours, durable", durable), ("peer", theirs), ("plain writing", plain)):
        print(f"  {what:16} {spread(values)} s", flush=True)
    return [
        Figure(
            f"{num_bytes / 1e6:.0f} MB, the round waits: ours / PTFileModelPersistor and a copy",
            tuple(a / b for a, b in zip(waits, theirs, strict=True)),
            at_most=0.15,
        ),
        Figure(
            "until durable, with its hash: ours / writing and flushing as many bytes",
            tuple(a / b for a, b in zip(durable, plain, strict=True)),
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="where files are written; a new temporary folder by default")
    command(parser, measure)


if __name__ == "__main__":
    main()
