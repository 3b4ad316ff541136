"""What rt_flare brings itself, registered like any plugin."""

from __future__ import annotations

from collections.abc import Mapping

from rt_flare.hookspecs import AdapterEntry, hookimpl

__all__ = ["rt_flare_dataset_adapters"]


@hookimpl
def rt_flare_dataset_adapters() -> Mapping[str, AdapterEntry]:
    """Return the adapters of this package."""
    return {"manifest": AdapterEntry("rt_flare.data.manifest_adapter:ManifestImageAdapter", "pip install rt-flare")}
