"""What user code keeps at a site between rounds, when another job goes on with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nvflare.apis.fl_context import FLContext

from rt_flare.components.earlier_job import earlier_run_dir
from rt_flare.components.site import run_dir

__all__ = ["STATE_FOLDER", "take_over_state"]

STATE_FOLDER = "state"


def take_over_state(fl_ctx: FLContext, job_ids: Sequence[str]) -> Path | None:
    """Move the state folder of the newest of ``job_ids`` that left one at this site into the running job's run folder.

    Returns:
        Where it was; None when the running job has a state folder already, or there is none.

    Raises:
        ResumeError: see `earlier_run_dir`; OSError: it cannot be moved.
    """
    state = run_dir(fl_ctx) / STATE_FOLDER
    if state.exists():
        return None
    for job_id in job_ids:
        folder = earlier_run_dir(fl_ctx, job_id)
        if folder is not None and (folder / STATE_FOLDER).is_dir():
            (folder / STATE_FOLDER).rename(state)
            return folder / STATE_FOLDER
    return None
