"""Sums over rows at given coefficients, from which a generalized linear model is fitted.

The sums of several blocks add up, wherever they were computed: in a loop over chunks of a file, in
the workers of Dask, or with Spark's treeAggregate or MPI's Allreduce.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg.blas import dsyrk  # type: ignore[import-untyped]
from scipy.sparse import issparse  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.estimators._glm import chunk
from fastopt.estimators.scoring.model import Model, model_of
from fastopt.estimators.scoring.sparse import pays, sums_of_csr
from fastopt.estimators.sources.block import Block, contiguous, dense
from fastopt.estimators.sources.indices import require_valid
from fastopt.kalman.covariance.qr import with_rows, with_triangle

__all__ = ["Moments", "chunks", "counts", "moments", "sums"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

NUMBERS = 2**16  # elements of X that are read at a time: 512 KiB, which a level-2 cache holds


@dataclass(frozen=True)
class Moments:
    """Sums over rows; the sum of two is that over the rows of both.

    Attributes
    ----------
    information : array of shape (q, q) or None
        sum of w h^2 / V x x', the expected information for a dispersion of 1.  None if the sums
        were asked for without it.
    score : array of shape (q,)
        sum of w (y - m) h / V x, the gradient of the log-likelihood for a dispersion of 1.
    deviance, pearson_chi2 : float
        sum of w times the unit deviance; sum of w (y - m)^2 / V.
    null_deviance, null_pearson_chi2 : float
        The same with the linear predictor ``null``, plus the offset, for all rows.
    weight : float
        sum of w, the product of precision weight and frequency.
    frequency : float
        sum of the frequencies; the number of rows if there are none.
    n : int
        Rows of a positive weight.
    root : array of shape (q, q) or None
        With ``by_qr``: an upper triangle R with R'R = information.  Its rounding errors grow with
        the condition number of the columns and not with its square.
    """

    information: Floats | None
    score: Floats
    deviance: float
    pearson_chi2: float
    null_deviance: float
    null_pearson_chi2: float
    weight: float
    frequency: float
    n: int
    root: Floats | None = None

    def __add__(self, other: Moments) -> Moments:
        """Return the sums over the rows of both."""
        if not isinstance(other, Moments):
            return NotImplemented
        information = root = None
        if self.information is not None and other.information is not None:
            information = self.information + other.information
        if self.root is not None and other.root is not None:
            root = _stacked(self.root, other.root)
        return Moments(
            information,
            self.score + other.score,
            self.deviance + other.deviance,
            self.pearson_chi2 + other.pearson_chi2,
            self.null_deviance + other.null_deviance,
            self.null_pearson_chi2 + other.null_pearson_chi2,
            self.weight + other.weight,
            self.frequency + other.frequency,
            self.n + other.n,
            root,
        )

    @property
    def is_finite(self) -> bool:
        """Whether the deviance and all sums of the columns are finite."""
        parts = (np.asarray(self.deviance), self.score, self.information)
        return all(part is None or bool(np.isfinite(part).all()) for part in parts)


def moments(
    block: Block,
    coef: Floats,
    *,
    family: str = "gaussian",
    link: str | None = None,
    overdispersion: float | None = None,
    power: float | None = None,
    fit_intercept: bool = True,
    mean: Floats | None = None,
) -> Moments:
    """Return the sums over the rows of a block that one round of Fisher scoring needs.

    With row x, offset o, z = coef[0] + (x - mean)'coef[1:] + o, mean response m(z), h = dm/dz,
    variance function V(m) and weight w, the sums are those that `Moments` lists.  A round is::

        total = sum over all blocks of moments(block, coef)
        coef = coef + solve(total.information, total.score)

    Parameters
    ----------
    block : Block
        Rows, with y, weights and offset.
    coef : array of shape (p + 1,), or (p,) without an intercept
        The intercept first.
    family : str
        See `fastopt.families`.  Default "gaussian".
    link : str, optional
        Default the first link of the family.
    overdispersion : float, optional
        Of the negative binomial: the variance is m + overdispersion m^2.  Default 1.
    power : float, optional
        Of the Tweedie family: the variance is m^power.  Default 1.5.
    fit_intercept : bool
        Default True.
    mean : array of shape (p,), optional
        Subtracted from each row.  ``coef[0]`` is then the linear predictor at ``mean``.  Columns
        with large means lose no digits.  Default 0.

    Returns
    -------
    Moments
        Of size p^2 whatever the number of rows; it can be pickled, and added to others.

    Raises
    ------
    FastoptError
        An unknown family or link, a parameter outside its range, or arrays of different lengths.

    Notes
    -----
    One round in other systems, where ``sums`` is ``partial(moments, coef=coef, family="poisson")``.
    Spark, with an RDD of `Block`::

        total = blocks.map(sums).treeReduce(operator.add)

    Ray, with references to blocks::

        part, add = ray.remote(moments), ray.remote(operator.add)
        parts = [part.remote(block, coef, family="poisson") for block in blocks]
        while len(parts) > 1:
            parts = [*parts[2:], add.remote(*parts[:2])]
        total = ray.get(parts[0])

    MPI by mpi4py, with one block in each process, all of which get the total::

        total = MPI.COMM_WORLD.allreduce(sums(block))

    For Dask there is `fastopt.estimators.dask`.

    References
    ----------
    McCullagh & Nelder 1989, Generalized Linear Models, section 2.5.

    Examples
    --------
    Poisson regression of two blocks, in six rounds:

    >>> import numpy as np
    >>> from fastopt.estimators import Block, moments
    >>> x = np.arange(8.0)[:, None]
    >>> y = np.array([1.0, 1, 2, 2, 3, 5, 6, 9])
    >>> blocks = [Block(x[:4], y[:4]), Block(x[4:], y[4:])]
    >>> coef = np.array([np.log(y.mean()), 0.0])
    >>> for _ in range(6):
    ...     total = sum((moments(block, coef, family="poisson") for block in blocks[1:]),
    ...                 start=moments(blocks[0], coef, family="poisson"))
    ...     coef = coef + np.linalg.solve(total.information, total.score)
    >>> coef.round(6)
    array([-0.15376 ,  0.333153])
    """
    model = model_of(family, link, overdispersion, power, fit_intercept)
    if np.shape(block.x)[0] != block.n:
        raise FastoptError(f"block.x has shape {np.shape(block.x)}, and block.y {block.n} elements")
    if issparse(block.x):
        require_valid(block.x)
    coef, p = np.asarray(coef, dtype=float), np.shape(block.x)[1]
    if coef.shape != (p + fit_intercept,):
        first = ", that of the intercept first" if fit_intercept else ""
        raise FastoptError(
            f"coef has shape {coef.shape}; ({p + fit_intercept},) is needed: the coefficients of "
            f"the {p} columns of block.x{first}"
        )
    if mean is not None and np.shape(mean) != (p,):
        raise FastoptError(f"mean has shape {np.shape(mean)}; ({p},) is needed")
    return sums(block, coef, model, mean)


def sums(
    block: Block,
    coef: Floats,
    model: Model,
    mean: Floats | None = None,
    null: Floats | None = None,
    with_information: bool = True,
    by_qr: bool = False,
) -> Moments:
    """Return the sums of `moments` for a model.

    Parameters
    ----------
    block, coef, mean
        As for `moments`.
    model : Model
    null : array of shape (1,), optional
        The linear predictor, without the offset, of the sums ``null_deviance`` and
        ``null_pearson_chi2``; they are 0 without it.
    with_information : bool
        False leaves the information out, which is most of the work.
    by_qr : bool
        Compute ``root`` too.

    Returns
    -------
    Moments
    """
    coef, mean = contiguous(coef), None if mean is None else contiguous(mean)
    q = len(coef)
    information = np.zeros((q, q), order="F")
    root = np.zeros((q + 1, q + 1), order="F")
    score = np.zeros(q)
    totals = np.zeros(4)
    weight = block.total_weight()
    most = rows_at_a_time(q)
    buffer = np.empty((min(most, block.n) if with_information else 1, q))
    by_rows = not pays(block.x) or by_qr
    if not by_rows:
        null_predictor = None if null is None else float(null[0])
        information, score, totals = sums_of_csr(
            block.x, block.y, weight, block.offset, model, coef, mean, null_predictor,
            with_information,
        )  # fmt: skip
    for first in range(0, block.n if by_rows else 0, most):
        own = slice(first, min(first + most, block.n))
        x = dense(block.x, own)
        rows = buffer[: len(x)]
        totals += chunk(
            (model.family, model.link),
            model.shape,
            model.fit_intercept,
            x,
            contiguous(block.y[own], dtype=float),
            _part(weight, own),
            _part(block.offset, own),
            mean,
            coef,
            None if null is None else float(null[0]),
            rows,
            with_information,
            score,
        )
        if with_information:
            information = dsyrk(1.0, rows.T, beta=1.0, c=information, lower=1, overwrite_c=1)
            if by_qr:
                root = with_rows(root, rows, np.zeros(len(x)))
    if by_rows:
        information += np.tril(information, -1).T
    return Moments(
        information if with_information else None,
        score,
        float(totals[0]),
        float(totals[1]),
        float(totals[2]),
        float(totals[3]),
        *counts(block),
        root=root[:q, :q] if by_qr and with_information else None,
    )


def _part(values: Floats | None, own: slice) -> Floats | None:
    return None if values is None else contiguous(values[own], dtype=float)


def rows_at_a_time(q: int) -> int:
    """Return how many rows of q numbers are read together."""
    return max(64, NUMBERS // (q + 1))


def counts(block: Block) -> tuple[float, float, int]:
    """Return the sums of weights and of frequencies, and the number of rows of a positive weight.

    Parameters
    ----------
    block : Block

    Returns
    -------
    weight, frequency : float
    n : int
    """
    weight = block.total_weight()
    if weight is None:
        return float(block.n), float(block.n), block.n
    used = weight > 0
    n = int(np.count_nonzero(used))
    frequency = n if block.frequency is None else block.frequency[used].sum()
    return float(weight.sum()), float(frequency), n


def chunks(x: Any, mean: Floats | None, fit_intercept: bool) -> Iterator[tuple[slice, Floats]]:
    """Yield the centred rows, a column of ones first if there is an intercept, in a buffer.

    Parameters
    ----------
    x : array or CSR matrix of shape (n, p)
    mean : array of shape (p,) or None
    fit_intercept : bool

    Yields
    ------
    slice
        Which rows.
    array
        The rows; the next ones overwrite them.
    """
    n, p = x.shape
    first = int(fit_intercept)
    most = rows_at_a_time(p + first)
    buffer = np.empty((min(most, n), p + first))
    for start in range(0, n, most):
        own = slice(start, min(start + most, n))
        rows = buffer[: own.stop - start]
        rows[:, :first] = 1.0
        if mean is None:
            rows[:, first:] = dense(x, own)
        else:
            np.subtract(dense(x, own), mean, out=rows[:, first:])
        yield own, rows


def _stacked(root: Floats, other: Floats) -> Floats:
    """Return the triangle of two triangles, stacked vertically."""
    return with_triangle(np.array(root, order="F"), np.array(other, order="F"))
