# TOP
"""The code of a job of NVFlare's own parts, small and without PyTorch."""

import json
from pathlib import Path

from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.widgets.widget import Widget


def run_dir(fl_ctx):
    return Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))


class Echo(Executor):
    """Adds 1 to every weight and leaves a file, as user code would."""

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        number = shareable.get_header(AppConstants.CURRENT_ROUND)
        weights = from_shareable(shareable).data
        # TRAIN
        out = run_dir(fl_ctx) / "out" / f"round_{number}"
        out.mkdir(parents=True)
        (out / "note.txt").write_text(fl_ctx.get_identity_name())
        data = {name: value + 1 for name, value in weights.items()}
        return DXO(DataKind.WEIGHTS, data, {MetaKey.NUM_STEPS_CURRENT_ROUND: 10}).to_shareable()


class Summary(Widget):
    """Writes the round summary as the job's own writer does."""

    def __init__(self, num_rounds):
        super().__init__()
        self.num_rounds = num_rounds
        self.rounds = []

    def handle_event(self, event_type, fl_ctx):
        if event_type == EventType.START_RUN:
            self.write("RUNNING", fl_ctx)
        elif event_type == AppEventType.ROUND_DONE:
            self.rounds.append(
                {
                    "round": len(self.rounds),
                    "verdict": "OK",
                    "started_at": "2025-01-01T00:00:00+00:00",
                    "seconds": 1.0,
                    "num_samples": 20,
                    "train_metrics": {"loss": 0.5},
                    "contributions": [],
                }
            )
            self.write("RUNNING", fl_ctx)
        elif event_type == EventType.END_RUN:
            self.write("FINISHED" if len(self.rounds) == self.num_rounds else "FAILED", fl_ctx)
            model = run_dir(fl_ctx) / "model_out"
            model.mkdir(exist_ok=True)
            (model / "global_model.pt").write_bytes(b"weights")
            # END

    def write(self, state, fl_ctx):
        folder = run_dir(fl_ctx) / "files_out"
        folder.mkdir(exist_ok=True)
        document = {
            "schema": "rt_flare.round_summary/1",
            "job_id": fl_ctx.get_job_id(),
            "num_rounds": self.num_rounds,
            "state": state,
            "stop_reason": None,
            "error": None,
            "rounds": self.rounds,
        }
        part = folder / "part"
        part.write_text(json.dumps(document))
        part.replace(folder / "fl_round_complete.json")
