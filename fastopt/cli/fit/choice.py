"""The estimator that has the family of the command line, or the one that suits the target."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.estimators import GLMClassifier, GLMRegressor
from fastopt.families import family_of

_MOST = 3  # distinct values that are told apart
_PARAMETERS = {"overdispersion": "negative_binomial", "power": "tweedie"}


def values_of(observations: Iterable[Any]) -> np.ndarray[Any, Any]:
    """Return the distinct values of the target if there are two at most, else three of them."""
    found: np.ndarray[Any, Any] | None = None
    for y in observations:
        values = np.unique(y.astype(str) if y.dtype == object else y)
        found = values if found is None else np.unique(np.concatenate([found, values]))
        if len(found) >= _MOST:
            low, high = found[[0, -1]]
            found = np.array([low, found[1], high])
    return np.empty(0) if found is None else found


def estimator_for(
    args: argparse.Namespace, name: str, values: np.ndarray[Any, Any], notes: list[str]
) -> GLMRegressor | GLMClassifier:
    """Return the estimator, with its options.

    Parameters
    ----------
    args : Namespace
    name : str
        The name of the target.
    values : array
        What `values_of` returns.
    notes : list of str
        A hint is added to it.

    Raises
    ------
    FastoptError
        The family cannot have such a target.
    """
    family, is_text = args.family, values.dtype.kind not in "fiu"
    has_two = len(values) == 2
    if is_text and family not in (None, "binomial", "multinomial"):
        raise FastoptError(
            f"--family is {family!r}, and the target {name!r} is text, such as "
            f"{str(values[0])!r}; allowed: binomial, multinomial"
        )
    for option, needed in _PARAMETERS.items():
        if getattr(args, option) is not None and family != needed:
            raise FastoptError(f"--{option} needs --family {needed}")
    is_classifier = is_text or family == "multinomial"
    if family == "binomial" and not is_text:
        is_share = bool(values[0] >= 0 and values[-1] <= 1)
        is_classifier = has_two and (not is_share or values.tolist() == [0, 1])
        if not is_classifier and not is_share:
            raise FastoptError(
                f"--family is 'binomial', and the target {name!r} has values from {values[0]} to "
                f"{values[-1]}; two values, shares from 0 to 1, or --family multinomial are needed"
            )
    if family == "binomial" and is_text and len(values) > 2:
        raise FastoptError(
            f"--family is 'binomial', and the target {name!r} has more than two labels, such as "
            f"{', '.join(map(repr, map(str, values)))}; --family multinomial is needed"
        )
    if is_classifier and len(values) == 1:
        raise FastoptError(
            f"the target {name!r} is {str(values[0])!r} in all rows; two labels are needed"
        )
    if not is_classifier:
        _require_domain(family or "gaussian", name, values)
    if family is None and not is_text and values.tolist() == [0, 1]:
        notes.append(
            f"The target {name!r} has the values 0 and 1 only; --family binomial fits "
            "probabilities, gaussian was used."
        )
    options: dict[str, Any] = dict(
        alpha=args.alpha,
        l1_ratio=args.l1_ratio,
        solver=args.solver,
        cov_type=args.cov_type,
        fit_intercept=args.intercept,
        max_iter=args.max_iter,
        tol=args.tol,
        eta0=args.lr,
        random_state=args.seed,
    )
    if is_classifier:
        return GLMClassifier(args.link or "logit", **options)
    return GLMRegressor(
        family or "gaussian",
        args.link,
        overdispersion=args.overdispersion,
        power=args.power,
        **options,
    )


def _require_domain(family: str, name: str, values: np.ndarray[Any, Any]) -> None:
    """Raise an error if the target has values that the family does not allow."""
    ends = values[[0, -1]].astype(float)
    try:
        family_of(family).require_domain(ends)
    except FastoptError as error:
        allowed = str(error).partition("; ")[2]
        raise FastoptError(
            f"the target {name!r} has values from {ends[0]:g} to {ends[1]:g}; {allowed}"
        ) from None
