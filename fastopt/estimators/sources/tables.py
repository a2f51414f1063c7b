"""Tables of pandas, polars and Arrow: their columns as arrays."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.extras import library
from fastopt.estimators.sources.block import Array, Floats

__all__ = ["Table", "cut", "is_table", "table_of"]

HOW = (
    "formula= reads only the columns that it names and encodes categories, as in "
    "formula='y ~ a + C({0})'; or encode them as one-hot columns"
)


class Table(Protocol):
    """Some rows of a table.

    Attributes
    ----------
    lists_all_levels : bool
        Whether `levels` of some rows of a table in memory returns those of the whole table.
    """

    lists_all_levels: bool

    @property
    def names(self) -> list[str]:
        """The names of the columns."""

    @property
    def index_columns(self) -> list[str]:
        """The names of the columns that are an index of pandas, and so no features."""

    def __len__(self) -> int: ...

    def rows(self, own: slice) -> Table:
        """Return the rows of a slice, without a copy."""

    def numbers(self, name: str) -> Floats:
        """Return a numeric column; missing values are NaN."""

    def labels(self, name: str) -> tuple[Array, Array | None]:
        """Return a column of any type, and where it is missing, or None if it is nowhere."""

    def levels(self, name: str) -> list[Any] | None:
        """Return the levels that the dtype of a column lists, or None."""

    def header(self, columns: Sequence[str]) -> Any:
        """Return a table of these columns without rows, for scikit-learn's checks of names."""

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame."""


def _loaded(value: object, module: str, *classes: str) -> bool:
    """Return whether a value has a class of a module, which is not imported for this."""
    found = sys.modules.get(module)
    kinds = [getattr(found, name, None) for name in classes]
    return any(isinstance(kind, type) and isinstance(value, kind) for kind in kinds)


def is_table(value: object) -> bool:
    """Return whether a value is a table of pandas, polars or Arrow."""
    return (
        _loaded(value, "pandas", "DataFrame")
        or _loaded(value, "polars", "DataFrame", "LazyFrame")
        or _loaded(value, "pyarrow", "Table", "RecordBatch")
    )


def table_of(value: Any) -> Table:
    """Return the columns of a table for which `is_table` is true.

    Raises
    ------
    FastoptError
        Two columns have the same name, or a polars table is lazy.
    """
    table: Table
    if _loaded(value, "pandas", "DataFrame"):
        table = PandasTable(value)
    elif _loaded(value, "polars", "LazyFrame"):
        raise FastoptError(
            "X is a polars.LazyFrame; give X.collect(), or the path of a file that sink_parquet "
            "has written"
        )
    elif _loaded(value, "polars", "DataFrame"):
        library("pyarrow", "reading a polars table")
        table = ArrowTable(value.to_arrow())
    else:
        table = ArrowTable(value)
    if len(set(table.names)) < len(table.names):
        double = next(name for name in table.names if table.names.count(name) > 1)
        raise FastoptError(f"X has several columns named {double!r}; names must be unique")
    return table


def cut(table: Table, rows: int) -> Iterator[Table]:
    """Yield the table in pieces of at most this number of rows."""
    for first in range(0, len(table), rows):
        yield table.rows(slice(first, first + rows))


def not_numeric(name: str, dtype: object) -> TypeError:
    return TypeError(
        f"column {name!r} has dtype {dtype}; real numbers are needed: {HOW.format(name)}"
    )


class PandasTable:
    """A pandas.DataFrame."""

    lists_all_levels = True

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    @property
    def names(self) -> list[str]:
        return list(self._frame.columns)

    @property
    def index_columns(self) -> list[str]:
        return []

    def __len__(self) -> int:
        return len(self._frame)

    def rows(self, own: slice) -> PandasTable:
        return PandasTable(self._frame.iloc[own])

    def numbers(self, name: str) -> Floats:
        column = self._frame[name]
        types = sys.modules["pandas"].api.types
        is_number = types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype)
        is_category = hasattr(column.dtype, "categories")
        if not is_number or is_category or types.is_complex_dtype(column.dtype):
            raise not_numeric(name, column.dtype)
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))

    def labels(self, name: str) -> tuple[Array, Array | None]:
        column = self._frame[name]
        missing = column.isna().to_numpy()
        return np.asarray(column), missing if missing.any() else None

    def levels(self, name: str) -> list[Any] | None:
        dtype = self._frame[name].dtype
        return dtype.categories.tolist() if hasattr(dtype, "categories") else None

    def header(self, columns: Sequence[str]) -> Any:
        return self._frame.iloc[:0][list(columns)]

    def to_pandas(self) -> Any:
        return self._frame


class ArrowTable:
    """A pyarrow.Table or pyarrow.RecordBatch."""

    lists_all_levels = False  # each batch has a separate dictionary

    def __init__(self, table: Any) -> None:
        self._table = table

    @property
    def names(self) -> list[str]:
        return list(self._table.schema.names)

    @property
    def index_columns(self) -> list[str]:
        listed = (self._table.schema.pandas_metadata or {}).get("index_columns", [])
        return [name for name in listed if isinstance(name, str)]  # a dict describes a range

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def rows(self, own: slice) -> ArrowTable:
        first, stop, _ = own.indices(len(self))
        return ArrowTable(self._table.slice(first, stop - first))

    def numbers(self, name: str) -> Floats:
        column, arrow = self._table.column(name), sys.modules["pyarrow"]
        kind = column.type
        if kind == arrow.float64():
            return np.asarray(column.to_numpy(zero_copy_only=False))
        is_number = (
            arrow.types.is_integer(kind)
            or arrow.types.is_floating(kind)
            or arrow.types.is_boolean(kind)
            or arrow.types.is_decimal(kind)
            or arrow.types.is_null(kind)
        )
        if not is_number:
            raise not_numeric(name, kind)
        # Integers above 2^53 are rounded, as NumPy does.
        numbers = column.cast(arrow.float64(), safe=False)
        return np.asarray(numbers.to_numpy(zero_copy_only=False))

    def labels(self, name: str) -> tuple[Array, Array | None]:
        column = self._table.column(name)
        missing = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        if sys.modules["pyarrow"].types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        values = column.to_numpy(zero_copy_only=False)
        return np.asarray(values), missing if missing.any() else None

    def levels(self, name: str) -> list[Any] | None:
        column, arrow = self._table.column(name), sys.modules["pyarrow"]
        if not arrow.types.is_dictionary(column.type):
            return None
        chunks = getattr(column, "chunks", [column])
        return list(dict.fromkeys(v for chunk in chunks for v in chunk.dictionary.to_pylist()))

    def header(self, columns: Sequence[str]) -> Any:
        arrow = sys.modules["pyarrow"]
        schema = arrow.schema([self._table.schema.field(name) for name in columns])
        return schema.empty_table()

    def to_pandas(self) -> Any:
        library("pandas", "formula=")
        return self._table.to_pandas()
