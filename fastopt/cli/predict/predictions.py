"""The predictions for rows, as lines of a csv file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.cli.fit.model_file import StoredModel
from fastopt.estimators import Block, GLMClassifier


def lines_of(model: StoredModel, blocks: Iterable[Block], interval: float | None) -> Iterator[str]:
    """Yield the header and the rows of each block, as text.

    Parameters
    ----------
    model : StoredModel
    blocks : iterable of Block
    interval : float or None
        The coverage of the interval of the mean; of two classes, of the second one's probability.

    Raises
    ------
    FastoptError
        The model has no standard errors.
    """
    estimator = model.estimator
    is_classifier = isinstance(estimator, GLMClassifier)
    if interval is not None and not model.has_inference:
        raise FastoptError(
            f"--interval is {interval:g}, and the model has no standard errors: it has a penalty, "
            "more than two classes, or was fitted by epochs"
        )
    header = ["prediction"]
    if is_classifier:
        header += [f"P({label})" for label in estimator.classes_]
    yield _text([header + ["lower", "upper"] * (interval is not None)])
    for block in blocks:
        x, offset = block.x, block.offset
        columns: list[Any]
        if is_classifier:
            columns = [estimator.predict(x, offset=offset)]
            columns += list(estimator.predict_proba(x, offset=offset).T)
        else:
            columns = [estimator.predict(x, offset=offset)]
        if interval is not None and is_classifier:
            ends = estimator.predict_proba(x, offset=offset, interval=interval)[1:]
            columns += [end[:, 1] for end in ends]
        elif interval is not None:
            columns += list(estimator.predict(x, offset=offset, interval=interval)[1:])
        yield _text(zip(*(np.asarray(column).tolist() for column in columns), strict=True))


def _text(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
