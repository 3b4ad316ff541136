"""A job's record over many rounds, as the server's components write it: what a round costs, and what it leaves."""

from __future__ import annotations

import gc
import random
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext, FLContextManager

from benchmarks.simulated_server import JOB_ID, site_names
from rt_flare.components.events import ROUND_CLOSED
from rt_flare.components.round_listener import RoundListener
from rt_flare.components.stats import StatsPublisher
from rt_flare.components.writers import MetricsWriter, RoundSummaryWriter
from rt_flare.core.ledger import FILES_FOLDER
from rt_flare.core.round_builder import RoundBuilder
from rt_flare.core.round_record import Contribution, ContributionStatus, RoundRecord

__all__ = ["LedgerCost", "write_ledger"]


@dataclass(frozen=True)
class LedgerCost:
    """What a number of rounds has cost.

    Attributes:
        write_seconds: of every round: all three listeners, both times that it is announced (closed, then evaluated).
        memory_bytes: of the process, of every round, beyond what it had before the first one.
        page_bytes, document_bytes: on disk at the end: contributions, and the documents with the rounds.
    """

    write_seconds: list[float]
    memory_bytes: list[int]
    page_bytes: int
    document_bytes: int


def write_ledger(folder: Path, num_sites: int, num_rounds: int) -> LedgerCost:
    """Write the record of a job below ``folder``; one site in a thousand, at least one, fails in every round."""
    listeners: list[RoundListener] = [MetricsWriter(), RoundSummaryWriter(), StatsPublisher()]
    engine = SimpleNamespace(
        get_clients=list,
        get_workspace=lambda: SimpleNamespace(get_run_dir=lambda job_id: str(folder)),
        register_app_command=lambda topic, function: None,
    )
    fl_ctx = FLContextManager(engine=engine, identity_name="server", job_id=JOB_ID).new_context()
    sites = site_names(num_sites)
    _fire(listeners, EventType.START_RUN, None, fl_ctx)
    made = _ten_rounds(sites, num_rounds)
    seconds, memory = [], []
    process = psutil.Process()
    gc.collect()
    before = process.memory_full_info().uss
    closed: RoundRecord | None = None
    for number in range(num_rounds):
        like = made[number % len(made)]
        record = like.model_copy(update={"round": number, "contributions": list(like.contributions)})
        started = time.perf_counter()
        if closed is not None:
            _fire(listeners, ROUND_CLOSED, closed.model_copy(update={"global_metrics": closed.train_metrics}), fl_ctx)
        _fire(listeners, ROUND_CLOSED, record, fl_ctx)
        seconds.append(time.perf_counter() - started)
        closed = record
        memory.append(process.memory_full_info().uss - before)
    _fire(listeners, EventType.END_RUN, None, fl_ctx)
    files = folder / FILES_FOLDER
    sizes = {path.relative_to(files): path.stat().st_size for path in files.rglob("*.*json")}
    pages = sum(size for path, size in sizes.items() if len(path.parts) > 1)
    return LedgerCost(seconds, memory, pages, sum(sizes.values()) - pages)


def _ten_rounds(sites: list[str], num_rounds: int) -> list[RoundRecord]:
    """At most ten different rounds, which come again and again: making them takes longer than writing them."""
    chance = random.Random(7)
    made: list[RoundRecord] = []
    for number in range(min(num_rounds, 10)):
        builder = RoundBuilder(number, sites)
        failing = set(chance.sample(sites, max(1, len(sites) // 1_000)))
        for site in sites:
            builder.add(_contribution(site, 1.0 / (1 + number) + chance.random(), is_accepted=site not in failing))
        made.append(builder.close(1))
    return made


def _contribution(site: str, loss: float, *, is_accepted: bool) -> Contribution:
    metrics = {"loss": loss, "accuracy": 1 - loss / 2}
    if not is_accepted:
        reason = "not_finite: update of a site: weight is not finite"
        return Contribution(site=site, status=ContributionStatus.REJECTED, reason=reason, num_samples=100)
    return Contribution(
        site=site,
        status=ContributionStatus.ACCEPTED,
        num_samples=100,
        train_metrics=metrics,
        received_model_metrics=metrics,
        work_seconds=round(1 + loss, 3),
    )


def _fire(listeners: list[RoundListener], event: str, data: Any, fl_ctx: FLContext) -> None:
    fl_ctx.set_prop(event, data, private=True, sticky=False)
    for listener in listeners:
        listener.handle_event(event, fl_ctx)
