"""Columns of a CSV or Parquet file, in batches, with errors that name file, row and column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from rt_flare.errors import DataError

__all__ = ["TableFile", "names_of", "open_table"]

_BATCH_ROWS = 65_536


class TableFile(Protocol):
    """A file of rows and named columns."""

    path: Path
    columns: list[str]

    def count_rows(self) -> int:
        """Number of rows."""

    def batches(self, types: Mapping[str, Any]) -> Iterator[Any]:
        """Record batches of the columns in ``types``, in its order, converted to those Arrow types, without nulls."""


def open_table(path: Path) -> TableFile:
    """Open a table; the suffix tells its format.

    Raises:
        DataError: the suffix is another one, the file cannot be read, or a column's name stands there twice.
    """
    formats: dict[str, Any] = {".csv": _CsvFile, ".parquet": _ParquetFile}
    if path.suffix.lower() not in formats:
        raise DataError(f"{path}: found the suffix {path.suffix!r}, expected {' or '.join(formats)}")
    table: TableFile = formats[path.suffix.lower()](path)
    if twice := sorted({name for name in table.columns if table.columns.count(name) > 1}):
        raise DataError(f"{path}: the columns {', '.join(map(repr, twice))} stand there twice. Rename one of each.")
    return table


class _CsvFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        with _named(path), pa.csv.open_csv(path) as reader:
            self.columns = list(reader.schema.names)

    def count_rows(self) -> int:
        return sum(batch.num_rows for batch in self._read({self.columns[0]: pa.string()}))

    def batches(self, types: Mapping[str, Any]) -> Iterator[Any]:
        yield from _without_nulls(self.path, self._read(types))

    def _read(self, types: Mapping[str, Any]) -> Iterator[Any]:
        # Only an empty cell is no value: "NA" may be the name of a class.
        convert = pa.csv.ConvertOptions(
            include_columns=list(types),
            column_types=dict(types),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        # One thread keeps the row's number in the errors.
        read = pa.csv.ReadOptions(use_threads=False)
        with _named(self.path), pa.csv.open_csv(self.path, read_options=read, convert_options=convert) as reader:
            yield from reader


class _ParquetFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        with _named(path), pa.parquet.ParquetFile(path) as file:
            self.columns = list(file.schema_arrow.names)
            self._rows = int(file.metadata.num_rows)

    def count_rows(self) -> int:
        return self._rows

    def batches(self, types: Mapping[str, Any]) -> Iterator[Any]:
        yield from _without_nulls(self.path, self._read(types))

    def _read(self, types: Mapping[str, Any]) -> Iterator[Any]:
        with _named(self.path), pa.parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(types)):
                columns = [self._cast(batch.column(name), name, wanted) for name, wanted in types.items()]
                yield pa.record_batch(columns, names=list(types))

    def _cast(self, column: Any, name: str, wanted: Any) -> Any:
        found = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        # Arrow would read numbers out of text: then it is better that the author decides.
        if pa.types.is_string(wanted) != (pa.types.is_string(found) or pa.types.is_large_string(found)):
            raise DataError(f"{self.path}: column {name!r}: found the type {found}, expected {wanted}")
        try:
            return pc.cast(column, wanted)
        except pa.ArrowException as error:
            raise DataError(f"{self.path}: column {name!r}: found {found}, expected {wanted}: {error}") from error


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn Arrow's errors into errors that name the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the table cannot be read: {error}") from error


def _without_nulls(path: Path, batches: Iterator[Any]) -> Iterator[Any]:
    row = 1
    for batch in batches:
        for name in batch.schema.names:
            column = batch.column(name)
            if column.null_count:
                place = pc.index(pc.is_null(column), True).as_py()
                raise DataError(
                    f"{path}: row {row + place}, column {name!r}: found no value, expected one. Drop such rows or fill "
                    "them in before training."
                )
        row += batch.num_rows
        yield batch


def names_of(columns: Sequence[str]) -> str:
    """The names of columns for a message, cut after twenty."""
    shown = ", ".join(map(repr, columns[:20]))
    return shown if len(columns) <= 20 else f"{shown} and {len(columns) - 20} more"
