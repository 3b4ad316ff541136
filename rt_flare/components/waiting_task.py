"""Asking whether a task waits, before NVFlare asks for it.

In NVFlare's simulator a site that asks for a task in vain sleeps half a second, and nothing sets that. Sites that have
come out of step stay so: every round then waits for one of them. So a site asks by a message of ours first, which
costs nothing but itself, and asks NVFlare when there is something to get.
"""

from __future__ import annotations

import time
from typing import Any

from nvflare.apis.fl_constant import FLContextKey, ReturnCode, SiteType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply

__all__ = ["answer_sites", "wait_for_task"]

TOPIC = "rt_flare.task_waits"
_WAITS = "rt_task_waits"
_SIMULATED_JOB = "simulate_job"
_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 2.0
_MAX_SECONDS = 5.0


def answer_sites(fl_ctx: FLContext) -> None:
    """Let the server's process of a simulated job answer `wait_for_task`; elsewhere, nobody asks."""
    if fl_ctx.get_job_id() != _SIMULATED_JOB:
        return
    runner: Any = fl_ctx.get_prop(FLContextKey.RUNNER)

    def answer(topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        workflow = runner.current_wf
        reply = make_reply(ReturnCode.OK)
        site = fl_ctx.get_peer_context().get_identity_name()
        reply[_WAITS] = workflow is None or _waits(workflow.controller.communicator, site)
        return reply

    fl_ctx.get_engine().register_aux_message_handler(TOPIC, answer)


def wait_for_task(fl_ctx: FLContext) -> bool:
    """In the simulator, wait up to 5 s for a task of this site; elsewhere, return at once.

    Returns:
        Whether it is worth calling again: False outside the simulator, and where the server cannot answer.
    """
    if fl_ctx.get_job_id() != _SIMULATED_JOB:
        return False
    deadline, aborted = time.monotonic() + _MAX_SECONDS, fl_ctx.get_run_abort_signal()
    while time.monotonic() < deadline and not (aborted and aborted.triggered):
        replies = fl_ctx.get_engine().send_aux_request(
            targets=[SiteType.SERVER],
            topic=TOPIC,
            request=Shareable(),
            timeout=_ANSWER_SECONDS,
            fl_ctx=fl_ctx,
            optional=True,
        )
        reply = (replies or {}).get(SiteType.SERVER)
        if reply is None or reply.get_return_code() != ReturnCode.OK:
            return reply is None or reply.get_return_code() != ReturnCode.TOPIC_UNKNOWN
        if reply.get(_WAITS):
            break
        time.sleep(_POLL_SECONDS)
    return True


def _waits(communicator: Any, site: str) -> bool:
    with communicator._task_lock:
        tasks = list(communicator._tasks)
    return any(task.completion_status is None and _is_open(task, site) for task in tasks)


def _is_open(task: Any, site: str) -> bool:
    if task.targets and site not in task.targets:
        return False
    sent = task.last_client_task_map.get(site)
    return sent is None or sent.result_received_time is None
