"""The site's data: found or fetched once per job, described for the payload."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvflare.apis.fl_context import FLContext

from rt_flare.catalog import load_catalog
from rt_flare.components.shard_urls import ask_for_shard
from rt_flare.components.site import local_dir
from rt_flare.data.own_data import OWN_DATA_FILE, OwnData, read_own_data
from rt_flare.data.shard_names import shard_name
from rt_flare.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rt_flare.components.executor import PayloadExecutor
    from rt_flare.data.site_cache import SiteCache

__all__ = ["SiteData"]


class SiteData:
    """Prepares the data that the site's own configuration or `PayloadExecutor`'s arguments name, on first use.

    The site goes first (see `read_own_data`); then ``data_root``, ``shards_dir``, ``shards_from_server`` of the job.

    Args:
        executor: whose ``data_root``, ``shards_dir``, ``shards_from_server``, ``site_shards``, ``data_dir``,
            ``cache_max_bytes``, ``adapter``, ``adapter_args`` and ``manifest_file`` count.
    """

    def __init__(self, executor: PayloadExecutor) -> None:
        self._executor = executor
        self._dataset: dict[str, Any] | None = None
        self._num_entries: int | None = None
        self._cache: SiteCache | None = None

    @property
    def data_root(self) -> str | None:
        """Folder with the site's data; None before it is known."""
        return None if self._dataset is None else str(self._dataset["data_root"])

    def prepare(self, fl_ctx: FLContext, aborted: Callable[[], bool]) -> dict[str, Any]:
        """Return the payload's ``dataset``; the first call fetches, verifies and unpacks the shard.

        Args:
            fl_ctx: the running task's context.
            aborted: whether the task has been aborted.

        Raises:
            ConfigError: the adapter is not installed, or no shard is named for this site; the message lists what is.
            DataError: the data is not there, or the shard is unsafe or damaged.
            DownloadAbortedError: the task was aborted meanwhile.
        """
        if self._dataset is None:
            adapter = load_catalog().adapter(self._executor.adapter)
            data_root = self._data_root(fl_ctx, aborted)
            manifest_file = self._executor.manifest_file
            manifest = data_root / manifest_file
            # User code may read data that the default adapter cannot: nothing is counted then.
            if manifest.is_file() or self._executor.adapter != "manifest":
                options = self._executor.adapter_args or {}
                self._num_entries = adapter(**options).count_samples(data_root, manifest_file=manifest_file)
            self._dataset = {
                "data_root": str(data_root),
                "adapter": self._executor.adapter,
                "adapter_args": self._executor.adapter_args or {},
                "manifest": str(manifest),
            }
        return self._dataset

    def close(self) -> None:
        """Let other jobs evict the shard from the site's cache."""
        if self._cache is not None:
            self._cache.close()
        self._cache = self._dataset = None

    def odd_sample_count(self, num_samples: int) -> str | None:
        """Say so when ``num_samples`` differs from the number of samples that the data holds; None otherwise."""
        if self._num_entries is None or num_samples == self._num_entries:
            return None
        return (
            f"samples: user code returned {num_samples}, the site's data holds {self._num_entries}; return "
            "the number of samples that this site trained on, not a constant"
        )

    def _data_root(self, fl_ctx: FLContext, aborted: Callable[[], bool]) -> Path:
        site = fl_ctx.get_identity_name()
        own = read_own_data(local_dir(fl_ctx), os.environ)
        root = own.data_root or ("" if own.shard else self._executor.data_root)
        if root:
            if not Path(root).is_dir():
                raise DataError(f"data_root: found no folder {root} at {site}")
            return Path(root)
        # Here and below, because jobs without shards start faster without.
        from rt_flare.data.site_cache import SiteCache
        from rt_flare.data.site_shard import place_archive

        index = (self._executor.site_shards or {}).get(site)
        max_bytes = self._executor.cache_max_bytes if own.cache_max_bytes is None else own.cache_max_bytes
        self._cache = cache = SiteCache(Path(self._executor.data_dir), max_bytes=max_bytes)
        if own.shard:
            return self._own_shard(own, cache, index or 1, aborted)
        if index is None or not (self._executor.shards_dir or self._executor.shards_from_server):
            raise ConfigError(
                f"neither data_root nor a shard is configured for {site}: set shards_dir or shards_from_server, and "
                f"site_shards; or put {OWN_DATA_FILE} into the site's local folder"
            )
        if self._executor.shards_dir:
            archive = Path(self._executor.shards_dir) / shard_name(index)
            if not archive.is_file():
                raise DataError(f"found no shard {archive.name} for {site} in {archive.parent}")
            return place_archive(archive, cache, index)
        return self._signed_shard(cache, index, fl_ctx, aborted)

    def _signed_shard(self, cache: SiteCache, index: int, fl_ctx: FLContext, aborted: Callable[[], bool]) -> Path:
        from rt_flare.data.http_source import HttpSource
        from rt_flare.data.shard_fetch import fetch_shard

        signed = ask_for_shard(index, fl_ctx)

        def resign() -> str:
            self._executor.log_info(fl_ctx, f"{shard_name(index)}: the signed URL has expired, asking for a fresh one")
            return ask_for_shard(index, fl_ctx).url

        source = HttpSource(signed.url, resign=resign)
        return fetch_shard(
            source, cache, index, sha256=signed.sha256, on_progress=self._progress(index, fl_ctx), aborted=aborted
        )

    def _own_shard(self, own: OwnData, cache: SiteCache, index: int, aborted: Callable[[], bool]) -> Path:
        from rt_flare.data.http_source import HttpSource
        from rt_flare.data.shard_fetch import fetch_shard
        from rt_flare.data.site_shard import place_archive
        from rt_flare.data.storage import FsspecSource

        if "://" not in own.shard:
            return place_archive(Path(own.shard), cache, index, sha256=own.sha256 or None)
        source = FsspecSource(own.shard) if own.needs_credentials else HttpSource(own.shard)
        return fetch_shard(source, cache, index, sha256=own.sha256 or None, aborted=aborted)

    def _progress(self, index: int, fl_ctx: FLContext) -> Callable[[int, int], None]:
        tenths = 0

        def report(done: int, total: int) -> None:
            nonlocal tenths
            if done * 10 // total > tenths:
                tenths = done * 10 // total
                self._executor.log_info(fl_ctx, f"{shard_name(index)}: {done} of {total} bytes")

        return report
