"""From a training payload to its dataset."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rt_flare.catalog import load_catalog
from rt_flare.errors import ConfigError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from rt_flare.data.adapter import DatasetAdapter

__all__ = ["create_adapter", "open_dataset"]


def open_dataset(payload: Mapping[str, Any]) -> Dataset[Any]:
    """Return the site's training data, read by the dataset adapter that the job names.

    Args:
        payload: what ``fl_train_model`` receives. ``payload["dataset"]`` holds ``data_root`` (folder), ``adapter``
            (name), ``manifest`` (absolute path) and ``adapter_args`` (the adapter's options, by name);
            ``payload["env"]`` is handed to the adapter.

    Raises:
        ConfigError: the payload lacks one of these, or the adapter is unknown or refuses its options.
        DataError: the data cannot be used.
    """
    dataset = _take(payload, "dataset", Mapping, "payload")
    env = _take(payload, "env", Mapping, "payload")
    place = 'payload["dataset"]'
    adapter = create_adapter(_take(dataset, "adapter", str, place), _take(dataset, "adapter_args", Mapping, place))
    data_root = Path(_take(dataset, "data_root", str, place))
    return adapter.open(data_root, manifest_file=_take(dataset, "manifest", str, place), env=env)


def create_adapter(name: str, adapter_args: Mapping[str, Any]) -> DatasetAdapter:
    """Return the installed dataset adapter ``name``, made with the options ``adapter_args``.

    Raises:
        ConfigError: no adapter has that name, or it refuses an option.
    """
    adapter = load_catalog().adapter(name)
    signature = inspect.signature(adapter)
    try:
        signature.bind(**adapter_args)
    except TypeError as error:
        options = ", ".join(signature.parameters) or "none"
        raise ConfigError(f"dataset adapter {name!r}: adapter_args: {error}. Its options: {options}") from error
    return adapter(**adapter_args)


def _take(mapping: Mapping[str, Any], key: str, kind: type, place: str) -> Any:
    value = mapping.get(key)
    if not isinstance(value, kind):
        found = f"{type(value).__name__} {value!r}" if key in mapping else "no such key"
        raise ConfigError(f"{place}[{key!r}]: found {found}, expected {kind.__name__}")
    return value
