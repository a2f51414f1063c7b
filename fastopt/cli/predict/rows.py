"""The rows of a file that a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.delimited import is_number
from fastopt.cli.fit.model_file import StoredModel
from fastopt.cli.race.data.table import some_of
from fastopt.cli.rows.filled import FilledReader
from fastopt.cli.rows.opening import Input, is_sparse, open_input, open_sparse
from fastopt.estimators import Block
from fastopt.estimators.sources.roles import Roles
from fastopt.estimators.sources.table_rows import TableRows

_ROWS = 4096  # of a sparse matrix that are predicted at a time


def blocks_of(model: StoredModel, path: Path) -> Iterator[Block]:
    """Return the rows of a file, without the target.

    Raises
    ------
    FastoptError
        A column of the fit is not there, or its values cannot be used.
    """
    if is_sparse(path) != (model.columns is None):
        kinds = ("a file with named columns", "a file in svmlight's format")
        raise FastoptError(
            f"{path}: the model was fitted to {kinds[model.columns is None]}, which this is not"
        )
    if model.columns is None:
        X = open_sparse(path, model.estimator.n_features_in_, model.zero_based).X
        rows = (X[first : first + _ROWS] for first in range(0, X.shape[0], _ROWS))
        return (Block(x, np.zeros(x.shape[0])) for x in rows)
    roles = {"offset": model.offset, "exposure": model.exposure}
    needed = [*model.column_names, *(name for name in roles.values() if name is not None)]

    def choose(names: list[str]) -> list[str]:
        absent = [name for name in needed if name not in names]
        if absent:
            raise FastoptError(
                f"{path}: there is no column {absent[0]!r}, which the model needs; the columns are "
                f"{some_of([*map(repr, names)])}"
            )
        return list(dict.fromkeys(needed))

    data = open_input(path, choose, model.texts)
    for name in needed:
        if name not in model.texts:
            _require_numbers(data, name)
    reader = FilledReader(data.reader, model.fills) if model.fills else data.reader
    return TableRows(reader, model.features(data.place), Roles(roles, "log")).blocks()


def _require_numbers(data: Input, name: str) -> None:
    if data.kinds[name] in ("number", "bool"):
        return
    first = 0
    for table in data.reader.tables([name], 2**15):
        for row, value in enumerate(table.labels(name)[0].tolist()):
            if value is not None and not is_number(str(value)):
                raise FastoptError(
                    f"{data.place(first + row)}: column {name!r} is {str(value)!r}; it was a "
                    "column of numbers in the fit"
                )
        first += len(table)
    raise FastoptError(f"{data.name}: column {name!r} is text, and was numbers in the fit")
