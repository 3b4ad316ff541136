"""What this package registers with rt_flare."""

from __future__ import annotations

from collections.abc import Mapping

from rt_flare.hookspecs import AdapterEntry, hookimpl

__all__ = ["rt_flare_dataset_adapters"]


@hookimpl
def rt_flare_dataset_adapters() -> Mapping[str, AdapterEntry]:
    """Return the adapter of this package."""
    return {
        "imagefolder": AdapterEntry(
            "rt_flare_imagefolder.adapter:ImageFolderAdapter", "pip install rt-flare-imagefolder"
        )
    }
