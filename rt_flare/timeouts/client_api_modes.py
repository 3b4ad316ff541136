"""What NVFlare's ClientAPIExecutor takes in each of its modes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["CLIENT_API_EXECUTOR", "IN_PROCESS", "REFUSED_ARGUMENTS"]

CLIENT_API_EXECUTOR = "nvflare.app_common.executors.client_api_executor.ClientAPIExecutor"

IN_PROCESS = "in_process"
"""The mode without a training process of its own."""

_LAUNCHED = {"launch_once": True, "launch_timeout": 300.0, "shutdown_timeout": None, "stop_grace_period": 30.0}
_HEARTBEAT = {"heartbeat_interval": 5.0, "heartbeat_timeout": 30.0}

REFUSED_ARGUMENTS: Mapping[str, Mapping[str, float | bool | None]] = MappingProxyType(
    {"external_process": {}, "attach": _LAUNCHED, IN_PROCESS: _LAUNCHED | _HEARTBEAT}
)
"""By mode: the arguments that must keep their default, with it; any other value keeps the executor from starting."""
