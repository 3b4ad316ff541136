"""A site's own word on where its data is: in its environment or in a file that no job can reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rt_flare.core.durable_io import read_json
from rt_flare.errors import ConfigError

__all__ = ["OWN_DATA_FILE", "OwnData", "read_own_data"]

OWN_DATA_FILE = "rt_flare_data.json"
_ENVIRONMENT = {
    "data_root": "RT_FLARE_DATA_ROOT",
    "shard": "RT_FLARE_SHARD",
    "sha256": "RT_FLARE_SHARD_SHA256",
    "cache_max_bytes": "RT_FLARE_CACHE_MAX_BYTES",
}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _checked_hash(value: str) -> str:
    if value and not _SHA256.fullmatch(value):
        raise ValueError("expected 64 lower-case hexadecimal digits")
    return value


class OwnData(BaseModel):
    """What a site says for itself; it goes before what a job says.

    Attributes:
        data_root: folder to use as it is; "" for none.
        shard: the site's shard: path of a ZIP, or an ``http(s)`` or fsspec URL; "" for none.
        sha256: hash that ``shard`` must have; "" to take it as it comes.
        cache_max_bytes: size cap of the site's cache; None leaves it to the job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data_root: str = ""
    shard: str = ""
    sha256: Annotated[str, AfterValidator(_checked_hash)] = ""
    cache_max_bytes: int | None = Field(default=None, ge=0)

    @property
    def needs_credentials(self) -> bool:
        """Whether the shard is in a storage that the site itself must be let in to."""
        return "://" in self.shard and not self.shard.startswith(("http://", "https://"))


def read_own_data(folder: Path, environment: Mapping[str, str]) -> OwnData:
    """Return what ``RT_FLARE_DATA_ROOT``, ``RT_FLARE_SHARD``, ``RT_FLARE_SHARD_SHA256``, ``RT_FLARE_CACHE_MAX_BYTES``
    say, and for what they leave out, the JSON object in ``folder/rt_flare_data.json``.

    Raises:
        ConfigError: a value cannot be used, or both a data_root and a shard are given; values are not shown.
    """
    file = folder / OWN_DATA_FILE
    values: dict[str, Any] = {}
    if file.is_file():
        try:
            values = read_json(file)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: found no JSON object, expected one with data_root or shard")
    told = {field: environment[name] for field, name in _ENVIRONMENT.items() if environment.get(name)}
    # One place in the environment replaces whatever place the file names.
    if "data_root" in told or "shard" in told:
        values = {key: value for key, value in values.items() if key not in {"data_root", "shard", "sha256"}}
    try:
        own = OwnData.model_validate({**values, **told})
    except ValidationError as error:
        raise ConfigError(f"{file} or RT_FLARE_...: {error}") from error
    if own.data_root and own.shard:
        raise ConfigError(f"{file} or RT_FLARE_...: found data_root and shard, expected one of them")
    return own
