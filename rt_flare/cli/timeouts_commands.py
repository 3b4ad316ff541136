"""``rt-flare timeouts list``, ``show`` and ``suggest``: the work, and what is printed of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from rt_flare.catalog import load_catalog
from rt_flare.cli.exit_code import ExitCode
from rt_flare.cli.reply import print_json
from rt_flare.cli.round_view import make_console
from rt_flare.core.durable_io import write_json
from rt_flare.errors import ConfigError
from rt_flare.timeouts.key_map import load_key_map
from rt_flare.timeouts.placement import Exchange, PlacedSettings, apply_preset
from rt_flare.timeouts.presets import find_preset, flatten_preset
from rt_flare.timeouts.quantity import DTYPE_BYTES, parse_bandwidth, parse_bytes, parse_count
from rt_flare.timeouts.suggestion import suggest_preset

__all__ = ["list_command", "model_size", "show_command", "suggest_command", "timeouts_document"]

_SCHEMA = "rt_flare.timeouts/1"


def list_command(*, as_json: bool) -> int:
    """Print every installed preset, and return the exit code."""
    catalog, keys = load_catalog(), load_key_map()
    presets: list[dict[str, Any]] = []
    for name, found in catalog.timeout_presets.items():
        preset = find_preset(name)
        presets.append(
            {
                "name": name,
                "title": preset.title,
                "extends": list(preset.extends),
                "num_settings": len(flatten_preset(preset, keys)),
                "distribution": found.distribution,
            }
        )
    if as_json:
        print_json(timeouts_document("timeouts list", nvflare=keys.version, presets=presets))
        return ExitCode.OK
    table = Table("preset", "values", "extends", "from", "for", box=None, pad_edge=False)
    for entry in presets:
        texts = (entry["name"], entry["num_settings"], ", ".join(entry["extends"]), entry["distribution"])
        table.add_row(*(Text(str(text)) for text in (*texts, entry["title"])))
    make_console().print(table)
    return ExitCode.OK


def show_command(
    *,
    name: str,
    num_sites: int,
    params: str | None,
    model_bytes: str | None,
    dtype: str,
    bandwidth: str | None,
    exchange: Exchange,
    as_json: bool,
) -> int:
    """Print a preset's values, and return the exit code."""
    placed = apply_preset(
        name,
        num_sites=num_sites,
        model_bytes=model_size(params, model_bytes, dtype),
        bytes_per_second=parse_bandwidth(bandwidth) if bandwidth else None,
        exchange=exchange,
    )
    if as_json:
        print_json(timeouts_document("timeouts show", **placed.to_json()))
    else:
        _print_settings(placed, [find_preset(name).title])
    return ExitCode.OK


def suggest_command(
    *,
    num_sites: int,
    params: str | None,
    model_bytes: str | None,
    dtype: str,
    bandwidth: str,
    exchange: Exchange,
    out: Path | None,
    as_json: bool,
) -> int:
    """Print the preset that fits and all of its values, and return the exit code."""
    size = model_size(params, model_bytes, dtype)
    if size is None:
        raise ConfigError("found neither --params nor --model-bytes, expected one of them, such as --params 110M")
    if out is not None and out.suffix != ".json":
        raise ConfigError(
            f"--out: found {out}, expected a name that ends in .json: only such a name is read as a preset"
        )
    suggestion = suggest_preset(
        model_bytes=size, bytes_per_second=parse_bandwidth(bandwidth), num_sites=num_sites, exchange=exchange
    )
    placed = suggestion.placed
    if out is not None:
        write_json(out, _own_preset(placed))
    if as_json:
        document = timeouts_document(
            "timeouts suggest", **placed.to_json(), reasons=suggestion.reasons, notes=suggestion.notes
        )
        print_json(document | {"written": str(out) if out else None})
        return ExitCode.OK
    written = [f"Written to {out}: timeouts={str(out)!r} in a FederationConfig takes it."] if out else []
    _print_settings(placed, suggestion.reasons, [*suggestion.notes, *written])
    return ExitCode.OK


def model_size(params: str | None, model_bytes: str | None, dtype: str) -> int | None:
    """Bytes of one update from ``--params`` and ``--dtype``, or from ``--model-bytes``; None when none is given.

    Raises:
        ConfigError: both are given, or one of them is no such number.
    """
    if params and model_bytes:
        raise ConfigError("found --params and --model-bytes, expected one of them")
    if model_bytes:
        return parse_bytes(model_bytes)
    return parse_count(params) * DTYPE_BYTES[dtype] if params else None


def timeouts_document(command: str, code: ExitCode = ExitCode.OK, **content: Any) -> dict[str, Any]:
    """The envelope of these commands."""
    return {"schema": _SCHEMA, "command": command, "exit_code": int(code), "error": None, **content}


def _own_preset(placed: PlacedSettings) -> dict[str, Any]:
    """The values as a preset file, each fixed as worked out."""
    settings = {setting.key.id: {"value": setting.value, "why": setting.reason} for setting in placed.settings}
    return {"title": f"{placed.preset}, worked out for {placed.deployment.num_sites} sites", "settings": settings}


def _print_settings(placed: PlacedSettings, above: Sequence[str], below: Sequence[str] = ()) -> None:
    console = make_console()
    for line in above:
        console.print(Text(line), soft_wrap=True)
    table = Table("key", "value", "where it stands, who reads it, why", show_lines=True, pad_edge=False)
    table.columns[0].overflow = "fold"
    for setting in placed.settings:
        key = setting.key
        unit = "" if key.unit == "flag" else f" {key.unit}"
        default = "" if key.default is None else f"\n(default {key.default})"
        where = f"{'; '.join(place.text for place in key.places)}\n{key.process}: {key.read_by or 'rt_flare'}"
        cells = (key.id, f"{setting.value}{unit}{default}", f"{where}\n{setting.reason}")
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)
    if placed.close_window is not None:
        closes = placed.get("comm.sfm_close_stalled_connection")
        verb = "is closed" if closes else "would be closed (the guard only warns)"
        console.print(
            Text(f"Stall guard: a stalled tcp connection {verb} after {placed.close_window}."), soft_wrap=True
        )
    for line in below:
        console.print(Text(line), soft_wrap=True)
