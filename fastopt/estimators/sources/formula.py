"""The matrix that a formula describes, from some rows of a table at a time."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.extras import library
from fastopt.estimators.sources.block import Array, Floats
from fastopt.estimators.sources.features import require_finite
from fastopt.estimators.sources.source import reading
from fastopt.estimators.sources.tables import Table

__all__ = ["Formula"]

_WARNINGS = threading.Lock()  # the filters of warnings belong to all threads


class Formula:
    """The columns of a formula, by formulaic.

    Levels of categories are those of the dtype where the column has dtype "category", else those
    that occur in any row, sorted.  The state of transforms such as ``center(x)`` or ``bs(x, df=4)``
    comes from all rows of a table in memory, but from the first 8192 rows of a file, or from the
    first chunk.  All rows are encoded in the same way.

    Parameters
    ----------
    formula : str or formulaic.Formula
        ``"y ~ a + C(b)"``, or only its right side.

    Attributes
    ----------
    response : str or None
        The left side.
    left, right : formulaic.SimpleFormula
        The two sides; ``left`` is None without a response.
    has_intercept : bool
    columns : list of str
        The columns of the table that the right side uses, in the order of the table.
    intercept_name : str
        Formulaic's.
    names : list of str
        The names of the matrix's columns, without the intercept; after `begin`.

    Raises
    ------
    FastoptError
        It is no formula, or has several left sides.
    TypeError
        It is neither a string nor a formulaic.Formula.
    """

    intercept_name = "Intercept"
    most_rows = 32768  # formulaic takes some milliseconds for a table of any size

    def __init__(self, formula: Any) -> None:
        formulaic = library("formulaic", "formula=")
        if not isinstance(formula, str | formulaic.Formula):
            raise TypeError(f"formula is {formula!r}; a string such as 'y ~ a + C(b)' is needed")
        self.text = str(formula)
        try:
            parsed = formulaic.Formula(formula)
            left = getattr(parsed, "lhs", None)
            right = parsed if left is None else parsed.rhs
            terms, response = [str(term) for term in right], [str(term) for term in left or ()]
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise FastoptError(f"formula is {self.text!r}: {reason}") from None
        if left is not None and len(response) != 1:
            raise FastoptError(
                f"formula is {self.text!r}, with {len(response)} responses; one is needed"
            )
        if not hasattr(right, "required_variables"):
            raise FastoptError(
                f"formula is {self.text!r}, whose right side has parts, separated by '|'; one part "
                "is needed"
            )
        self._refuse_offset(right)
        self.response = response[0] if response else None
        self.has_intercept = "1" in terms
        self.left, self.right = left, right
        # Those known now; not the arguments of all transforms.
        self.columns = [*map(str, right.required_variables)]
        self.response_columns = [] if left is None else [*map(str, left.required_variables)]
        self.names: list[str] = []
        self._spec: Any = None

    def _refuse_offset(self, right: Any) -> None:
        for factor in (str(factor.expr) for term in right for factor in term.factors):
            found = re.fullmatch(r"offset\((log\()?([^\W\d]\w*)\)*", factor)
            if found is not None:
                argument = "exposure" if found[1] else "offset"
                raise FastoptError(
                    f"formula is {self.text!r}, with {factor}, which is no feature; leave it out "
                    f"and use {argument}={found[2]!r}"
                )
            if factor.startswith("offset("):
                raise FastoptError(
                    f"formula is {self.text!r}, with {factor}, which is no feature; leave it out "
                    "and use the argument offset, which takes the name of a column"
                )

    def require_columns(self, names: Sequence[str], with_response: bool) -> None:
        """Raise an error that names a variable that is no column of the data.

        Parameters
        ----------
        names : sequence of str
        with_response : bool
            Whether the left side is needed.

        Raises
        ------
        FastoptError
        """
        for name in [*self.columns, *(self.response_columns if with_response else ())]:
            if name not in names:
                shown = ", ".join(map(repr, names[:20])) + (", ..." if names[20:] else "")
                raise FastoptError(
                    f"formula {self.text!r} uses {name!r}, which is no column; X has the columns "
                    f"{shown}"
                )

    @property
    def has_begun(self) -> bool:
        """Whether `begin` has found the levels."""
        return self._spec is not None

    def begin(
        self,
        tables: Callable[[Sequence[str] | None], Iterator[Table]],
        whole: Table | None = None,
    ) -> None:
        """Find the columns that are read, the levels of the categories and the names.

        Parameters
        ----------
        tables : callable
            Returns the rows, with the given columns, or all for None.  Its first table is read, and
            all if there are categories whose levels are not known.
        whole : Table, optional
            All rows, if they are in memory.

        Raises
        ------
        FastoptError
            There are no rows, or formulaic cannot evaluate the formula.
        """
        formulaic = library("formulaic", "formula=")
        with reading(tables(None)) as found:
            first = next(found, None)
        if first is None or not len(first):
            raise FastoptError("X has no rows; at least one is needed")
        self._require_present(first, 0, self.columns)
        frame = first.to_pandas()
        spec = formulaic.ModelSpec.from_spec(self.right, na_action="ignore")
        spec = self._matrix(spec, frame, 0).model_spec
        if spec.transform_state and whole is not None:
            first, frame = whole, whole.to_pandas()
            spec = formulaic.ModelSpec.from_spec(self.right, na_action="ignore")
            spec = self._matrix(spec, frame, 0).model_spec
        read = {str(name) for name in spec.variables if name.source == "data"}
        self.columns = [name for name in first.names if name in read]
        self._require_present(first, 0, self.columns)
        unsure = {
            str(factor): column
            for factor, column in _categories(spec)
            if whole is None or not (whole.lists_all_levels and whole.levels(column) is not None)
        }
        if unsure:
            kind = formulaic.parser.types.Factor.Kind.CATEGORICAL
            levels = self._all_levels(unsure, tables(list(unsure.values())))
            spec = formulaic.ModelSpec.from_spec(
                self.right,
                na_action="ignore",
                encoder_state={
                    factor: (kind, {"categories": levels[column]})
                    for factor, column in unsure.items()
                },
            )
            spec = self._matrix(spec, frame, 0).model_spec
        self._spec = spec
        self.names = [name for name in spec.column_names if name != self.intercept_name]

    def state(self) -> tuple[dict[str, tuple[str, list[Any]]], dict[str, Any]]:
        """Return what `begin` has found.

        Returns
        -------
        levels : dict
            The column and the levels of each factor that is a category.
        transforms : dict
            The state of each transform.
        """
        levels = {
            str(factor): (column, _levels(self._spec, str(factor)))
            for factor, column in _categories(self._spec)
        }
        return levels, dict(self._spec.transform_state)

    def resume(
        self,
        columns: Sequence[str],
        names: Sequence[str],
        levels: dict[str, list[Any]],
        transforms: dict[str, Any],
        frame: Any,
    ) -> None:
        """Take what `begin` has found in other data.

        Parameters
        ----------
        columns, names : sequence of str
            The attributes.
        levels : dict
            The levels of each factor that is a category.
        transforms : dict
            The state of each transform.
        frame : pandas.DataFrame
            A row of such data.

        Raises
        ------
        FastoptError
            The names of the matrix's columns are others.
        """
        formulaic = library("formulaic", "formula=")
        kind = formulaic.parser.types.Factor.Kind.CATEGORICAL
        spec = formulaic.ModelSpec.from_spec(
            self.right,
            na_action="ignore",
            encoder_state={factor: (kind, {"categories": own}) for factor, own in levels.items()},
            transform_state=transforms,
        )
        self._spec = self._matrix(spec, frame, 0).model_spec
        self.columns, self.names = list(columns), list(names)
        found = [name for name in self._spec.column_names if name != self.intercept_name]
        if found != self.names:
            raise FastoptError(
                f"formula {self.text!r} has the columns {', '.join(found)}; "
                f"{', '.join(self.names)} were there before"
            )

    def rows(self, table: Table, first: int) -> Floats:
        """Return the matrix of some rows, without the intercept.

        Parameters
        ----------
        table : Table
        first : int
            The index of the first row, for messages.

        Returns
        -------
        array of shape (n, p)

        Raises
        ------
        FastoptError
            A value is missing, or a category has a level that was not there before.
        """
        self._require_present(table, first, self.columns)
        matrix = self._matrix(self._spec, table.to_pandas(), first)
        x: Floats = matrix[self.names].to_numpy(dtype=np.float64)
        require_finite(x, self.names, first, "nan")
        return x

    def observations(self, table: Table, first: int) -> Array:
        """Return the left side, if it is not a column: ``log(y)``.

        Parameters
        ----------
        table : Table
        first : int

        Returns
        -------
        array of shape (n,)

        Raises
        ------
        FastoptError
            It has several columns.
        """
        self._require_present(table, first, self.response_columns)
        formulaic = library("formulaic", "formula=")
        spec = formulaic.ModelSpec.from_spec(self.left, na_action="ignore")
        matrix = self._matrix(spec, table.to_pandas(), first)
        if matrix.shape[1] != 1:
            raise FastoptError(
                f"the response {self.response!r} of the formula has the columns "
                f"{', '.join(map(str, matrix.columns))}; one is needed: a column, or an "
                "expression with a number for each row"
            )
        return np.asarray(matrix.to_numpy(dtype=np.float64)[:, 0])

    def _all_levels(self, unsure: dict[str, str], tables: Iterator[Table]) -> dict[str, list[Any]]:
        """Return the levels of columns: those of a dtype that all tables share, else sorted."""
        columns = set(unsure.values())
        listed: dict[str, list[Any] | None] = {}
        found: dict[str, set[Any]] = {column: set() for column in columns}
        row = 0
        with reading(tables) as each:
            for table in each:
                self._require_present(table, row, list(columns))
                for column in columns:
                    levels = table.levels(column)
                    same = levels if row == 0 or levels == listed[column] else None
                    listed[column] = same
                    found[column].update(levels or np.unique(table.labels(column)[0]).tolist())
                row += len(table)
        return {column: levels or sorted(found[column]) for column, levels in listed.items()}

    def _require_present(self, table: Table, first: int, columns: Sequence[str]) -> None:
        for name in columns:
            _, missing = table.labels(name)
            if missing is not None:
                raise FastoptError(
                    f"column {name!r} is missing in row {first + int(np.argmax(missing))}, counted "
                    "from 0; drop such rows, or fill them in"
                )

    def _matrix(self, spec: Any, frame: Any, first: int) -> Any:
        errors = library("formulaic.errors", "formula=")
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", errors.DataMismatchWarning)
            try:
                return spec.get_model_matrix(frame)
            except errors.DataMismatchWarning as warning:
                raise FastoptError(_unseen(spec, frame, first) or str(warning)) from None
            except errors.FormulaicError as error:
                raise FastoptError(f"formula {self.text!r}: {error}") from error


def _categories(spec: Any) -> list[tuple[Any, str]]:
    """Return (factor, column) of the factors that are a category in one column."""
    return [
        (factor, str(variables[0]))
        for factor in spec.factor_contrasts
        if len(variables := _columns_of(spec, factor)) == 1
    ]


def _columns_of(spec: Any, factor: Any) -> list[Any]:
    return [name for name in spec.factor_variables[factor] if name.source == "data"]


def _levels(spec: Any, factor: str) -> list[Any]:
    return list(spec.encoder_state[factor][1]["categories"])


def _unseen(spec: Any, frame: Any, first: int) -> str | None:
    """Return the message for the first level that the encoding does not have."""
    for factor, column in _categories(spec):
        levels = _levels(spec, str(factor))
        is_new = ~frame[column].isin(levels).to_numpy()
        if is_new.any():
            row = int(np.argmax(is_new))
            shown = ", ".join(map(repr, levels[:10])) + (", ..." if levels[10:] else "")
            return (
                f"column {column!r} has the level {frame[column].iloc[row]!r} in row "
                f"{first + row}, counted from 0; the levels of the fit are {shown}"
            )
    return None
