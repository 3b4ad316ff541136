"""A server's job process without a network: NVFlare's runner, rt_flare's components, and sites that are a loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from nvflare.apis.client import Client
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.impl.wf_comm_server import WFCommServer
from nvflare.apis.server_engine_spec import ServerEngineSpec
from nvflare.apis.shareable import Shareable
from nvflare.apis.utils.event import fire_event_to_components
from nvflare.private.fed.server.server_runner import ServerRunner, ServerRunnerConfig

from rt_flare.components.aggregator import SampleWeightedAggregator
from rt_flare.components.controller import RtFedAvg
from rt_flare.components.persistor import CustomPersistor
from rt_flare.components.stats import StatsPublisher
from rt_flare.components.wire import ENVIRONMENT, result_reply
from rt_flare.components.writers import MetricsWriter, RoundSummaryWriter
from rt_flare.core.environment import own_environment
from rt_flare.core.payload import TrainResult
from rt_flare.core.task_runner import TaskOutcome

__all__ = ["SimulatedServer", "Stopwatch", "TinyModel", "site_names"]

JOB_ID = "scale"


class TinyModel(torch.nn.Module):
    """A thousand parameters: what counts is the number of sites."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1_000))


def site_names(number: int) -> list[str]:
    """Names as in a real federation: of one length, in order."""
    return [f"site-{index:05}" for index in range(1, number + 1)]


class Stopwatch:
    """Adds up the time in functions that call each other: what an inner one takes counts once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._depth = threading.local()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function``, timed under ``name`` when no other timed one is running in its thread."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._depth, "inside", False):
                return function(*args, **kwargs)
            self._depth.inside = True
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._depth.inside = False
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

        return timed


class _Engine(ServerEngineSpec):
    """What the components and NVFlare's runner ask of an engine."""

    def __init__(self, folder: Path, clients: list[Client]) -> None:
        self.clients = clients
        self.components: dict[str, FLComponent] = {}
        self.commands: dict[str, Any] = {}
        self._contexts = FLContextManager(engine=self, identity_name="server", job_id=JOB_ID)
        self._workspace = SimpleNamespace(
            get_run_dir=lambda job_id: str(folder),
            get_app_custom_dir=lambda job_id: str(folder / "custom"),
        )

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        fire_event_to_components(event_type, list(self.components.values()), fl_ctx)

    def get_clients(self) -> list[Client]:
        return self.clients

    def new_context(self) -> FLContext:
        return self._contexts.new_context()

    def get_workspace(self) -> Any:
        return self._workspace

    def get_component(self, component_id: str) -> FLComponent | None:
        return self.components.get(component_id)

    def register_aux_message_handler(self, topic: str, message_handle_func: Any) -> None:
        """Nobody sends any."""

    def register_app_command(self, topic: str, function: Any) -> None:
        self.commands[topic] = function


# Only what is asked for here.
_Engine.__abstractmethods__ = frozenset()


class SimulatedServer:
    """Runs rounds with sites that answer at once, one after the other.

    Args:
        folder: the job's run folder.
        sites: names of the sites.
        num_rounds: rounds of the job.
        deterministic: see `SampleWeightedAggregator`.

    Attributes:
        watch: seconds in rt_flare's components, by component.
        nvflare_seconds, round_seconds: seconds of all calls of sites, those in rt_flare's components left out; and of
            each round, from its start to the next one's.
    """

    def __init__(self, folder: Path, sites: list[str], *, num_rounds: int, deterministic: bool = False) -> None:
        self.folder = folder
        self.watch = Stopwatch()
        self.call_seconds = 0.0
        self.round_seconds: list[float] = []
        self.num_rounds = num_rounds
        self._clients = [Client(name, f"token of {name}") for name in sites]
        self._peers = {client.name: _peer_context(client.name) for client in self._clients}
        self.engine = _Engine(folder, self._clients)
        controller = RtFedAvg(num_rounds=num_rounds, min_clients=len(sites), validate_task_name="")
        controller.set_communicator(WFCommServer())
        components = {
            "controller": controller,
            "communicator": controller.communicator,
            "aggregator": SampleWeightedAggregator(deterministic=deterministic),
            "persistor": CustomPersistor(model_path="benchmarks.simulated_server.TinyModel", keep_last=2),
            "metrics_writer": MetricsWriter(),
            "round_summary_writer": RoundSummaryWriter(),
            "stats": StatsPublisher(),
        }
        self.engine.components = components
        for name, component in components.items():
            if name != "communicator":
                component.handle_event = self.watch.around(name, component.handle_event)  # type: ignore[method-assign]
        controller._take_update = self.watch.around("controller", controller._take_update)  # type: ignore[method-assign]
        config = ServerRunnerConfig(600, 0.5, [SimpleNamespace(id="controller", controller=controller)], {}, {}, [], {})
        self.runner = ServerRunner(config, JOB_ID, self.engine)
        self._controller = controller

    def run(self) -> None:
        """Run the job: the workflow on a thread of its own, as in NVFlare, the sites on this one."""
        with self.engine.new_context() as fl_ctx:
            fl_ctx.set_prop(FLContextKey.RUNNER, self.runner, private=True, sticky=True)
            fl_ctx.set_prop(ReservedKey.RUN_ABORT_SIGNAL, self.runner.abort_signal, private=True, sticky=True)
            self.engine.fire_event(EventType.START_RUN, fl_ctx)
        self.runner.status = "started"
        workflow = threading.Thread(target=self.runner._execute_run, name="workflow")
        workflow.start()
        started = time.perf_counter()
        for number in range(self.num_rounds):
            for index, client in enumerate(self._clients):
                self._answer(client, number, index, wait=index == 0)
            ended = time.perf_counter()
            self.round_seconds.append(ended - started)
            started = ended
        workflow.join()
        with self.engine.new_context() as fl_ctx:
            self.engine.fire_event(EventType.END_RUN, fl_ctx)

    def _answer(self, client: Client, round_number: int, index: int, *, wait: bool) -> None:
        while True:
            with self.engine.new_context() as fl_ctx:
                fl_ctx.set_peer_context(self._peers[client.name])
                started = time.perf_counter()
                task_name, task_id, task = self.runner.process_task_request(client, fl_ctx)
                taken = time.perf_counter() - started
            if task_id:
                break
            if not wait:
                raise RuntimeError(f"{client.name} got no task in round {round_number}")
            time.sleep(0.001)
        reply = _reply(round_number, index)
        for name, value in task.get_cookie_jar().items():
            reply.add_cookie(name, value)
        with self.engine.new_context() as fl_ctx:
            fl_ctx.set_peer_context(self._peers[client.name])
            started = time.perf_counter()
            self.runner.process_submission(client, task_name, task_id, reply, fl_ctx)
            self.call_seconds += time.perf_counter() - started + taken


_WEIGHTS = {"weight": torch.ones(1_000)}


def _reply(round_number: int, index: int) -> Shareable:
    loss = 1.0 / (1 + round_number) + index / 1e6
    result = TrainResult(_WEIGHTS, 10 + index % 7, {"loss": loss, "accuracy": 1 - loss / 2})
    outcome = TaskOutcome(result, {"loss": loss, "accuracy": 1 - loss / 2}, 5)
    reply = result_reply(outcome, round_number=round_number, warnings=[], work_seconds=1.5)
    reply.set_header(ENVIRONMENT, own_environment().model_dump())
    return reply


def _peer_context(site: str) -> FLContext:
    peer = FLContext()
    peer.set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
    peer.set_prop(ReservedKey.RUN_NUM, JOB_ID, private=False, sticky=False)
    return peer
