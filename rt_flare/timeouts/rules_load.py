"""Checks against size, bandwidth and number of sites: B05, B06, B18, B19, B31, B36."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rt_flare.timeouts.finding import Finding, Severity
from rt_flare.timeouts.lint_view import JobView, number
from rt_flare.timeouts.quantity import format_seconds

__all__ = ["check_load"]

_MARGIN_SECONDS = 60.0
_LARGE_MODEL = 100_000_000
_PER_REQUEST_TIMEOUT = 600.0
_HIGH_RATE, _HIGHEST_RATE = 100.0, 400.0
_CPU_SECONDS_PER_REQUEST = 0.0044
_SHORT_ROUND_SECONDS = 10.0


def check_load(view: JobView) -> Iterator[Finding]:
    """Whether the deployment is too large, or too fast, for the timeouts."""
    yield from _submission(view)
    yield from _polling(view)
    yield from _waiting(view)
    threads, sites = view.facts.simulator_threads, view.num_sites
    if threads is not None and sites is not None and threads < sites:
        message = "a process is started for every task of every site: 7.5 s instead of 0.6 s a round were measured"
        yield Finding("B36", Severity.WARNING, view.job.folder, "-t", threads, f"{sites}", message)


def _submission(view: JobView) -> Iterator[Finding]:
    if view.client is None:
        return
    key, limit, size = "submit_task_result_timeout", view.submit_timeout, view.facts.model_bytes
    queue, prefix = view.queue_seconds, view.exchange or "tensor"
    request = view.server_value(f"{prefix}_streaming_per_request_timeout") or _PER_REQUEST_TIMEOUT
    if queue is not None and limit < queue + _MARGIN_SECONDS:
        message = (
            f"the server answers an update when it has fetched and added it, one site after the other: about "
            f"{format_seconds(queue)} for all of them. Sites give up after {limit:g} s and send the model again"
        )
        expected = f"{math.ceil(queue + _MARGIN_SECONDS)} or more"
        yield view.client_finding("B05", Severity.WARNING, key, limit, expected, message)
    elif size is not None and size > _LARGE_MODEL and limit < request:
        message = f"the server asks again for a stalled chunk after {request:g} s; the site gives up after {limit:g} s"
        yield view.client_finding("B06", Severity.WARNING, key, limit, f"{request:g} or more", message)


def _polling(view: JobView) -> Iterator[Finding]:
    if view.server is None:
        return
    key, interval, sites = "server.task_request_interval", view.task_request_interval, view.num_sites
    if sites is not None and (rate := sites / interval) > _HIGH_RATE:
        severity = Severity.ERROR if rate > _HIGHEST_RATE else Severity.WARNING
        message = (
            f"{sites} idle sites ask {rate:.0f} times a second, at about 4.4 ms of server CPU each "
            f"({rate * _CPU_SECONDS_PER_REQUEST:.1f} cores); one process ends near 430 a second"
        )
        yield view.server_finding("B18", severity, key, interval, f"{sites / 100:g} or more", message)
    measured = view.facts.round_seconds
    if measured is not None and measured < _SHORT_ROUND_SECONDS and interval >= 1:
        message = f"every site sleeps {interval:g} s after every task, in rounds of {measured:g} s"
        yield view.server_finding("B19", Severity.INFO, key, interval, "less than 1", message)


def _waiting(view: JobView) -> Iterator[Finding]:
    measured, sites = view.facts.round_seconds, view.num_sites
    if measured is None or sites is None:
        return
    for workflow in view.workflows:
        fewest, wait = (
            number(workflow.args.get("min_clients")),
            number(workflow.args.get("wait_time_after_min_received")),
        )
        if fewest is not None and wait is not None and fewest < sites and wait > measured:
            where = f"{workflow.where}.args.wait_time_after_min_received"
            message = f"a missing site costs every round up to {wait:g} s, and a round takes {measured:g} s"
            yield view.server_finding("B31", Severity.INFO, where, wait, f"{measured:g} or less", message)
