"""Checks of timeouts that must be larger than others: B07, B26, B28, B33, B42, B43."""

from __future__ import annotations

from collections.abc import Iterator

from rt_flare.timeouts.finding import Finding, Severity
from rt_flare.timeouts.lint_view import JobView, number
from rt_flare.timeouts.stall_guard import close_window

__all__ = ["MARGIN_SECONDS", "check_order"]

MARGIN_SECONDS = 30.0
"""What an outer timeout must leave beyond the moment at which a stalled connection is closed."""


def check_order(view: JobView) -> Iterator[Finding]:
    """Outer timeouts against inner ones."""
    if view.client is None:
        return
    yield from _start(view)
    yield from _tensor_streaming(view)
    yield from _stall(view)
    if view.old_version:
        yield from _keys_of_2_8(view)


def _start(view: JobView) -> Iterator[Finding]:
    one = view.client_value("runner_sync_timeout") or 2.0
    all_of_them = view.client_value("max_runner_sync_timeout") or 60.0
    if 0 < all_of_them < 3 * one:
        set_one = view.client is not None and "max_runner_sync_timeout" in view.client.values
        key = "max_runner_sync_timeout" if set_one else "runner_sync_timeout"
        found = all_of_them if set_one else one
        message = "one or two lost attempts use up the whole time: the site's job process gives up"
        yield view.client_finding(
            "B28", Severity.WARNING, key, found, f"max_runner_sync_timeout {3 * one:g} or more", message
        )


def _tensor_streaming(view: JobView) -> Iterator[Finding]:
    if view.server is None:
        return
    for component in view.server.components():
        if component.class_name == "TensorServerStreamer":
            wait = number(component.args.get("wait_send_task_data_all_clients_timeout")) or 300.0
            own = max(view.client_value("get_task_timeout") or 0.0, view.communication_timeout)
            if own < wait:
                message = (
                    f"the server waits {wait:g} s for all sites to have the tensors, and raises it to {wait + 60:g}"
                )
                yield view.client_finding(
                    "B33", Severity.WARNING, "get_task_timeout", own, f"{wait + 60:g} or more", message
                )


def _stall(view: JobView) -> Iterator[Finding]:
    for kit in view.kits:
        comm = kit.comm or {}
        if not comm.get("sfm_close_stalled_connection"):
            continue
        window = close_window(
            number(comm.get("sfm_send_stall_timeout")) or 45.0,
            int(number(comm.get("sfm_send_stall_consecutive_checks")) or 3),
        )
        needed = window.latest + MARGIN_SECONDS
        for key in ("get_task_timeout", "submit_task_result_timeout"):
            value = view.client_value(key)
            if value and value <= needed:
                message = (
                    f"{kit.folder.name} closes a stalled connection after {window}: the request gives up before it "
                    "could be sent again"
                )
                yield view.client_finding("B26", Severity.WARNING, key, value, f"more than {needed:g}", message)


def _keys_of_2_8(view: JobView) -> Iterator[Finding]:
    submit, result = view.submit_timeout, view.client_value("submit_result_timeout")
    if result and submit < result:
        message = "the site must still listen when the training process has sent its result (NVFlare 2.8)"
        yield view.client_finding(
            "B07", Severity.WARNING, "submit_task_result_timeout", submit, f"{result:g} or more", message
        )
    values = view.client.values if view.client else {}
    for rule, key, least, expected in (
        ("B42", "download_complete_timeout", 1e-9, "more than 0"),
        ("B43", "max_resends", 0, "a whole number of at least 0"),
    ):
        if key in values:
            value = number(values[key])
            if value is None or value < least or (key == "max_resends" and value != int(value)):
                message = "NVFlare 2.8 refuses the job when it starts"
                found = values[key] if isinstance(values[key], int | float | str | None) else str(values[key])
                yield view.client_finding(rule, Severity.ERROR, key, found, expected, message)
