"""The dataset adapter ``tabular``: numbers and a target from one CSV or Parquet file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.utils.data import Dataset

from rt_flare.data.adapter import DatasetAdapter
from rt_flare.data.uris import resolve_uri
from rt_flare.errors import ConfigError, DataError
from rt_flare_tabular.table_files import TableFile, names_of, open_table

__all__ = ["TabularAdapter", "TabularDataset"]


class TabularAdapter(DatasetAdapter):
    """Reads columns of numbers as features, and one column as the target.

    Args:
        file: name of the file in ``data_root``, ending in ``.csv`` (with a header) or ``.parquet``.
        label: name of the target's column.
        features: names of the feature columns, in the order of the features. None takes all columns but the target,
            in alphabetical order, so that sites whose files order them otherwise agree.
        classes: names of the classes in the order of their indices, the same list for all sites; None if the column
            holds the indices.
        regression: the target is a number and no class.
        means: number to subtract from each of ``features``; the same for all sites.
        scales: number to divide each of ``features`` by, after that.

    Raises:
        ConfigError: an option has another value.
    """

    name: ClassVar[str] = "tabular"

    def __init__(
        self,
        *,
        file: str,
        label: str,
        features: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        regression: bool = False,
        means: Sequence[float] | None = None,
        scales: Sequence[float] | None = None,
    ) -> None:
        for option, value in (("file", file), ("label", label)):
            if type(value) is not str or not value:
                raise _wrong(option, value, "a name")
        self.file = file
        self.label = label
        self.features = _checked_names("features", features)
        self.classes = _checked_names("classes", classes)
        if type(regression) is not bool:
            raise _wrong("regression", regression, "a bool")
        if regression and classes is not None:
            raise _wrong("regression", regression, "false where classes are given")
        if self.features is not None and label in self.features:
            raise _wrong("features", list(self.features), f"names without the label {label!r}")
        self.regression = regression
        self.means = self._checked_numbers("means", means, 0.0)
        self.scales = self._checked_numbers("scales", scales, 1.0)
        if (self.scales <= 0).any():
            raise _wrong("scales", scales, "numbers above 0")

    def open(self, data_root: Path, *, manifest_file: str, env: Mapping[str, Any]) -> TabularDataset:
        """Read the table into memory; see `TabularDataset` for an item's form.

        ``env`` may hold ``num_classes`` (0: as many as the classes, or the largest index plus one).

        Raises:
            DataError: the file is missing, leads out of ``data_root``, holds no row, lacks a column, or has a value
                that is none, no number, not finite, or no class.
            ConfigError: ``num_classes`` is below the number of classes.
        """
        table = self._table(data_root)
        features = self._features(table)
        label_type = pa.float64() if self.regression else pa.int64() if self.classes is None else pa.string()
        types = dict.fromkeys(features, pa.float64()) | {self.label: label_type}
        parts: list[npt.NDArray[np.float32]] = []
        labels: list[npt.NDArray[Any]] = []
        row = 1
        for batch in table.batches(types):
            wide = np.stack([batch.column(name).to_numpy(zero_copy_only=False) for name in features], axis=1)
            with np.errstate(over="ignore"):
                part = ((wide - self.means) / self.scales).astype(np.float32)
            _check_finite(table.path, part, features, row)
            labels.append(self._targets(table.path, batch.column(self.label).to_numpy(zero_copy_only=False), row))
            parts.append(part)
            row += batch.num_rows
        if row == 1:
            raise DataError(f"{table.path}: found no row below the header")
        targets = torch.from_numpy(np.concatenate(labels))
        num_classes = 0 if self.regression else self._num_classes(table.path, env.get("num_classes", 0), targets)
        return TabularDataset(torch.from_numpy(np.concatenate(parts)), targets, features, num_classes=num_classes)

    def count_samples(self, data_root: Path, *, manifest_file: str) -> int:
        """Return the number of rows.

        Raises:
            DataError: the file is missing, leads out of ``data_root`` or cannot be read.
        """
        return self._table(data_root).count_rows()

    def _table(self, data_root: Path) -> TableFile:
        return open_table(resolve_uri(f"./{self.file}", data_root))

    def _features(self, table: TableFile) -> list[str]:
        features = self.features or sorted(set(table.columns) - {self.label})
        if missing := [name for name in [self.label, *features] if name not in table.columns]:
            raise DataError(f"{table.path}: missing columns {names_of(missing)}, found {names_of(table.columns)}")
        if not features:
            raise DataError(f"{table.path}: found the column {self.label!r} only, expected features beside it")
        return list(features)

    def _targets(self, path: Path, values: npt.NDArray[Any], row: int) -> npt.NDArray[Any]:
        if self.regression:
            targets: npt.NDArray[Any] = values.astype(np.float32)
            _check_finite(path, targets[:, None], [self.label], row)
            return targets
        if self.classes is not None:
            indices = {name: index for index, name in enumerate(self.classes)}
            known = np.array([indices.get(value, -1) for value in values], dtype=np.int64)
        else:
            known = values.astype(np.int64)
        if (known < 0).any():
            place = int((known < 0).argmax())
            found = values[place : place + 1].tolist()[0]
            expected = names_of(self.classes) if self.classes is not None else "an integer from 0"
            raise DataError(f"{path}: row {row + place}, column {self.label!r}: found {found!r}, expected {expected}")
        return known

    def _num_classes(self, path: Path, asked: int, targets: torch.Tensor) -> int:
        if self.classes is not None:
            if asked and asked < len(self.classes):
                raise ConfigError(f"env['num_classes']: found {asked}, expected at least {len(self.classes)}, or 0")
            return len(self.classes)
        largest = int(targets.max())
        if asked and largest >= asked:
            row = int(targets.argmax()) + 1
            raise DataError(f"{path}: row {row}: found class {largest}, expected 0 to {asked - 1} (num_classes)")
        return asked or largest + 1

    def _checked_numbers(self, option: str, numbers: Sequence[float] | None, default: float) -> npt.NDArray[np.float64]:
        if numbers is None:
            return np.full(1, default)
        is_number = all(type(n) in {int, float} and math.isfinite(n) for n in numbers)
        if self.features is None or not is_number or len(numbers) != len(self.features):
            raise _wrong(option, numbers, "one finite number for each of the names in features")
        return np.array(numbers, dtype=np.float64)


class TabularDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The rows of one table, in memory.

    An item is ``(features, target)``: features float32 of shape (num_features,); target the class index, an int64
    scalar, or with ``regression`` a float32 scalar.

    Attributes:
        features: float32 of shape (rows, num_features).
        targets: int64 or float32 of shape (rows,).
        feature_names: names of the features, in their order.
        num_classes: number of classes; 0 for a regression.
    """

    def __init__(
        self, features: torch.Tensor, targets: torch.Tensor, feature_names: Sequence[str], *, num_classes: int
    ) -> None:
        self.features = features
        self.targets = targets
        self.feature_names = feature_names
        self.num_classes = num_classes

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one row."""
        return self.features[index], self.targets[index]


def _check_finite(path: Path, values: npt.NDArray[np.float32], names: Sequence[str], row: int) -> None:
    if not np.isfinite(values).all():
        place, column = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"{path}: row {row + place}, column {names[column]!r}: found NaN, an infinity or a number beyond float32, "
            "expected a finite number. Drop such rows or fill them in before training."
        )


def _checked_names(option: str, names: Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str) or not names or not all(type(name) is str for name in names):
        raise _wrong(option, names, "a list of names, or None")
    if len(set(names)) != len(names):
        raise _wrong(option, names, "every name once")
    return tuple(names)


def _wrong(option: str, found: object, expected: str) -> ConfigError:
    return ConfigError(f"adapter 'tabular', option {option}: found {found!r}, expected {expected}")
