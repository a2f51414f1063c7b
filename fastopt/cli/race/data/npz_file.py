"""The table in an .npz file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.race.data.table import Table, some_of


def read_npz(path: Path, target: str | None) -> Table:
    """Return features and target of an .npz file.

    The target is the array `y`, or the one that `target` names. The features are the array `X`,
    or the only other array.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise FastoptError(f"{path}: not an npz file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FastoptError(f"{path}: {error}") from None
    target = "y" if target is None else target
    others = [name for name in arrays if name != target]
    if target not in arrays or not ("X" in others or len(others) == 1):
        raise FastoptError(
            f"{path}: arrays X and {target} are needed; it has {some_of(list(arrays))}"
        )
    X, y = arrays["X" if "X" in others else others[0]], arrays[target]
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise FastoptError(
            f"{path}: X has shape {X.shape} and dtype {X.dtype}; rows x columns of real numbers "
            "are needed"
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
