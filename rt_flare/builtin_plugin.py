"""What rt_flare brings itself, registered like any plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rt_flare.hookspecs import AdapterEntry, ComponentEntry, PresetEntry, TemplateEntry, hookimpl

__all__ = [
    "rt_flare_components",
    "rt_flare_dataset_adapters",
    "rt_flare_job_templates",
    "rt_flare_timeout_presets",
    "templates_home",
]

_HINT = "pip install rt-flare"
_PRESETS = (
    "standard",
    "large_model",
    "llm",
    "high_latency",
    "hpc",
    "low_latency",
    "stall_guard",
    "stall_recovery",
    "cross_site_evaluation",
    "swarm",
    "strict_start",
)


@hookimpl
def rt_flare_dataset_adapters() -> Mapping[str, AdapterEntry]:
    """Return the adapters of this package."""
    return {"manifest": AdapterEntry("rt_flare.data.manifest_adapter:ManifestImageAdapter", _HINT)}


@hookimpl
def rt_flare_components() -> Mapping[str, ComponentEntry]:
    """Return the components of this package that another one can stand in for."""
    path = "rt_flare.components.aggregator:SampleWeightedAggregator"
    return {"sample_weighted_mean": ComponentEntry("aggregator", path, _HINT)}


@hookimpl
def rt_flare_job_templates() -> Mapping[str, TemplateEntry]:
    """Return the job templates of this package."""
    folders = sorted(folder for folder in templates_home().iterdir() if (folder / "info.conf").is_file())
    return {folder.name: TemplateEntry(folder) for folder in folders}


@hookimpl
def rt_flare_timeout_presets() -> Mapping[str, PresetEntry]:
    """Return the timeout presets of this package."""
    return {name: PresetEntry(f"rt_flare.timeouts.presets:{name.upper()}", _HINT) for name in _PRESETS}


def templates_home() -> Path:
    """Return the folder of this package's job templates: the wheel carries them, in a checkout they stand beside it."""
    package = Path(__file__).resolve().parent
    carried = package / "_job_templates"
    return carried if carried.is_dir() else package.parent / "job_templates"
