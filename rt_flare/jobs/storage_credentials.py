"""Credentials of storages stay with the processes that open one: the server signs URLs, sites read by those."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rt_flare.core.credentials import AWS_OPTIONS, is_credential, without_credentials
from rt_flare.data.own_data import read_own_data

__all__ = ["keep_credentials", "site_environment"]


def keep_credentials(local: str) -> None:
    """Move the storage credentials of the environment into fsspec's configuration of this process.

    It opens storages as before; processes that it starts from now on find no credentials in their environment.

    Args:
        local: folder of the sites' own settings; where they name a shard in a storage, nothing is done.

    Raises:
        ConfigError: see `read_own_data`.
    """
    found = [name for name in os.environ if is_credential(name)]
    if not found or read_own_data(Path(local), os.environ).needs_credentials:
        return
    import fsspec  # reads FSSPEC_... when it is imported

    s3 = fsspec.config.conf.setdefault("s3", {})
    if "key" not in s3:
        s3.update({option: os.environ[name] for name, option in AWS_OPTIONS.items() if os.environ.get(name)})
    for name in found:
        del os.environ[name]


def site_environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` for a site's processes: with storage credentials only if its own shard needs them.

    Args:
        folder: the site's folder for its administrator's own settings.
        environment: what the site would inherit.

    Raises:
        ConfigError: see `read_own_data`.
    """
    needed = read_own_data(folder, environment).needs_credentials
    return dict(environment) if needed else without_credentials(environment)
