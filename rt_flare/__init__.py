"""rt_flare: a model and one shard of data per site in, a federally trained global model out.

Public names load on first use: importing this package imports neither torch nor nvflare.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rt_flare.configs import FederationConfig, ResonTechConfig, TrainingConfig
    from rt_flare.data.image_batches import normalize_images
    from rt_flare.datasets import open_dataset
    from rt_flare.jobs.submitted_job import Job
    from rt_flare.sdk import ResonTech

__version__ = "0.1.0"
__all__ = [
    "FederationConfig",
    "Job",
    "ResonTech",
    "ResonTechConfig",
    "TrainingConfig",
    "__version__",
    "normalize_images",
    "open_dataset",
]

_HOME = {
    "FederationConfig": "rt_flare.configs",
    "Job": "rt_flare.jobs.submitted_job",
    "ResonTech": "rt_flare.sdk",
    "ResonTechConfig": "rt_flare.configs",
    "TrainingConfig": "rt_flare.configs",
    "normalize_images": "rt_flare.data.image_batches",
    "open_dataset": "rt_flare.datasets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
