"""The classes that a published job is made of, and what stands for each of them in rt_flare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from rt_flare.jobs.published.change import Change, ChangeKind
from rt_flare.jobs.published.published_job import EXECUTOR_FILE, PERSISTOR_FILE, Component, PublishedJob

__all__ = ["component_changes"]

_MAPPED, _DROPPED = ChangeKind.MAPPED, ChangeKind.DROPPED
_MAX_SCRIPT_BYTES = 4 << 20
# SHA-256 of the two files as resontech 0.3.0 ships them.
_SHIPPED = {
    EXECUTOR_FILE: "aeb4c639c8b5f73878398007e233b55b0b2f9926a67cf3f9700b9f59d64fddda",
    PERSISTOR_FILE: "bc23b100f41905fac27c45d3634ae7272df1bc8e63e60144954340bf42d4e021",
}
_NVFLARE = "nvflare.app_common"
_WORKFLOW = f"{_NVFLARE}.workflows.scatter_and_gather.ScatterAndGather"
_AGGREGATOR = f"{_NVFLARE}.aggregators.intime_accumulate_model_aggregator.InTimeAccumulateWeightedAggregator"
_GENERATOR = f"{_NVFLARE}.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator"
_QUANTIZATION = "nvflare.app_opt.pt.quantization."


def component_changes(job: PublishedJob) -> Iterator[Change]:
    """What became of the executor, the persistor, the workflow, its aggregator, and filters."""
    yield from _script(
        job,
        EXECUTOR_FILE,
        job.executor.path.endswith(".GenericClientExecutor"),
        "rt_flare.components.executor.PayloadExecutor",
        "training code runs in a process of its own; the global model is loaded strictly, by name and shape",
    )
    persistor = job.component(job.workflow.persistor_id)
    yield from _script(
        job,
        PERSISTOR_FILE,
        persistor is not None and persistor.path == "custom_persistor.CustomPersistor",
        "rt_flare.components.persistor.CustomPersistor",
        "saves plain state dicts: model_out/global_model.pt instead of GLOBAL_MODEL.pt, and every round's",
    )
    workflow = job.server.workflows[0]
    if workflow.path == _WORKFLOW:
        became = "rt_flare.components.controller.RtFedAvg"
        yield Change(_MAPPED, "workflow ScatterAndGather", became, "federated averaging, with a verdict for each round")
    else:
        yield _other("workflow", workflow.path, "the project's job does federated averaging")
    known = {job.workflow.persistor_id}
    aggregator = job.component(job.workflow.aggregator_id)
    if aggregator is not None:
        known.add(aggregator.id)
        yield _aggregator(aggregator)
    generator = job.component(job.workflow.shareable_generator_id)
    if generator is not None:
        known.add(generator.id)
        if generator.path != _GENERATOR or generator.args:
            yield _other("shareable generator", generator.path, "the mean becomes the next global model as it is")
    for each in job.server.components:
        if each.id not in known:
            yield _other("server component", each.path, "a project has rt_flare's components only")
    if job.client.components:
        yield _other("components of the sites", str(len(job.client.components)), "a project has rt_flare's only")
    yield from _filters(job)


def _script(job: PublishedJob, file: str, is_shipped: bool, became: str, difference: str) -> Iterator[Change]:
    path = f"{job.scripts}/{file}"
    unchanged = hashlib.sha256(job.folder.read(path, _MAX_SCRIPT_BYTES)).hexdigest() == _SHIPPED[file]
    if is_shipped and unchanged:
        yield Change(_MAPPED, file, became, difference)
    else:
        why = f"not as resontech 0.3.0 ships it; {became} takes its place, and what yours did besides is gone"
        yield Change(_DROPPED, file, reason=why, needs_attention=True)


def _aggregator(found: Component) -> Change:
    became = "rt_flare.components.aggregator.SampleWeightedAggregator"
    if found.path == _AGGREGATOR and found.args in ({}, {"expected_data_kind": "WEIGHTS"}):
        why = "every update is checked whole, then averaged by samples; whole-number buffers are not averaged"
        return Change(_MAPPED, "aggregator InTimeAccumulateWeightedAggregator", became, why)
    return _other("aggregator", found.path, f"{became} averages by samples; a project may name another")


def _filters(job: PublishedJob) -> Iterator[Change]:
    sides: list[tuple[str, list[Any]]] = [
        ("sites", job.client.task_data_filters),
        ("sites", job.client.task_result_filters),
        ("server", job.server.task_data_filters),
        ("server", job.server.task_result_filters),
    ]
    for side, groups in sides:
        for group in groups:
            paths = _filter_paths(group)
            if paths and all(path.startswith(_QUANTIZATION) for path in paths):
                why = "weights travel in full; WIRE_DTYPE of a job sends bfloat16 differences, half the bytes"
                yield Change(_DROPPED, f"quantization at the {side}", reason=why)
            else:
                why = "a project has no filters: what this one hid or changed is sent as it is"
                yield _other(f"filter at the {side}", ", ".join(paths) or "of unknown form", why)


def _filter_paths(group: Any) -> list[str]:
    found = group.get("filters") if isinstance(group, dict) else None
    each = found if isinstance(found, list) else []
    return [one["path"] for one in each if isinstance(one, dict) and isinstance(one.get("path"), str)]


def _other(what: str, found: str, reason: str) -> Change:
    return Change(_DROPPED, f"{what} {found}", reason=reason, needs_attention=True)
