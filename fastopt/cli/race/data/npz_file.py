"""The table in an .npz file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.race.data.options import DataOptions
from fastopt.cli.race.data.table import Table, some_of


def read_npz(path: Path, options: DataOptions) -> Table:
    """Return features and target of an .npz file.

    The target is the array `y`, or the one that `--target` names. The features are the array that
    `--features` names; by default `X`, or the only array besides the target.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise FastoptError(f"{path}: not an npz file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FastoptError(f"{path}: {error}") from None
    target, features = options.target or "y", options.features
    others = [name for name in arrays if name != target]
    if features is None:
        features = others[0] if len(others) == 1 else "X"
    if target not in arrays or features not in others:
        raise FastoptError(
            f"{path}: arrays {features} and {target} are needed; it has {some_of(list(arrays))} "
            "(--features and --target name others)"
        )
    X, y = arrays[features], arrays[target]
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise FastoptError(
            f"{path}: {features} has shape {X.shape} and dtype {X.dtype}; rows x columns of real "
            "numbers are needed"
        )
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != X.shape[:1] or y.dtype.kind not in "fiubU":
        raise FastoptError(
            f"{path}: {target} has shape {y.shape} and dtype {y.dtype}; {X.shape[:1]} and "
            "real numbers or text are needed"
        )
    return Table(
        path.name,
        X.astype(np.float64),
        y if y.dtype.kind == "U" else y.astype(np.float64),
        [str(i) for i in range(X.shape[1])],
    )
