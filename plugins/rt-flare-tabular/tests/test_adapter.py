"""The tabular adapter: rt_flare's conformance suite on both formats, and what is its own (P3, P4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.errors import ConfigError, DataError
from rt_flare.testing import DatasetAdapterConformance
from rt_flare_tabular.adapter import TabularAdapter, TabularDataset

TABLE = {"b": [1.5, 2.5, -3.0], "a": [10, 20, 30], "label": [1, 0, 2]}


def write(folder: Path, columns: Mapping[str, Any], name: str = "data.csv") -> Path:
    folder.mkdir(exist_ok=True)
    table = pa.table(dict(columns))
    if name.endswith(".csv"):
        pa.csv.write_csv(table, folder / name)
    else:
        pa.parquet.write_table(table, folder / name)
    return folder


def read(root: Path, env: Mapping[str, Any] | None = None, **options: Any) -> TabularDataset:
    adapter = TabularAdapter(**{"file": "data.csv", "label": "label", **options})
    return adapter.open(root, manifest_file="", env=env or {})


class TestCsvConformance(DatasetAdapterConformance):
    """P3"""

    file = "data.csv"

    @pytest.fixture
    def adapter(self) -> TabularAdapter:
        return TabularAdapter(file=self.file, label="label")

    @pytest.fixture
    def data_root(self, tmp_path: Path) -> Path:
        return write(tmp_path / "shard", TABLE, self.file)

    @pytest.fixture
    def damaged_file(self, data_root: Path) -> Path:
        (data_root / self.file).write_bytes(b'a,b,label\n1,2\n"')
        return data_root / self.file


class TestParquetConformance(TestCsvConformance):
    """P3"""

    file = "data.parquet"


@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_columns_become_features_in_alphabetical_order(tmp_path: Path, name: str) -> None:
    """P4: sites whose files order them otherwise agree."""
    dataset = read(write(tmp_path, TABLE, name), file=name)
    assert dataset.feature_names == ["a", "b"]
    features, target = dataset[0]
    assert (features.tolist(), features.dtype) == ([10.0, 1.5], torch.float32)
    assert (target.item(), target.dtype, dataset.num_classes) == (1, torch.int64, 3)


def test_features_can_be_chosen_ordered_and_scaled(tmp_path: Path) -> None:
    """P4: by numbers that are the same for all sites."""
    dataset = read(write(tmp_path, TABLE), features=["b", "a"], means=[0.5, 20], scales=[2, 10])
    assert dataset.features.tolist() == [[0.5, -1.0], [1.0, 0.0], [-1.75, 1.0]]


def test_class_names_are_numbered_by_the_job(tmp_path: Path) -> None:
    """P4: a class may be called NA."""
    root = write(tmp_path, TABLE | {"label": ["no", "NA", "no"]})
    dataset = read(root, classes=["yes", "NA", "no"])
    assert (dataset.targets.tolist(), dataset.num_classes) == ([2, 1, 2], 3)
    with pytest.raises(DataError, match=r"data\.csv: row 2, column 'label': found 'NA', expected 'no', 'yes'"):
        read(root, classes=["no", "yes"])


def test_a_regression_has_numbers_for_targets(tmp_path: Path) -> None:
    """P4"""
    dataset = read(write(tmp_path, TABLE), label="b", regression=True)
    assert (dataset.targets.tolist(), dataset.targets.dtype, dataset.num_classes) == (TABLE["b"], torch.float32, 0)


def test_parquet_types_that_are_numbers_become_floats(tmp_path: Path) -> None:
    """P4: bools, small integers, decimals and dictionaries of class names."""
    columns = {
        "bool": pa.array([True, False]),
        "decimal": pa.array([1, 2], pa.decimal128(5, 2)),
        "float16": pa.array(np.array([0.5, 2], np.float16)),
        "label": pa.array(["x", "y"]).dictionary_encode(),
        "uint8": pa.array([255, 0], pa.uint8()),
    }
    dataset = read(write(tmp_path, columns, "data.parquet"), file="data.parquet", classes=["y", "x"])
    assert dataset.features.tolist() == [[1, 1, 0.5, 255], [0, 2, 2, 0]]
    assert dataset.targets.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, None, 3]}, "row 2, column 'a': found no value"),
        ({"label": [1, 2, None]}, "row 3, column 'label': found no value"),
        ({"a": [1.0, math.nan, 3.0]}, "row 2, column 'a': found NaN"),
        ({"b": [math.inf, 0.0, 0.0]}, "row 1, column 'b': found NaN, an infinity"),
        ({"a": [1e300, 0.0, 0.0]}, "row 1, column 'a': found .*beyond float32"),
        ({"a": ["x", "y", "z"]}, "(column 'a': found .*string|CSV column #1: .*invalid value 'x')"),
        ({"label": ["x", "y", "z"]}, "(column 'label': found .*string|CSV column #2: .*invalid value 'x')"),
        ({"label": [0, -1, 0]}, "row 2, column 'label': found -1, expected an integer from 0"),
        ({"label": [0.5, 1.0, 2.0]}, "(column 'label': found double|CSV column #2: .*invalid value '0.5')"),
    ],
)
@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_a_value_that_cannot_be_used_is_named(tmp_path: Path, name: str, columns: dict[str, Any], message: str) -> None:
    """P4: nothing is filled in, and no row is left out."""
    root = write(tmp_path, TABLE | columns, name)
    with pytest.raises(DataError, match=rf"{name.replace('.', '[.]')}: .*{message}"):
        read(root, file=name)


def test_rows_are_counted_across_batches(tmp_path: Path) -> None:
    """P4: the row in the message is the file's."""
    values = np.zeros(150_000)
    values[140_000] = math.nan
    root = write(tmp_path, {"a": values, "label": np.zeros(150_000, np.int64)}, "data.parquet")
    with pytest.raises(DataError, match="row 140001, column 'a'"):
        read(root, file="data.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read: Empty CSV"),
        ("a,label\n", "found no row below the header"),
        ("a,a,label\n1,2,0\n", "columns 'a' stand there twice"),
        ("label\n1\n", "found the column 'label' only"),
        ("a,b\n1,2\n", "missing columns 'label', found 'a', 'b'"),
        ("a,label\n1,0\n1,2,3\n", "Expected 2 columns, got 3"),
    ],
)
def test_a_csv_file_that_is_no_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    """P4"""
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(DataError, match=rf"data\.csv: .*{message}"):
        read(tmp_path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    """P4"""
    (tmp_path / "data.xlsx").touch()
    with pytest.raises(DataError, match=r"found the suffix '\.xlsx', expected \.csv or \.parquet"):
        read(tmp_path, file="data.xlsx")


def test_a_file_outside_is_refused(tmp_path: Path) -> None:
    """K5"""
    root = write(tmp_path / "shard", TABLE)
    write(tmp_path, TABLE)
    with pytest.raises(DataError, match=r"leads out of data_root"):
        read(root, file="../data.csv")


def test_num_classes_is_inferred_or_checked(tmp_path: Path) -> None:
    """C4"""
    root = write(tmp_path, TABLE)
    assert read(root, {"num_classes": 5}).num_classes == 5
    with pytest.raises(DataError, match="row 3: found class 2, expected 0 to 1"):
        read(root, {"num_classes": 2})
    named = write(tmp_path / "named", TABLE | {"label": ["x", "y", "z"]})
    with pytest.raises(ConfigError, match="expected at least 3"):
        read(named, {"num_classes": 2}, classes=["x", "y", "z"])


@given(
    values=st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1
    )
)
def test_every_finite_number_comes_back(tmp_path_factory: pytest.TempPathFactory, values: list[list[float]]) -> None:
    """P4: both formats, the same tensors."""
    root = tmp_path_factory.mktemp("shard")
    x, y = zip(*values, strict=True)
    for name in ("data.csv", "data.parquet"):
        write(root, {"x": pa.array(x, pa.float64()), "y": pa.array(y, pa.float64()), "label": [0] * len(x)}, name)
        dataset = read(root, file=name)
        assert torch.equal(dataset.features, torch.tensor(values, dtype=torch.float32))
        assert TabularAdapter(file=name, label="label").count_samples(root, manifest_file="") == len(values)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"file": ""}, "file"),
        ({"label": 3}, "label"),
        ({"features": "a"}, "features"),
        ({"features": ["a", "a"]}, "features"),
        ({"features": ["label"]}, "features"),
        ({"classes": []}, "classes"),
        ({"regression": 1}, "regression"),
        ({"regression": True, "classes": ["a"]}, "regression"),
        ({"means": [1.0]}, "means"),
        ({"features": ["a"], "means": [math.nan]}, "means"),
        ({"features": ["a"], "means": [1, 2]}, "means"),
        ({"features": ["a"], "scales": [True]}, "scales"),
        ({"features": ["a"], "scales": [0]}, "scales"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], named: str) -> None:
    """P4"""
    with pytest.raises(ConfigError, match=f"option {named}"):
        TabularAdapter(**{"file": "data.csv", "label": "label", **options})
