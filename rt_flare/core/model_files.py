"""The files of a job's global models: their names, and whether one is what its sidecar says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rt_flare.core.durable_io import link_file, read_json, write_json
from rt_flare.errors import ResumeError

__all__ = ["BEST_MODEL", "GLOBAL_MODEL", "SIDECAR_SCHEMA", "check_model", "link_model", "round_model_name"]

GLOBAL_MODEL = "global_model.pt"
BEST_MODEL = "best_model.pt"
SIDECAR_SCHEMA = "rt_flare.model/1"


def round_model_name(round_number: int) -> str:
    """Name of the file that holds the global model which round ``round_number`` (0-based) produced."""
    return f"model_round_{round_number}.pt"


def link_model(source: Path, target: Path) -> None:
    """Make ``target`` the model ``source``, with a sidecar of its own; each file is replaced atomically.

    Raises:
        OSError: a file cannot be read or written.
    """
    link_file(source, target)
    write_json(target.with_suffix(".json"), {**read_json(source.with_suffix(".json")), "file": target.name})


def check_model(path: Path) -> dict[str, Any]:
    """Return the sidecar of a model whose size and SHA-256 are those that it names.

    Raises:
        ResumeError: the model or its sidecar is missing or damaged; the message says what was found and expected.
    """
    place = path.with_suffix(".json")
    try:
        sidecar = read_json(place)
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise ResumeError(f"{path.name}: the model and its sidecar are not both there: {error}") from error
    if (
        not isinstance(sidecar, dict)
        or sidecar.get("schema") != SIDECAR_SCHEMA
        or type(sidecar.get("round")) is not int
    ):
        raise ResumeError(f"{place.name}: expected a {SIDECAR_SCHEMA} document with a round")
    if size != sidecar.get("size_bytes"):
        raise ResumeError(f"{path.name}: found {size} bytes, expected {sidecar.get('size_bytes')} by its sidecar")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sidecar.get("sha256"):
        raise ResumeError(f"{path.name}: found SHA-256 {found}, expected {sidecar.get('sha256')} by its sidecar")
    return sidecar
