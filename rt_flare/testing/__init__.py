"""The conformance suite for plugin authors: subclass, give a few fixtures, and pytest checks the contract.

`DatasetAdapterConformance` checks a dataset adapter, `AggregatorConformance` an NVFlare aggregator. Needs pytest:
``pip install 'rt-flare[testing]'``. Nothing else in rt_flare imports this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

try:
    import pytest
except ModuleNotFoundError as error:
    raise ImportError("rt_flare.testing needs pytest. Install it: pip install 'rt-flare[testing]'") from error

if TYPE_CHECKING:
    from rt_flare.testing.adapter_conformance import DatasetAdapterConformance
    from rt_flare.testing.aggregator_conformance import AggregatorConformance

__all__ = ["AggregatorConformance", "DatasetAdapterConformance"]

_HOME = {
    "AggregatorConformance": "rt_flare.testing.aggregator_conformance",
    "DatasetAdapterConformance": "rt_flare.testing.adapter_conformance",
}

# So that a failing rule shows the values it compared; before the modules are imported.
pytest.register_assert_rewrite(*_HOME.values())


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
