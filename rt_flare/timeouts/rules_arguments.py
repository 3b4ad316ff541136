"""Checks of components and their arguments: B08 to B12, B16, B30, B32, B35, B38, B41, B46."""

from __future__ import annotations

from collections.abc import Iterator

from rt_flare.timeouts.class_arguments import find_class_arguments
from rt_flare.timeouts.finding import Finding, Found, Severity
from rt_flare.timeouts.job_files import Component, ConfigFile
from rt_flare.timeouts.key_map import Place
from rt_flare.timeouts.lint_view import JobView, number

__all__ = ["check_arguments"]

_OWN_PROCESS = ("launch_timeout", "heartbeat_interval", "heartbeat_timeout", "shutdown_timeout", "stop_grace_period")
_MODES_OF_OWN_PROCESS = {"external_process", "attach"}
_GONE = {
    "ClientAPILauncherExecutor": "ClientAPIExecutor with execution_mode external_process",
    "PTClientAPILauncherExecutor": "ClientAPIExecutor with execution_mode external_process",
}
_LARGE_FOR_SWARM = 1_000_000_000


def check_arguments(view: JobView) -> Iterator[Finding]:
    """Arguments that a class does not take, or that cannot work together."""
    for config, component in view.components:
        yield from _signature(view, config, component)
        yield from _values(view, config, component)
        if component.class_name == "ClientAPIExecutor":
            yield from _client_api(config, component)
        yield from _assignment(config, component)
    yield from _quorum(view)
    yield from _deadlines(view)
    yield from _swarm(view)


def _signature(view: JobView, config: ConfigFile, component: Component) -> Iterator[Finding]:
    if not component.path:
        return
    arguments = find_class_arguments(component.path, view.code_dirs)
    if arguments is None:
        if component.path.startswith("nvflare."):
            use = _GONE.get(component.class_name)
            advice = f"; use {use}" if use else ""
            message = f"NVFlare {view.keys.version} has no such class: the job fails when it starts{advice}"
            yield Finding(
                "B46", Severity.ERROR, config.file, component.where, component.path, use or "a class", message
            )
        return
    for name in component.args:
        if not arguments.accepts(name):
            nearest = view.keys.nearest(name, arguments.defaults)
            message = f"{component.class_name}() has no argument {name!r}: the job fails with TypeError{nearest}"
            expected = ", ".join(arguments.defaults) or "no arguments"
            yield Finding("B11", Severity.ERROR, config.file, f"{component.where}.args.{name}", name, expected, message)


def _values(view: JobView, config: ConfigFile, component: Component) -> Iterator[Finding]:
    for key in view.keys.at(Place.WORKFLOW_ARGS, Place.EXECUTOR_ARGS).values():
        value = component.args.get(key.key)
        if value is None or component.path not in key.classes:
            continue
        if problem := key.problem(value):
            message = f"{component.class_name} refuses it, or takes it for something else"
            where = f"{component.where}.args.{key.key}"
            expected = problem.removeprefix("expected ")
            yield Finding("B12", Severity.ERROR, config.file, where, _plain(value), expected, message)
    period = component.args.get("task_check_period")
    where = f"{component.where}.args.task_check_period"
    if component.class_name == "CrossSiteModelEval" and type(period) is int:
        message = "CrossSiteModelEval raises TypeError for an int"
        yield Finding("B12", Severity.ERROR, config.file, where, period, f"{float(period)}", message)
    effective = view.keys.keys["workflow.task_check_period"].classes
    if component.kind == "workflow" and period is not None and component.path not in effective:
        arguments = find_class_arguments(component.path, view.code_dirs)
        if arguments is not None and "task_check_period" in arguments.defaults:
            message = (
                "without effect: NVFlare's communicator looks every 0.2 s in 2.9, whatever is given here; "
                "rt_flare.components.pace.RoundPace shortens that"
            )
            yield Finding("B16", Severity.WARNING, config.file, where, _plain(period), "no such argument", message)


def _client_api(config: ConfigFile, executor: Component) -> Iterator[Finding]:
    args, where = executor.args, f"{executor.where}.args"
    mode = args.get("execution_mode")
    if mode not in _MODES_OF_OWN_PROCESS:
        for name in _OWN_PROCESS:
            if name in args and args[name] is not None:
                message = f"only for a training process of its own; in mode {mode!r} the executor refuses to start"
                expected = "no such argument, or execution_mode external_process"
                yield Finding(
                    "B10", Severity.ERROR, config.file, f"{where}.{name}", _plain(args[name]), expected, message
                )
        return
    interval, timeout = number(args.get("heartbeat_interval", 5.0)), number(args.get("heartbeat_timeout", 30.0))
    if interval is None or timeout is None or timeout <= 0:
        return
    key = f"{where}.heartbeat_timeout"
    if timeout <= interval:
        message = "heartbeat_interval must be less than heartbeat_timeout: the executor refuses to start"
        yield Finding("B08", Severity.ERROR, config.file, key, timeout, f"more than {interval:g}", message)
    elif timeout < 3 * interval:
        message = "one or two lost beats end the training: allow at least three"
        yield Finding("B09", Severity.WARNING, config.file, key, timeout, f"{3 * interval:g} or more", message)


def _assignment(config: ConfigFile, component: Component) -> Iterator[Finding]:
    whole = number(component.args.get("timeout")) or number(component.args.get("train_timeout"))
    for name in ("task_assignment_timeout", "task_result_timeout"):
        part = number(component.args.get(name))
        if whole and part and part > whole:
            message = f"{name} must not be larger than the task's timeout, {whole:g} s: NVFlare raises ValueError"
            where = f"{component.where}.args.{name}"
            yield Finding("B32", Severity.ERROR, config.file, where, part, f"{whole:g} or less", message)


def _quorum(view: JobView) -> Iterator[Finding]:
    sites = view.num_sites
    if sites is None:
        return
    wanted = number(view.job.meta.get("min_clients"))
    if wanted is not None and wanted > sites:
        message = f"there are {sites} sites: the job is never scheduled"
        yield Finding("B30", Severity.ERROR, view.job.meta_file, "min_clients", wanted, f"{sites} or less", message)
    for workflow in view.workflows:
        for name in ("min_clients", "num_clients"):
            wanted = number(workflow.args.get(name))
            if wanted is not None and wanted > sites:
                message = f"there are {sites} sites: no round can ever close"
                where = f"{workflow.where}.args.{name}"
                yield view.server_finding("B30", Severity.ERROR, where, wanted, f"{sites} or less", message)


def _deadlines(view: JobView) -> Iterator[Finding]:
    measured = view.facts.round_seconds
    deadlines = [
        (workflow, name, value)
        for workflow in view.workflows
        for name in ("train_timeout", "round_timeout_seconds")
        if (value := number(workflow.args.get(name)))
    ]
    for workflow, name, value in deadlines:
        where = f"{workflow.where}.args.{name}"
        if measured is not None and value < 1.5 * measured:
            severity = Severity.ERROR if value <= measured else Severity.WARNING
            message = f"a round was measured with {measured:g} s: sites that are a little slower are cut off"
            yield view.server_finding("B41", severity, where, value, f"{1.5 * measured:g} or more", message)
    deadline = max((value for _, _, value in deadlines), default=0.0)
    for executor in view.executors:
        wait = number(executor.args.get("result_wait_timeout"))
        if deadline and wait and wait > deadline:
            message = f"the server gives the round up after {deadline:g} s: the outer timeout must be the larger one"
            where = f"{executor.where}.args.result_wait_timeout"
            yield view.client_finding("B35", Severity.WARNING, where, wait, f"{deadline:g} or less", message)
    for workflow in view.workflows:
        progress = number(workflow.args.get("progress_timeout"))
        longest = max((number(e.args.get("learn_task_timeout")) or 0.0 for e in view.executors), default=0.0)
        if progress and max(longest, deadline) > progress:
            message = (
                f"a site may train for {max(longest, deadline):g} s without a report: the workflow is given up before"
            )
            where = f"{workflow.where}.args.progress_timeout"
            expected = f"{max(longest, deadline):g} or more"
            yield view.server_finding("B35", Severity.WARNING, where, progress, expected, message)


def _swarm(view: JobView) -> Iterator[Finding]:
    size = view.facts.model_bytes
    for config, component in view.components:
        if component.class_name != "SwarmClientController" or size is None or size <= _LARGE_FOR_SWARM:
            continue
        for name in ("learn_task_ack_timeout", "final_result_ack_timeout"):
            if component.args.get(name) is None:
                message = (
                    "the bare configuration gives a model's way to another site 10 s; the preset swarm sets 7200, the "
                    "recipe's round_timeout both"
                )
                where = f"{component.where}.args.{name}"
                yield Finding("B38", Severity.WARNING, config.file, where, None, "7200", message)


def _plain(value: object) -> Found:
    return value if isinstance(value, int | float | str | bool) else str(value)[:80]
