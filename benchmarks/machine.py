"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.peers import FLOWER, PUBLISHED

__all__ = ["describe_machine", "versions"]

_DISTRIBUTIONS = ("rt-flare", "nvflare", "torch", "torchvision", "numpy", "pillow")


def describe_machine() -> dict[str, str]:
    """Processor, memory, system, and when that was looked up."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Versions of Python, of what is measured, and of the peers that run in environments of their own."""
    peers = dict(requirement.split("==") for requirement in (PUBLISHED, FLOWER))
    return {"python": platform.python_version(), **{name: version(name) for name in _DISTRIBUTIONS}, **peers}
