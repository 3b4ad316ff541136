"""The contract of a dataset adapter: from a site's folder to a PyTorch dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch.utils.data import Dataset

__all__ = ["DatasetAdapter"]


class DatasetAdapter(ABC):
    """Reads one format of data.

    The constructor takes keyword options only, JSON values that the job author gives as ``adapter_args``, and
    refuses wrong ones with a `ConfigError`. An adapter keeps no state between calls.
    """

    name: ClassVar[str]
    """The name in a job's configuration; the same one that the plugin registers."""

    @abstractmethod
    def open(self, data_root: Path, *, manifest_file: str, env: Mapping[str, Any]) -> Dataset[Any]:
        """Return the site's training data, a map-style or iterable dataset that DataLoader workers can pickle.

        Args:
            data_root: the folder with the shard's contents; read, never written.
            manifest_file: path of the manifest, absolute or from ``data_root``; ignored by formats without one.
            env: ``payload["env"]``: ``img_size``, ``num_classes``, ``batch_size`` and the author's extra keys.

        Raises:
            DataError: the data cannot be used; the message names file, line or sample, and the fix.
        """

    def count_samples(self, data_root: Path, *, manifest_file: str) -> int | None:
        """Return the number of samples without decoding them, or None where only reading everything would tell.

        Raises:
            DataError: the data cannot be used.
        """
        return None
