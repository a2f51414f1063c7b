"""Standard errors, intervals and tests of a fit, and covariances that are robust.

With the score q_i, the observed information o_i = -dq_i/dz_i and the expected one u_i of row x_i
at its linear predictor z_i, frequency f_i and precision weight v_i, the sandwich covariance is::

    B^-1 S B^-1;   B = sum_i f_i v_i o_i x_i x_i'
    HC0      S = sum_i f_i (v_i q_i)^2 x_i x_i'
    HC1      HC0 times n / (n - p), n = sum_i f_i
    HC2      each term of S divided by 1 - l_i, with the leverage
             l_i = v_i u_i x_i' A^-1 x_i,   A = sum_i f_i v_i u_i x_i x_i'
    HC3      each term of S divided by (1 - l_i)^2
    cluster  S = G/(G - 1) (n - 1)/(n - p) sum_g s_g s_g',   s_g = sum of f_i v_i q_i x_i in group g

`robust_sums` of blocks of rows add up, so data of any size take one more pass.  HC0 and "cluster"
are those of statsmodels' GLM, which gives HC0 for HC1, HC2 and HC3 too.

Sources: White 1980; MacKinnon & White 1985; Liang & Zeger 1986; Cameron & Miller 2015.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, stats  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.estimators.block import Block
from fastopt.estimators.extras import library
from fastopt.estimators.fitted import Fitted, Floats
from fastopt.estimators.source import Source
from fastopt.kalman._kalman import observe_rows, observed_weights

__all__ = [
    "COV_TYPES",
    "PenalisedError",
    "RobustSums",
    "WaldTest",
    "aic",
    "bic",
    "conf_int",
    "covariance",
    "mean_interval",
    "p_values",
    "robust",
    "robust_sums",
    "stderr",
    "wald_test",
    "with_robust",
]

COV_TYPES = ("nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster")
NUMBERS = 2**19  # elements of X that are centred at a time
LEVERAGE_1 = 1e-9  # a leverage nearer to 1 is 1 up to rounding


class PenalisedError(FastoptError, AttributeError):
    """A penalised fit has no standard errors; as an AttributeError, `hasattr` returns False."""


class _Clusters:
    """Sums of scores, one row for each label that was seen."""

    def __init__(self, width: int) -> None:
        self.index: dict[Any, int] = {}
        self._sums = np.zeros((16, width))

    def add(self, labels: Any, sums: Floats) -> None:
        """Add one row of sums for each of different labels."""
        index = self.index
        at = [index.setdefault(label, len(index)) for label in labels]
        if len(index) > len(self._sums):
            grown = np.zeros((2 * len(index), self._sums.shape[1]))
            grown[: len(self._sums)] = self._sums
            self._sums = grown
        self._sums[at] += sums

    @property
    def sums(self) -> Floats:
        """One row for each label, in the order of `index`."""
        return self._sums[: len(self.index)]


@dataclass
class RobustSums:
    """Sums over rows from which a sandwich covariance is made; ``a += b`` merges two.

    Attributes
    ----------
    bread : array of shape (p, p)
        B, for centred columns.
    meat : array of shape (p, p)
        S without its factor; 0 for clusters.
    n : float
        Sum of the frequencies.
    clusters : object or None
        Sums of scores of each cluster.
    """

    bread: Floats
    meat: Floats
    n: float = 0.0
    clusters: _Clusters | None = field(default=None, repr=False)

    def __iadd__(self, other: RobustSums) -> RobustSums:
        """Add the sums over other rows."""
        self.bread += other.bread
        self.meat += other.meat
        self.n += other.n
        if self.clusters is not None and other.clusters is not None:
            self.clusters.add(other.clusters.index, other.clusters.sums)
        return self


def robust_sums(block: Block, fitted: Fitted, cov_type: str) -> RobustSums:
    """Return the sums over one block for a robust covariance at the coefficients of a fit.

    Parameters
    ----------
    block : Block
        With groups for "cluster".
    fitted : Fitted
        Of a model with one linear predictor.
    cov_type : str
        One of `COV_TYPES`, except "nonrobust".

    Returns
    -------
    RobustSums

    Raises
    ------
    FastoptError
        A group is missing; or a row has leverage 1, for "HC2" and "HC3".
    """
    p = len(fitted.coef)
    total = RobustSums(np.zeros((p, p)), np.zeros((p, p)))
    if cov_type == "cluster":
        total.clusters = _Clusters(p)
    model, shape = (fitted.family, fitted.link), fitted.shape or 0.0
    for part, x in _centred(block, fitted):
        z = _predictor(part, x, fitted)
        _, _, score, expected, *_ = observe_rows(model, shape, part.y, z)
        observed = observed_weights(model, shape, part.y, z)
        v = 1.0 if part.weight is None else part.weight
        f = np.ones(part.n) if part.frequency is None else part.frequency
        score, expected, observed = v * score, v * expected, f * v * observed
        total.n += float(f.sum())
        total.bread += (x * observed[:, None]).T @ x
        if total.clusters is not None:
            total.clusters.add(*_sums_by_group(part.groups, x * (f * score)[:, None]))
            continue
        if cov_type in {"HC2", "HC3"}:
            left = 1 - expected * np.einsum("ij,ij->i", x @ fitted.inverse, x)
            if left.min() < LEVERAGE_1:
                raise FastoptError(
                    f"cov_type is {cov_type!r}, and a row has leverage 1: it alone determines a "
                    "coefficient, and its residual is 0 whatever its y; allowed: 'HC0' or 'HC1'"
                )
            score = score / (np.sqrt(left) if cov_type == "HC2" else left)
        rows = x * (np.sqrt(f) * score)[:, None]
        total.meat += rows.T @ rows
    return total


def robust(sums: RobustSums, fitted: Fitted, cov_type: str) -> Floats:
    """Return the sandwich covariance of the coefficients of centred columns.

    Parameters
    ----------
    sums : RobustSums
        Over all rows.
    fitted : Fitted
    cov_type : str

    Returns
    -------
    array of shape (p, p)
    """
    n, rank = sums.n, rank_of(fitted)
    meat, factor = sums.meat, 1.0
    if cov_type == "HC1":
        factor = n / (n - rank)
    elif sums.clusters is not None:
        scores = sums.clusters.sums
        g = len(scores)
        if g < 2:
            raise FastoptError(f"groups has {g} value; cov_type='cluster' needs 2 or more")
        meat = scores.T @ scores
        factor = g / (g - 1) * ((n - 1) / (n - rank))
    inverse = inverse_of(sums.bread, rank)
    result: Floats = factor * (inverse @ meat @ inverse)
    return 0.5 * (result + result.T)


def with_robust(source: Source, fitted: Fitted, cov_type: str) -> Fitted:
    """Return a fit with a robust covariance, from one pass over all rows.

    Parameters
    ----------
    source : Source
        The rows of the fit.
    fitted : Fitted
    cov_type : str
        One of `COV_TYPES`.

    Returns
    -------
    Fitted
    """
    if cov_type == "nonrobust":
        return replace(fitted, cov_type=cov_type, robust=None, n_groups=None)
    total: RobustSums | None = None
    for block in source.blocks():
        sums = robust_sums(block, fitted, cov_type)
        if total is None:
            total = sums
        else:
            total += sums
    if total is None:
        raise FastoptError("the source has no rows")
    n_groups = None if total.clusters is None else len(total.clusters.index)
    covariance = robust(total, fitted, cov_type)
    return replace(fitted, cov_type=cov_type, robust=covariance, n_groups=n_groups)


def inverse_of(information: Floats, rank: int) -> Floats:
    """Return the inverse of an information matrix; the pseudo-inverse if its rank is below p.

    Columns are scaled first, so their units do not matter.

    Parameters
    ----------
    information : array of shape (p, p)
        Symmetric.
    rank : int

    Returns
    -------
    array of shape (p, p)
    """
    size = np.sqrt(np.abs(np.diagonal(information)))
    size = np.where(size > 0, size, 1.0)
    scaled = information / np.outer(size, size)
    try:
        if rank < len(size):
            raise linalg.LinAlgError
        inverse = linalg.cho_solve(linalg.cho_factor(scaled), np.eye(len(size)))
    except linalg.LinAlgError:
        inverse = linalg.pinvh(scaled)
    result: Floats = inverse / np.outer(size, size)
    return 0.5 * (result + result.T)


def rank_of(fitted: Fitted) -> int:
    """Return the number of coefficients that the rows determine.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    int
    """
    return fitted.df_model + fitted.n_equations


def covariance(fitted: Fitted) -> Floats:
    """Return the covariance of the coefficients.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    array of shape (p, p)

    Raises
    ------
    PenalisedError
        The fit has a penalty.
    """
    require_likelihood(fitted)
    return fitted.original(fitted.centred_covariance)


def require_likelihood(fitted: Fitted) -> None:
    """Raise an error that says why, if a fit has no standard errors.

    Parameters
    ----------
    fitted : Fitted

    Raises
    ------
    PenalisedError
        The fit has a penalty.
    """
    if fitted.penalty:
        raise PenalisedError(
            f"alpha is {fitted.penalty:g}: a penalty shrinks coefficients towards 0, and no "
            "standard error describes how far they are from the parameters; fit with alpha=0"
        )


def stderr(fitted: Fitted) -> Floats:
    """Return the standard errors of the coefficients.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    array of shape (p,)
    """
    return np.sqrt(np.diagonal(covariance(fitted)))


def p_values(fitted: Fitted) -> Floats:
    """Return the two-sided p-values of the hypotheses that a coefficient is 0.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    array of shape (p,)
    """
    result: Floats = 2 * _distribution(fitted).sf(np.abs(fitted.coef / stderr(fitted)))
    return result


def conf_int(fitted: Fitted, level: float = 0.95) -> Floats:
    """Return confidence intervals: coefficient -+ quantile times standard error.

    Parameters
    ----------
    fitted : Fitted
    level : float, default=0.95
        Coverage, between 0 and 1.

    Returns
    -------
    array of shape (p, 2)
    """
    half = quantile(fitted, level) * stderr(fitted)
    return np.column_stack([fitted.coef - half, fitted.coef + half])


def quantile(fitted: Fitted, level: float) -> float:
    """Return the quantile of z or t with which an interval has a coverage.

    Parameters
    ----------
    fitted : Fitted
    level : float

    Returns
    -------
    float

    Raises
    ------
    FastoptError
        The level is not between 0 and 1.
    """
    if not (isinstance(level, (int, float)) and 0 < level < 1):
        raise FastoptError(f"level is {level!r}; allowed: between 0 and 1, such as 0.95")
    return float(_distribution(fitted).ppf(0.5 + level / 2))


def aic(fitted: Fitted) -> float:
    """Return Akaike's information criterion, ``-2 llf + 2 rank``.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    float
    """
    require_likelihood(fitted)
    return -2 * fitted.llf + 2 * rank_of(fitted)


def bic(fitted: Fitted) -> float:
    """Return the Bayesian information criterion, ``-2 llf + rank log(n_effective)``.

    Parameters
    ----------
    fitted : Fitted

    Returns
    -------
    float
    """
    require_likelihood(fitted)
    return -2 * fitted.llf + rank_of(fitted) * math.log(fitted.n_effective)


class WaldTest(NamedTuple):
    """The result of a Wald test, with statsmodels' names.

    Attributes
    ----------
    statistic : float
        Chi-squared, or F.
    pvalue : float
    df_num : int
        Number of restrictions.
    df_denom : float or None
        Degrees of freedom of the denominator of F; None for chi-squared.
    distribution : str
        "chi2" or "F".
    """

    statistic: float
    pvalue: float
    df_num: int
    df_denom: float | None
    distribution: str


def wald_test(fitted: Fitted, restrictions: Any, use_f: bool | None = None) -> WaldTest:
    """Test linear restrictions R coef = q of the coefficients, all of them jointly.

    ``(R coef - q)' (R C R')^-1 (R coef - q)`` is chi-squared with as many degrees of freedom as R
    has rows; divided by their number it is F.

    Parameters
    ----------
    fitted : Fitted
    restrictions : array of shape (q, p) or (p,), pair (R, q), str or list of str
        Strings as "x1 = x2, x3 = 0" need formulaic; a name with spaces or signs is written between
        backticks.
    use_f : bool, optional
        Whether the statistic is F instead of chi-squared; the default is that of ``use_t``.

    Returns
    -------
    WaldTest

    Raises
    ------
    FastoptError
        The restrictions do not fit the coefficients, or one follows from the others.
    """
    matrix, values = _restrictions(fitted, restrictions)
    off = matrix @ fitted.coef - values
    spread = matrix @ covariance(fitted) @ matrix.T
    size = np.sqrt(np.diagonal(spread))
    q = len(values)
    scaled = spread / np.outer(size, size) if (size > 0).all() else np.zeros_like(spread)
    if np.linalg.matrix_rank(scaled, hermitian=True) < q:
        raise FastoptError(
            f"the {q} restrictions depend on each other, or on coefficients that the rows do not "
            "determine; leave out those that follow from the others"
        )
    statistic = float((off / size) @ linalg.solve(scaled, off / size, assume_a="pos"))
    if fitted.use_t if use_f is None else use_f:
        denominator = fitted.df_inference
        f = statistic / q
        return WaldTest(f, float(stats.f.sf(f, q, denominator)), q, denominator, "F")
    return WaldTest(statistic, float(stats.chi2.sf(statistic, q)), q, None, "chi2")


def _restrictions(fitted: Fitted, given: Any) -> tuple[Floats, Floats]:
    p = len(fitted.coef)
    if isinstance(given, str) or (
        isinstance(given, list) and given and all(isinstance(one, str) for one in given)
    ):
        constraints = library("formulaic.utils.constraints", "restrictions as strings")
        try:
            found = constraints.LinearConstraints.from_spec(
                given if isinstance(given, str) else ", ".join(given),
                variable_names=list(fitted.names),
            )
        except Exception as error:
            raise FastoptError(
                f"restrictions is {given!r}; allowed: equations such as 'x1 = x2, x3 = 0' of the "
                f"names {', '.join(fitted.names)}, with backticks around names with spaces or signs"
            ) from error
        matrix, values = found.constraint_matrix, found.constraint_values
    elif isinstance(given, tuple) and len(given) == 2:
        matrix, values = given
    else:
        matrix, values = given, 0.0
    try:
        matrix = np.atleast_2d(np.asarray(matrix, dtype=float))
        values = np.broadcast_to(np.asarray(values, dtype=float).ravel(), len(matrix))
    except (TypeError, ValueError) as error:
        raise FastoptError(
            f"restrictions is {given!r}; allowed: a matrix with {p} columns, a pair of a matrix "
            "and as many values as it has rows, or equations"
        ) from error
    if matrix.ndim != 2 or matrix.shape[1] != p or not len(matrix):
        raise FastoptError(
            f"restrictions has shape {matrix.shape}; allowed: one column for each of the {p} "
            "coefficients, that of the intercept first"
        )
    return matrix, np.asarray(values)


def mean_interval(block: Block, fitted: Fitted, level: float) -> tuple[Floats, Floats, Floats]:
    """Return the mean of each row with a confidence interval.

    The interval of the linear predictor, z -+ quantile times sqrt(x'Cx), is transformed by the
    inverse link, as in statsmodels' ``get_prediction(X).conf_int()``: it does not leave the range
    of the mean.  It is for the mean, not for a new observation.  The upper end is infinite where an
    inverse link has its pole in the interval.

    Parameters
    ----------
    block : Block
        x and offset are read.
    fitted : Fitted
    level : float
        Coverage, such as 0.95.

    Returns
    -------
    mean, lower, upper : array of shape (n,)
    """
    require_likelihood(fitted)
    q = quantile(fitted, level)
    parts = []
    for part, x in _centred(block, fitted):
        z = _predictor(part, x, fitted)
        half = q * np.sqrt(np.einsum("ij,ij->i", x @ fitted.centred_covariance, x))
        ends = np.sort([_mean(fitted, z - half), _mean(fitted, z + half)], axis=0)
        parts.append((_mean(fitted, z), ends[0], np.where(np.isnan(ends[1]), np.inf, ends[1])))
    mean, lower, upper = (np.concatenate(one) for one in zip(*parts, strict=True))
    return mean, lower, upper


def _mean(fitted: Fitted, z: Floats) -> Floats:
    model = (fitted.family, fitted.link)
    return observe_rows(model, fitted.shape or 0.0, np.ones_like(z), np.ascontiguousarray(z))[0]


def _distribution(fitted: Fitted) -> Any:
    return stats.t(fitted.df_inference) if fitted.use_t else stats.norm


def _centred(block: Block, fitted: Fitted) -> Iterator[tuple[Block, Floats]]:
    """Yield parts of a block with their centred columns, a column of ones first."""
    p = len(fitted.coef)
    step = max(1, NUMBERS // p)
    first, center = int(fitted.has_intercept), fitted.center
    for start in range(0, block.n, step):
        part = block.part(slice(start, start + step))
        x = np.empty((part.n, p))
        x[:, :first] = 1.0
        x[:, first:] = part.x.toarray() if hasattr(part.x, "toarray") else part.x
        if center is not None:
            x -= center
        yield part, x


def _predictor(part: Block, x: Floats, fitted: Fitted) -> Floats:
    coef = fitted.coef
    z: Floats = x @ coef
    if fitted.center is not None:
        z += fitted.center @ coef
    if part.offset is not None:
        z += part.offset
    return z


def _sums_by_group(groups: Any, rows: Floats) -> tuple[Any, Floats]:
    """Return the different groups and the sum of the rows of each."""
    if groups is None:
        raise FastoptError("groups is None; cov_type='cluster' needs the cluster of each row")
    labels, at = np.unique(groups, return_inverse=True)
    if any(label != label for label in labels.tolist()):  # NaN
        raise FastoptError("groups has a missing value; each row needs a cluster")
    order = np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(len(labels)))
    return labels.tolist(), np.add.reduceat(rows[order], starts)
