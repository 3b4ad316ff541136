"""What ClientAPIExecutor refuses in which mode, against the class itself (T8)."""

from __future__ import annotations

from typing import Any

import pytest
from nvflare.app_common.executors.client_api_executor import ClientAPIExecutor

from rt_flare.timeouts.client_api_modes import CLIENT_API_EXECUTOR, REFUSED_ARGUMENTS

NEEDED: dict[str, dict[str, Any]] = {
    "external_process": {"command": "python3 train.py"},
    "attach": {"attach_id": "trainer-1"},
    "in_process": {"task_script_path": "train.py"},
}
CHANGED: dict[str, Any] = {
    "launch_once": False,
    "launch_timeout": 301.0,
    "shutdown_timeout": 31.0,
    "stop_grace_period": 31.0,
    "heartbeat_interval": 6.0,
    "heartbeat_timeout": 31.0,
    "task_wait_timeout": 10.0,
    "result_wait_timeout": 10.0,
}


@pytest.mark.parametrize("mode", REFUSED_ARGUMENTS)
@pytest.mark.parametrize("name", CHANGED)
def test_the_class_refuses_what_the_table_says_and_nothing_else(mode: str, name: str) -> None:
    """T8"""
    arguments = {"execution_mode": mode, **NEEDED[mode]}
    if name not in REFUSED_ARGUMENTS[mode]:
        ClientAPIExecutor(**arguments, **{name: CHANGED[name]})
        return
    ClientAPIExecutor(**arguments, **{name: REFUSED_ARGUMENTS[mode][name]})
    with pytest.raises(ValueError, match=name):
        ClientAPIExecutor(**arguments, **{name: CHANGED[name]})


def test_the_path_is_that_of_the_class() -> None:
    """T12"""
    assert f"{ClientAPIExecutor.__module__}.{ClientAPIExecutor.__name__}" == CLIENT_API_EXECUTOR
