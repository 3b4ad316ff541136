"""Which preset fits a model, a bandwidth and a number of sites, and why."""

from __future__ import annotations

from dataclasses import dataclass

from rt_flare.timeouts.placement import Exchange, PlacedSettings, apply_preset
from rt_flare.timeouts.quantity import format_bytes, format_seconds

__all__ = ["Suggestion", "suggest_preset"]

_MANY_SITES = 100
_LLM_BYTES = 2_000_000_000
_LARGE_BYTES = 400_000_000
_SLOW_LINK = 20e6 / 8
_FAST_LINK = 1e9 / 8
_SMALL_BYTES = 10_000_000
_FEW_SITES = 50


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A preset, worked out.

    Attributes:
        placed: its values.
        reasons: why this preset.
        notes: what else to know.
    """

    placed: PlacedSettings
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def suggest_preset(
    *, model_bytes: int, bytes_per_second: float, num_sites: int, exchange: Exchange = "tensor"
) -> Suggestion:
    """Choose a preset and work it out.

    Args:
        model_bytes: bytes of one update: parameters times bytes of their type.
        bytes_per_second: bandwidth of the server, all sites together.
        num_sites: number of sites.
        exchange: what travels, ``tensor`` or ``np``.

    Raises:
        ConfigError: a number that is not positive.
    """
    name, reasons = _choose(model_bytes, bytes_per_second, num_sites)
    placed = apply_preset(
        name, num_sites=num_sites, model_bytes=model_bytes, bytes_per_second=bytes_per_second, exchange=exchange
    )
    queue = placed.deployment.queue_seconds or 0.0
    transfer = num_sites * model_bytes / bytes_per_second
    notes = [
        f"A round moves {format_bytes(2 * num_sites * model_bytes)} through the server: about "
        f"{format_seconds(transfer)} down and {format_seconds(queue)} up and added, if nothing else uses the link."
    ]
    if placed.at_the_kit:
        notes.append(
            f"{len(placed.at_the_kit)} values belong to the startup kits; no job can carry them: "
            f"rt-flare timeouts apply --kit KIT --preset {name}"
        )
    if placed.close_window is not None:
        notes.append(
            f"The stall guard only warns. Should it show stalls, {name}+stall_recovery closes such a connection after "
            f"{placed.close_window}."
        )
    return Suggestion(placed, tuple(reasons), tuple(notes))


def _choose(model_bytes: int, bytes_per_second: float, num_sites: int) -> tuple[str, list[str]]:
    size, link = format_bytes(model_bytes), f"{format_bytes(bytes_per_second)}/s"
    reasons = []
    if num_sites >= _MANY_SITES:
        reasons.append(f"hpc: {num_sites} sites; from {_MANY_SITES} on, some are always late")
    if model_bytes >= _LLM_BYTES:
        reasons.append(f"llm: {size} per update; from {format_bytes(_LLM_BYTES)} on, transfers take minutes")
    elif model_bytes >= _LARGE_BYTES:
        reasons.append(f"large_model: {size} per update; from {format_bytes(_LARGE_BYTES)} (100 million float32) on")
    if bytes_per_second < _SLOW_LINK:
        reasons.append(f"high_latency: {link} at the server; below {format_bytes(_SLOW_LINK)}/s (20 Mbit/s)")
    if not reasons and model_bytes <= _SMALL_BYTES and bytes_per_second >= _FAST_LINK and num_sites <= _FEW_SITES:
        reasons.append(f"low_latency: {size} per update, {link}, {num_sites} sites: waiting would outlast the work")
    if not reasons:
        reasons.append(f"standard: {size} per update, {link}, {num_sites} sites: nothing out of the ordinary")
    chosen = reasons[0].partition(":")[0]
    if len(reasons) > 1:
        reasons.append(
            f"The first one decides; its values that depend on size and bandwidth cover the others ({chosen})"
        )
    return chosen, reasons
