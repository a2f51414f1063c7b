"""The classes of a source, and the index of the class of each row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators.sources.block import Array, Floats
from fastopt.estimators.sources.roles import Target
from fastopt.estimators.sources.source import reading

__all__ = ["class_indices", "classes_of"]

MOST = 2**16


def classes_of(observations: Iterable[Array]) -> Array:
    """Return the labels that occur, sorted.

    Parameters
    ----------
    observations : iterable of array of shape (n,)

    Returns
    -------
    array of shape (n_classes,)

    Raises
    ------
    FastoptError
        A label is not finite, or there are more than 65536.
    """
    found: Array | None = None
    row = 0
    with reading(observations) as each:
        for y in each:
            if y.dtype.kind == "f" and not np.isfinite(y).all():
                bad = int(np.argmin(np.isfinite(y)))
                raise FastoptError(f"y is {y[bad]} in row {row + bad}, counted from 0")
            row += len(y)
            new = np.unique(y)
            found = new if found is None else np.unique(np.concatenate([found, new]))
            if len(found) > MOST:
                raise FastoptError(f"y has more than {MOST} different values; labels are needed")
    if found is None:
        raise FastoptError("X has no rows; at least one is needed")
    return found.astype(str) if _has_text(found) else found


def _has_text(labels: Array) -> bool:
    return labels.dtype == object and all(isinstance(label, str) for label in labels)


def class_indices(classes: Array, strict: bool = True) -> Target:
    """Return a function that returns the index of the class of each label.

    Parameters
    ----------
    classes : array of shape (n_classes,), sorted
    strict : bool
        Whether a label that is no class raises an error.  Otherwise its index is -1.

    Returns
    -------
    callable
    """

    def indices(labels: Array, rows: Sequence[int]) -> Floats:
        if classes.dtype.kind == "U":
            labels = labels.astype(str)
        index = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        known = classes[index] == labels
        if strict and not known.all():
            bad = int(np.argmin(known))
            raise FastoptError(
                f"y is {str(labels[bad])!r} in row {rows[bad]}, counted from 0; the classes are "
                f"{', '.join(map(repr, classes[:20].tolist()))}"
            )
        return np.where(known, index, -1).astype(np.float64)

    return indices
