"""How much of a server's memory the updates that arrive may take."""

from __future__ import annotations

import shutil

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.fobs.dots import TENSOR_DOWNLOAD
from nvflare.widgets.widget import Widget

from rt_flare.components.site import run_dir
from rt_flare.components.tensor_exchange import TensorExchange
from rt_flare.components.wire import TensorExchangeError, register_tensors
from rt_flare.errors import ConfigError

__all__ = ["UpdateMemory"]

_SPILL_FOLDER = "updates_on_disk"


class UpdateMemory(Widget):
    """Lets only so many updates lie in the server's memory; further ones wait on disk for their turn.

    An update counts from its first byte until it is aggregated. However many sites send at once, none of them waits:
    what finds no place is received into a file of the server's run folder, and read when the aggregator comes to it.

    Args:
        max_in_memory: updates in memory at a time; 0 sets no limit.

    Raises:
        ConfigError: the number is negative or no int.
        TensorExchangeError: NVFlare's own exchange of tensors, which knows no limit, was registered before.
    """

    def __init__(self, max_in_memory: int = 2) -> None:
        super().__init__()
        self.max_in_memory = max_in_memory
        if type(max_in_memory) is not int or max_in_memory < 0:
            raise ConfigError(f"UpdateMemory: max_in_memory must be an int of at least 0, found {max_in_memory!r}")
        register_tensors()
        exchange = fobs.get_dot_handler(TENSOR_DOWNLOAD)
        if not isinstance(exchange, TensorExchange):
            raise TensorExchangeError(
                f"UpdateMemory: found {type(exchange).__name__} as this process's exchange of tensors; create "
                "rt_flare's components before NVFlare's PyTorch ones, or leave UpdateMemory out of the job"
            )
        self._exchange = exchange

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Set the limit at the job's start, and remove what is left on disk at its end."""
        if event_type not in (EventType.START_RUN, EventType.END_RUN):
            return
        folder = run_dir(fl_ctx) / _SPILL_FOLDER
        if event_type == EventType.START_RUN:
            folder.mkdir(parents=True, exist_ok=True)
            self._exchange.limit_memory(self.max_in_memory, folder)
        else:
            self._exchange.limit_memory(0, None)
            # Late answers may still be written or removed there.
            shutil.rmtree(folder, ignore_errors=True)
