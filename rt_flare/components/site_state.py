"""What user code keeps and has written at a site, when another job goes on with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nvflare.apis.fl_context import FLContext

from rt_flare.components.earlier_job import earlier_run_dir
from rt_flare.components.site import run_dir
from rt_flare.core.outbox import ROUND_FOLDER

__all__ = ["OUT_FOLDER", "STATE_FOLDER", "take_over_state"]

STATE_FOLDER = "state"
OUT_FOLDER = "out"


def take_over_state(fl_ctx: FLContext, job_ids: Sequence[str], round_number: int) -> Path | None:
    """Move the folders of an earlier job at this site into the running job's run folder, once.

    Its state folder as it is; and what user code wrote in the rounds before ``round_number``, since the server may not
    have all of it yet.

    Args:
        fl_ctx: the running job's.
        job_ids: the earlier jobs, newest first: the first one that left a state folder counts.
        round_number: the round that the running job begins with.

    Returns:
        The earlier job's run folder; None when the running job has a state folder already, or there is none.

    Raises:
        ResumeError: see `earlier_run_dir`; OSError: something cannot be moved.
    """
    own = run_dir(fl_ctx)
    if (own / STATE_FOLDER).exists():
        return None
    for job_id in job_ids:
        folder = earlier_run_dir(fl_ctx, job_id)
        if folder is None or not (folder / STATE_FOLDER).is_dir():
            continue
        for path in sorted((folder / OUT_FOLDER).glob("round_*")):
            match, target = ROUND_FOLDER.fullmatch(path.name), own / OUT_FOLDER / path.name
            if match and int(match[1]) < round_number and not target.exists():
                target.parent.mkdir(exist_ok=True)
                path.rename(target)
        # Last: it is what says that all is done.
        (folder / STATE_FOLDER).rename(own / STATE_FOLDER)
        return folder
    return None
