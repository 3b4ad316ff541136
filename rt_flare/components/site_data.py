"""The site's data: fetched and unpacked once per job, described for the payload."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvflare.apis.fl_context import FLContext

from rt_flare.catalog import load_catalog
from rt_flare.data.archive import ArchiveLimits
from rt_flare.data.site_shard import prepare_shard, shard_name
from rt_flare.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rt_flare.components.executor import PayloadExecutor

__all__ = ["SiteData"]


class SiteData:
    """Prepares the data that `PayloadExecutor`'s arguments name, on first use.

    Args:
        executor: whose ``data_root``, ``shards_dir``, ``site_shards``, ``data_dir``, ``adapter``, ``adapter_args`` and
            ``manifest_file`` count.
    """

    def __init__(self, executor: PayloadExecutor) -> None:
        self._executor = executor
        self._dataset: dict[str, Any] | None = None
        self._num_entries: int | None = None

    def prepare(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the payload's ``dataset``; the first call fetches, verifies and unpacks the shard.

        Raises:
            ConfigError: the adapter is not installed, or no shard is named for this site; the message lists what is.
            DataError: the data is not there, or the shard is unsafe or damaged.
        """
        if self._dataset is None:
            adapter = load_catalog().adapter(self._executor.adapter)
            data_root = self._data_root(fl_ctx.get_identity_name())
            manifest_file = self._executor.manifest_file
            manifest = data_root / manifest_file
            if manifest.is_file():
                options = self._executor.adapter_args or {}
                self._num_entries = adapter(**options).count_samples(data_root, manifest_file=manifest_file)
            self._dataset = {
                "data_root": str(data_root),
                "adapter": self._executor.adapter,
                "adapter_args": self._executor.adapter_args or {},
                "manifest": str(manifest),
            }
        return self._dataset

    def odd_sample_count(self, num_samples: int) -> str | None:
        """Say so when ``num_samples`` differs from the number of samples that the data holds; None otherwise."""
        if self._num_entries is None or num_samples == self._num_entries:
            return None
        return (
            f"samples: user code returned {num_samples}, the shard's manifest has {self._num_entries} entries; return "
            "the number of samples that this site trained on, not a constant"
        )

    def _data_root(self, site: str) -> Path:
        if self._executor.data_root:
            data_root = Path(self._executor.data_root)
            if not data_root.is_dir():
                raise DataError(f"data_root: found no folder {data_root} at {site}")
            return data_root
        index = (self._executor.site_shards or {}).get(site)
        if index is None or not self._executor.shards_dir:
            raise ConfigError(f"neither data_root nor a shard is configured for {site}: set shards_dir and site_shards")
        archive = Path(self._executor.shards_dir) / shard_name(index)
        if not archive.is_file():
            raise DataError(f"found no shard {archive.name} for {site} in {archive.parent}")
        return prepare_shard(archive, Path(self._executor.data_dir), index, limits=ArchiveLimits())
