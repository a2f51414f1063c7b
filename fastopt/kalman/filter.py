"""Kalman-based SGD: coefficients with their covariance, updated by rows of data."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt import checkpoint
from fastopt._checks import (
    THREADS,
    Choice,
    Real,
    Whole,
    at_least_0,
    flag,
)
from fastopt._errors import FastoptError
from fastopt.families import family_of
from fastopt.kalman import input as given
from fastopt.kalman._kalman import nonfinite_row
from fastopt.kalman.covariance import FAILURES, Floats, Form, Glm
from fastopt.kalman.covariance.choosing import Kind, mode_and_dtype, usual_rows
from fastopt.kalman.covariance.merging import merged
from fastopt.kalman.covariance.plain import Plain
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.covariance.refining import Rows, rows_at_a_time
from fastopt.kalman.covariance.ud import UD
from fastopt.kalman.damped import solve
from fastopt.kalman.model import Fun, RowsModel
from fastopt.kalman.saved import require_arrays
from fastopt.kalman.stopping import Stop

__all__ = ["KalmanSGD"]

keep_rate = Real(low=given.TINY, high=1.0)


class KalmanSGD:
    """Kalman-based stochastic gradient descent for linear and generalized linear models.

    For a row x with observation y, mean m = mu(x'w), slope h = mu'(x'w) and variance V(m)::

        p = h x;  v = M p;  s = min(gamma_max, max(gamma_min, V(m))) / weight + p'v
        w += (y - m) / s * v
        M -= v v' / s

    M approximates the inverse information: it sets the step of every direction, whatever the
    condition number, and gives standard errors. There is no learning rate.

    Parameters
    ----------
    n_params_or_w0 : int or array
        The number of coefficients, which then start at 0, or where they start. In mode "qr" that
        is where `fit_model` begins, and no information.
    m0 : float, array or "scale", optional
        The covariance to start from: a number or a vector for the diagonal, or a matrix. Default
        100. "scale" is 100 / mean square of each column of the first `partial_fit`, which then
        needs at least max(256, 2p) rows. Infinity is no start at all, for the Gaussian: the
        coefficients are then those of least squares.
    gamma : pair of float or None
        Bounds of the variance V(m), before it is divided by the row's weight. None is no bound.
        Default (None, None). They need ``glm_update="explicit"``, and change what is estimated.
    glm_update : "implicit" or "explicit"
        Whether m, h and V are taken at the linear predictor after the update (a scalar equation;
        stable for every family) or before it, as in the formula. Default "implicit". They
        coincide for the Gaussian.
    mode : "auto", "plain", "ud" or "qr"
        The form of the covariance. "plain" keeps M, a square of which one triangle is used, and
        is the fastest. "ud" keeps U and D of M = U D U' (Bierman), half as many numbers, which
        stay a covariance whatever is rounded: for an extreme `m0` such as 1e20, and for float32.
        "qr" keeps a triangle R with R'R = M^-1, which needs and is needed for an infinite `m0`
        and loses the fewest digits, fewer yet in the coefficients of one `partial_fit` that has
        all the rows: they are refined with these. It has `partial_fit` for the Gaussian alone and
        `fit_model`, without forgetting. "auto" is "qr" where m0 is infinite, "ud" where dtype is
        "float32", else "plain".
    covariance : "full", "diag" or list of arrays of int
        What is kept of M. Default "full". A list gives the coefficients of each block, every
        coefficient in one: coefficients of two blocks have no covariance, but all share the
        innovation s = V(m) / weight + sum over blocks of p_b'v_b, and ``v_b = M_b p_b``,
        ``M_b -= v_b v_b' / s``. Memory and time are the sum of the squares of the sizes. "diag"
        keeps a variance for each coefficient; w moves as with blocks of one, but each precision
        grows by what the row tells of its coefficient if all others were known, ``1 / M_ii +=
        p_i^2 / (V(m) / weight)``, which keeps M_ii above 0 whatever the rounding. Standard errors
        of both are too small where coefficients depend on each other. Both absorb row by row and
        need ``mode="auto"`` and a finite `m0`, no matrix.
    block : int or "auto"
        Rows that are absorbed together, by matrix products. The result is that of single rows
        up to rounding. Default "auto", by the number of coefficients. Mode "ud" takes fewer
        while rows say much more than was known before.
    forgetting : float
        Of (0, 1]. M is divided by it before each row. Default 1.
    max_trace : float, optional
        M is not divided by `forgetting` while its trace is at or above this, so that directions
        without data do not grow for ever. Near it rows are absorbed singly.
    dispersion : "estimate", optional
        Estimate the dispersion where the family fixes it at 1: bernoulli, poisson,
        negative_binomial.
    stop : pair, optional
        When `converged` becomes true; nothing stops by itself. ``("se", tol)``: once
        max_j sqrt(dispersion M_jj) rms(x_j) <= tol sd(y), with the root mean square of each
        column and the standard deviation of y so far (tol alone unless the link is the
        identity): no coefficient's standard error moves a prediction by more than that share.
        ``("trace", tol)``: once dispersion * trace(M) <= tol, the expected squared distance of
        the coefficients from where they go. Judged after each block of rows from the
        (2p + 10)th on, in the first pass. Needs ``forgetting=1``.
    dtype : "float64" or "float32"
        Of the covariance. Default "float64". In mode "ud" "float32" is that of U alone, rounded
        once a block; all arithmetic is float64, and so are D and the coefficients. In mode
        "plain" X too is rounded to float32, and all but the coefficients and what one row meets
        is float32: an error says where M has become indefinite, none where it has only become
        inaccurate, as from columns whose condition number is 1e3.
    max_bytes : int, optional
        Refuse a covariance that takes more, with the work arrays of a block. Not counted is what
        an `update` of n outputs, more than a block has rows, takes while it runs: 16 n p + 8 n^2,
        in mode "ud" 32 n p.
    n_threads : int, optional
        Threads of mode "ud" and of a single row's product with M, where p is large. Default:
        that of optimizers. All else has the threads of SciPy's BLAS, which threadpoolctl limits.

    Attributes
    ----------
    coef : numpy.ndarray
        The coefficients, a copy.
    n_obs : int
        Rows absorbed, in all passes.
    n_passes : int
        Passes over the data, as marked by ``new_pass=True``.
    n_clipped : int
        Rows whose variance met a bound of `gamma`.
    converged_at : int or None
        `n_obs` when `stop` was first met.

    Raises
    ------
    FastoptError, TypeError
        An option outside its range, or data that a method refuses; nothing has changed then.

    Notes
    -----
    A call is refused whole when its data are not finite or outside the family's range. A failure
    of the arithmetic during a call leaves the state as it was before the block of rows that
    failed, and the message says how many rows had been absorbed; so does Ctrl-C.

    Equal inputs give equal bits on one machine with one number of BLAS threads. With any number of
    threads in what needs no BLAS: mode "ud", and rows absorbed into a diagonal or blocks. From
    2000 coefficients, `update` of one output needs none for M x, of which all instruction sets
    and numbers of threads make the same bits; what is pending is multiplied and added by BLAS.

    References
    ----------
    V. Patel, "Kalman-based Stochastic Gradient Method with Stop Condition and Insensitivity to
    Conditioning", SIAM J. Optim. 26(4), 2016, https://arxiv.org/abs/1512.01139. G. J. Bierman,
    "Measurement updating using the U-D factorization", Automatica 12(4), 1976.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(5000, 3)) * [1, 10, 0.1]
    >>> y = X @ [1.0, 0.2, -30.0] + rng.normal(size=5000)
    >>> k = fastopt.KalmanSGD(3, m0="scale").partial_fit(X, y)
    >>> print(k.coef.round(2))
    [  0.99   0.2  -30.16]
    >>> print(k.stderr.round(3))
    [0.014 0.001 0.139]
    """

    def __init__(
        self,
        n_params_or_w0: int | npt.ArrayLike,
        *,
        m0: float | npt.ArrayLike | str | None = None,
        gamma: tuple[float | None, float | None] = (None, None),
        glm_update: str = "implicit",
        mode: str = "auto",
        covariance: str | Sequence[npt.ArrayLike] = "full",
        block: int | str = "auto",
        forgetting: float = 1.0,
        max_trace: float | None = None,
        dispersion: str | None = None,
        stop: tuple[str, float] | None = None,
        dtype: str = "float64",
        max_bytes: int | None = None,
        n_threads: int | None = None,
    ) -> None:
        w0 = given.start(n_params_or_w0)
        self.n_params = w0.size
        blocks = given.blocks(covariance, self.n_params)
        kept = covariance if isinstance(covariance, str) else "blocks"
        if m0 is None and mode == "qr":
            m0 = math.inf
        if m0 is not None and not isinstance(m0, str):
            start = given.numbers("m0", m0, "fiu").astype(np.float64)
            m0 = start if start.ndim else float(start)
        self.mode, self.dtype = mode_and_dtype(mode, m0, kept, block, dtype)
        self.glm_update = Choice(("implicit", "explicit"))("glm_update", glm_update)
        self.gamma = given.variance_bounds(gamma)
        if self.gamma != (0.0, math.inf) and self.glm_update == "implicit":
            raise FastoptError(f"gamma is {gamma!r}, which needs glm_update='explicit'")
        self.forgetting = keep_rate("forgetting", forgetting)
        self.max_trace = None if max_trace is None else given.positive("max_trace", max_trace)
        self.estimates = Choice((None, "estimate"))("dispersion", dispersion) is not None
        if self.mode == "qr" and (self.forgetting < 1.0 or self.glm_update == "explicit"):
            raise FastoptError("mode 'qr' has no forgetting and no explicit form")
        self.stop = given.stop_condition(stop)
        if self.stop and self.forgetting < 1.0:
            raise FastoptError(f"stop is {stop!r}, which needs forgetting=1.0")
        self.block = block if block == "auto" else Whole(1, 4096)("block", block)
        self.max_bytes = None if max_bytes is None else Whole(0)("max_bytes", max_bytes)
        self.n_threads = None if n_threads is None else THREADS("n_threads", n_threads)
        usual = usual_rows(self.mode, self.n_params)
        rows = usual if self.block == "auto" else int(self.block)
        self._kind = Kind(self.n_params, self.mode, self.dtype, kept, blocks, rows)
        self._kind.require_bytes(self.max_bytes)
        self.m0 = m0
        self._start(w0, None if self.mode == "qr" else self._first_covariance(m0))

    def _first_covariance(self, m0: object) -> Floats | None:
        """Return the diagonal or the matrix to start from; None where it waits for data."""
        return given.covariance(m0, self.n_params, self._kind.kept)

    def _start(self, w: Floats, start: Floats | None) -> None:
        """Forget all data; begin from coefficients and a diagonal or matrix, None if open."""
        origin = w.copy(), np.ones(self.n_params) if start is None else start
        self._form = self._make(*origin)  # which may refuse the start
        self._origin = origin
        self._waits = start is None and self.mode != "qr"
        self._is_linear = self.forgetting == 1.0  # whether all were Gaussian rows, kept
        self._separable = True  # whether all rows were told apart by their label
        self.n_passes = 0
        self._unknown = self.estimates  # whether the dispersion is to be estimated
        self._stop = None if self.stop is None else Stop(*self.stop, self.n_params)

    def _make(self, w: Floats, start: Floats) -> Form:
        """Return the form of covariance that the options ask for."""
        return self._kind.make(w, start, self.forgetting, self.max_trace, self.n_threads)

    def partial_fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        family: str = "gaussian",
        link: str | None = None,
        weight: npt.ArrayLike | None = None,
        *,
        alpha: float | None = None,
        new_pass: bool = False,
    ) -> KalmanSGD:
        """Absorb rows; the same as a call for each row, up to rounding.

        Parameters
        ----------
        X : array of shape (n, p)
        y : array of shape (n,)
        family : str
            "gaussian", "bernoulli" (y of [0, 1]; counts as a fraction with the number of trials
            as weight), "poisson", "gamma" or "negative_binomial" (variance m + alpha m^2).
        link : str, optional
            identity; logit, probit, cloglog; log; log, inverse; log. By default the first of the
            family's. "inverse" needs coefficients with X w > 0.
        weight : array of shape (n,), optional
            Divides each row's variance; at least 0.
        alpha : float, optional
            Of the negative binomial, at least 0. Default 1.
        new_pass : bool
            Says that these are rows which have been absorbed before, from the first on. Each
            pass counts the data once more, which `stderr` takes back.

        Returns
        -------
        KalmanSGD
            This object.

        Raises
        ------
        FastoptError, TypeError
            An argument of another type or shape, or outside its range, observations that the family
            does not have among them.

        Warns
        -----
        UserWarning
            Where the coefficients predict all labels so far rightly, more than 2p of them
            (complete separation): larger coefficients would do better yet, without end.
        """
        kind = family_of(family)
        link = kind.link(link)
        shape = given.family_shape(kind, alpha)
        if self.mode == "qr" and kind.name != "gaussian":
            raise FastoptError(f"family is {family!r}; mode 'qr' allows 'gaussian'")
        flag("new_pass", new_pass)
        rows = given.matrix(X, self.n_params)
        n = len(rows)
        target = given.vector("y", y, n)
        kind.require_domain(target)
        weights = given.weights(weight, n)
        for first, part in given.parts(rows, dtype=self._form.reads):
            bad = nonfinite_row(part)
            if bad >= 0:
                raise FastoptError(f"X[{first + bad}] has a NaN or an infinity; nothing was done")
        waits = self._waits
        if waits:
            self._start(self.coef, given.scale(rows))

        glm = Glm((kind.name, link), shape, self.glm_update == "explicit", *self.gamma)
        before = self.n_obs
        marks = self.n_passes, self._unknown, self._is_linear, self._separable
        try:
            self.n_passes += new_pass or self.n_passes == 0
            self._unknown |= not kind.known_dispersion
            self._is_linear &= kind.name == "gaussian"
            self._separable = (self._separable or new_pass) and kind.name == "bernoulli"
            most = self._kind.rows if self._stop else None
            for block in _blocks(rows, target, weights, most, self._form.reads):
                failure = self._form.rows(glm, *block)
                if failure:
                    raise FastoptError(
                        f"{FAILURES[failure]}; {self.n_obs} rows have been absorbed, the state is "
                        "that before the block at fault"
                    )
                self._look(block[0], block[1], link == "identity")
            if before == 0 and isinstance(self._form, Information):
                most = rows_at_a_time(self.n_params)
                self._form.refine(_blocks(rows, target, weights, most, self._form.reads))
        finally:  # some rows may have been absorbed before a failure or an interrupt
            if self.n_obs == before:
                self.n_passes, self._unknown, self._is_linear, self._separable = marks
                if waits:
                    self._start(self.coef, None)
        if self._separable and n:
            told = slice(None) if weights is None else weights > 0
            self._warn_of_separation(rows[told], target[told])
        return self

    def _look(self, x: Floats, y: Floats, has_identity_link: bool) -> None:
        """See whether the coefficients are known well enough."""
        if self._stop is not None and self.n_passes == 1:
            self._stop.see(x, y)
            self._stop.look(self._form, self.dispersion, has_identity_link)

    def _warn_of_separation(self, x: npt.NDArray[Any], y: Floats) -> None:
        """Warn where the coefficients tell all labels apart: no maximum of likelihood exists."""
        is_label = bool(((y == 0) | (y == 1)).all())
        self._separable = is_label and bool((np.where(y > 0, 1, -1) * (x @ self.coef) > 0).all())
        # Coefficients separate so few rows whatever their labels (Cover 1965).
        if self._separable and len(y) > 2 * self.n_params:
            warnings.warn(
                "the coefficients predict every label rightly (complete separation): the "
                "likelihood has no maximum, and what m0 is decides how large they are",
                stacklevel=3,
            )

    def update(
        self,
        y: npt.ArrayLike,
        mean: npt.ArrayLike,
        jac: npt.ArrayLike,
        variance: npt.ArrayLike = 1.0,
    ) -> KalmanSGD:
        """Absorb an observation of any model, of one output or several, or a mini-batch of them.

        With J the Jacobian of the mean, R the variance and S = R + J M J'::

            w += M J' S^-1 (y - mean);  M -= M J' S^-1 J M

        Parameters
        ----------
        y, mean : float or array of shape (C,) or (n, C)
            The observation, and the model's mean for it at `coef`.
        jac : array of shape (p,), (C, p) or (n, C, p)
            The gradient of each mean. A mini-batch of n observations is absorbed jointly, all
            means and gradients taken at the same coefficients.
        variance : float, array of shape (C,), (n, C) or (C, C), or "multinomial"
            Of the observation; `gamma` bounds a number or each of a vector, and is refused with
            a matrix. Must be positive, or positive definite; of a mini-batch, a matrix is of all
            n C outputs. Default 1. "multinomial" is for C classes: y one-hot or their
            probabilities, mean their softmax, and `jac` the Jacobian of the *logits*. Then J' R^-1
            J is jac' (diag(mean) - mean mean') jac and J' R^-1 (y - mean) is jac' (y - mean),
            which stays exact where a probability is 0 or 1. Its dispersion is 1.

        Returns
        -------
        KalmanSGD
            This object.

        Raises
        ------
        FastoptError, TypeError
            Another type or shape, a NaN, a variance that is not positive, an option that goes with
            other forms of the covariance.

        Notes
        -----
        M is read once a call, and written when as many outputs as a block has rows have come
        together; with forgetting at every call. Diagonals and blocks are written at every call.
        `n_obs` counts outputs, of C classes C - 1.

        Examples
        --------
        Softmax regression on three classes, whose logits are X @ W with W of shape (2, 3):

        >>> import numpy as np, fastopt
        >>> rng = np.random.default_rng(0)
        >>> k = fastopt.KalmanSGD(6, m0=1.0)
        >>> for x in rng.normal(size=(500, 2)):
        ...     label = np.argmax([2 * x[0], 2 * x[1], 0] + rng.gumbel(size=3))
        ...     odds = np.exp(x @ k.coef.reshape(2, 3))
        ...     jac = np.kron(x, np.eye(3))
        ...     k = k.update(np.eye(3)[label], odds / odds.sum(), jac, "multinomial")
        >>> logits = np.array([3.0, 0.0]) @ k.coef.reshape(2, 3)
        >>> print(np.argmax(logits))
        0
        """
        jac = given.jacobian(jac, self.n_params)
        shape = jac.shape[:-1]
        target, fitted = given.outputs("y", y, shape), given.outputs("mean", mean, shape)
        residual, gradients = target - fitted, jac.reshape(-1, self.n_params)
        if not np.isfinite(residual).all() or nonfinite_row(gradients) >= 0:
            raise FastoptError("y, mean or jac has a NaN or an infinity; nothing was done")
        self._require_covariance()
        clipped = redundant = 0
        if isinstance(variance, str):
            Choice(("multinomial",))("variance", variance)
            if self.gamma != (0.0, math.inf):
                raise FastoptError("gamma bounds variances of outputs, not those of classes")
            residual, rows = given.whitened_classes(target, fitted, jac)
            redundant = residual.size // shape[-1]  # one output of each observation
        else:
            residual, rows, clipped = given.whitened(residual, jac, variance, self.gamma)
        with np.errstate(over="ignore"):
            rows = rows.astype(self._form.reads, copy=False)
        if nonfinite_row(rows) >= 0:
            raise FastoptError(f"variance is {variance!r}, too small for {self.dtype}")

        self._require_done(self._form.outputs(rows, residual))
        self._unknown, self._is_linear = self._unknown or not redundant, False
        n_obs, n_clipped, innovations = self._form.counts
        self._form.counts = (n_obs - redundant, n_clipped + clipped, innovations)
        self.n_passes = max(1, self.n_passes)
        self._look(gradients, target.ravel(), has_identity_link=False)
        return self

    def fit_model(
        self,
        fun: Fun,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        weight: npt.ArrayLike | None = None,
        block: int | None = None,
        tol: float = 1e-8,
        max_iter: int | None = None,
    ) -> OptimizeResult:
        """Absorb rows of a nonlinear model, by iterated steps: nonlinear least squares.

        With f the mean, w0 and M0 the coefficients and the covariance before::

            w = argmin sum of weight (y - f(w))^2 + (w - w0)' M0^-1 (w - w0)
            M = (M0^-1 + J' diag(weight) J)^-1, J the Jacobian of f at w

        which for a linear f is `partial_fit`. An infinite `m0` is least squares, from the start
        given in place of the number of coefficients.

        Parameters
        ----------
        fun : callable
            ``fun(w, X) -> (mean, jacobian)``, of shapes (n,) and (n, p), for any rows of X. Where
            it overflows or gives NaN no step is taken to.
        X : array of shape (n, ...)
            Passed on to `fun`, by rows.
        y : array of shape (n,)
        weight : array of shape (n,), optional
            Divides each row's variance, 1; at least 0.
        block : int, optional
            Rows that `fun` is given at a time, which bounds the memory, and costs an evaluation
            an iteration. Default all.
        tol : float, at least 0
            Converged where a step to the minimum of the linear model would change the sum of
            squares by a part of tol^2 or less: it is then tol sqrt(n - p) standard errors long.
            Or sooner where rounding ends all progress, if it is within 1e-6 of the same, or of
            the coefficients. Default 1e-8.
        max_iter : int, optional
            Steps tried, at most. Default 1000 p.

        Returns
        -------
        scipy.optimize.OptimizeResult
            x : the coefficients reached
            fun : the minimum above, there; of all rows, where others were absorbed before
            nit, nfev : steps tried; evaluations of `fun` on all rows
            status, success, message
                0: converged, the only success. 1: no step reduces the sum of squares. 2: max_iter
                is used up. Without success this filter is as it was.

        Raises
        ------
        FastoptError, TypeError
            An argument of another type or shape, or outside its range; options that go with other
            methods.

        Notes
        -----
        The steps are those of Levenberg and Marquardt, scaled nearly as in MINPACK, with
        geodesic acceleration (Transtrum and Sethna, arXiv 1201.5885). What `fun` raises, Ctrl-C
        included, leaves this filter as it was. Not with `forgetting` or `gamma`, nor for a
        diagonal or blocks.

        Examples
        --------
        >>> import numpy as np, fastopt
        >>> x = np.array([1.0, 2, 3, 5, 7, 10])
        >>> y = np.array([109.0, 149, 149, 191, 213, 224])
        >>> def growth(w, x):
        ...     decay = np.exp(-w[1] * x)
        ...     return w[0] * (1 - decay), np.column_stack([1 - decay, w[0] * x * decay])
        >>> k = fastopt.KalmanSGD([100, 0.75], m0=np.inf)
        >>> k.fit_model(growth, x, y).success
        True
        >>> print(k.coef.round(3), k.stderr.round(3))
        [213.809   0.547] [12.355  0.105]
        """
        if not callable(fun):
            raise TypeError(f"fun is {fun!r}; a callable is needed")
        form = self._form
        if not isinstance(form, Plain | UD | Information):
            raise FastoptError("fit_model needs covariance='full'")
        if self.forgetting < 1.0 or self.gamma != (0.0, math.inf):
            raise FastoptError("fit_model needs forgetting=1.0 and gamma=(None, None)")
        rows = given.numbers("X", X)
        if rows.ndim == 0 or not len(rows):
            raise FastoptError(f"X has shape {rows.shape}; (n, ...) with n >= 1 is needed")
        n = len(rows)
        target = given.vector("y", y, n)
        weights = given.weights(weight, n)
        per_call = n if block is None else Whole(1)("block", block)
        limit = 1000 * self.n_params if max_iter is None else Whole(1)("max_iter", max_iter)
        accuracy = at_least_0("tol", tol)
        self._require_covariance()

        before = form.information()
        model = RowsModel(fun, rows, target, weights, per_call, before)
        end, result = solve(model, self._reached(), accuracy, limit)
        if result.success:
            self._require_done(form.fitted(end.w, end.root, self.n_obs + n))
            self._unknown, self._is_linear, self._separable = True, False, False
            self.n_passes = max(1, self.n_passes)
            if self._stop is not None and self.n_passes == 1:
                self._stop.see_squares(np.sum(end.root**2 - before**2, axis=0)[:-1], target)
                self._stop.look(self._form, self.dispersion, has_identity_link=False)
        return result

    def _require_done(self, failure: str) -> None:
        if failure:
            raise FastoptError(f"{FAILURES[failure]}; nothing was done, n_obs is {self.n_obs}")

    def restart(self, m0: float | npt.ArrayLike | str | None = None) -> None:
        """Start over from the coefficients reached; ``m0=None`` is the one at construction.

        Parameters
        ----------
        m0 : float, array or str, optional
            As at construction.

        Raises
        ------
        FastoptError, TypeError
            A start that the constructor would refuse, or any for mode "qr".
        """
        if self.mode == "qr":
            if m0 is not None:
                raise FastoptError(f"m0 is {m0!r}; mode 'qr' restarts from an infinite one")
            self._start(self._reached(), None)
            return
        self._start(self.coef, self._first_covariance(self.m0 if m0 is None else m0))

    def _reached(self) -> Floats:
        """Return the coefficients; while rows leave one open, where they start."""
        try:
            return self.coef
        except FastoptError:
            return self._origin[0].copy()

    def merge(self, other: KalmanSGD) -> KalmanSGD:
        """Absorb all rows that another filter has absorbed, exactly.

        Information adds. With a finite m0, which both must have started from, at the same
        coefficients, it is counted once: for information L = M^-1 and its start L0::

            L = L1 + L2 - L0;  L w = L1 w1 + L2 w2 - L0 w0

        Parameters
        ----------
        other : KalmanSGD
            It has absorbed rows of the Gaussian family alone, without forgetting, as this one.

        Returns
        -------
        KalmanSGD
            This object.

        Raises
        ------
        FastoptError, TypeError
            Filters that differ in what must be equal, or whose rows were not such.
        """
        if not isinstance(other, KalmanSGD):
            raise TypeError(f"other is a {type(other).__name__}; a KalmanSGD is needed")
        if other.n_params != self.n_params:
            raise FastoptError(f"other has {other.n_params} coefficients, this {self.n_params}")
        if self.mode != other.mode or self.gamma != other.gamma:
            raise FastoptError("filters of different mode or gamma cannot be merged")
        kept, others_kept = self._kind.kept, other._kind.kept
        if kept != "full" or others_kept != "full":
            raise FastoptError(
                f"covariances are {kept!r} and {others_kept!r}; merging is exact for 'full'"
            )
        if not (self._is_linear and other._is_linear):
            raise FastoptError(
                "merging is exact for rows of the gaussian family, absorbed without forgetting, "
                "and for nothing else"
            )
        if self.n_passes and other.n_passes and self.n_passes != other.n_passes:
            raise FastoptError(
                f"this has seen its rows {self.n_passes} times, other {other.n_passes} times; "
                "the covariance of the two together would mean nothing"
            )
        own, others = self._form, other._form
        if isinstance(own, Information) and isinstance(others, Information):
            self._require_done(own.absorb(others))
        else:
            self._require_same_start(other)
            w, m, moved = merged(
                (self.coef, own.covariance()), (other.coef, others.covariance()), self._origin
            )
            form = self._make(w, m)
            mine, theirs = own.counts, others.counts
            form.counts = (mine[0] + theirs[0], mine[1] + theirs[1], mine[2] + theirs[2] + moved)
            self._form = form
        self.n_passes = max(self.n_passes, other.n_passes)
        self._unknown |= other._unknown
        self._separable &= other._separable
        if self._stop and other._stop:
            self._stop.merge(other._stop)
            self._stop.look(self._form, self.dispersion, has_identity_link=True)
        return self

    def _require_same_start(self, other: KalmanSGD) -> None:
        self._require_covariance()
        other._require_covariance()
        for mine, theirs in zip(self._origin, other._origin, strict=True):
            if not np.array_equal(mine, theirs):
                raise FastoptError(
                    "the filters started from different m0 or w0, which would be counted twice; "
                    "an infinite m0 has no start to be counted"
                )

    @property
    def coef(self) -> Floats:
        """The coefficients."""
        return self._form.coef()

    @property
    def n_obs(self) -> int:
        """The number of rows or outputs absorbed."""
        return self._form.counts[0]

    @property
    def n_clipped(self) -> int:
        """The number of those whose variance `gamma` has bounded."""
        return self._form.counts[1]

    @property
    def trace(self) -> float:
        """The trace of M."""
        self._require_covariance()
        return self._form.trace()

    @property
    def dispersion(self) -> float:
        """The variance of an observation over V(m): 1 where the family fixes it.

        Else the sum of (y - m)^2 / s over the innovations, divided by n_obs - p; NaN up to p
        rows. Implicit updates take each innovation at the mean after the update, (y - m)^2 (1 +
        c) / V with c = x'Mx h^2 / V, which for the Gaussian is the same number.
        """
        if not self._unknown:
            return 1.0
        n, _, innovations = self._form.counts
        return float(innovations / (n - self.n_params)) if n > self.n_params else math.nan

    @property
    def converged_at(self) -> int | None:
        """The row after which `stop` first held; None before."""
        return None if self._stop is None else self._stop.reached_at

    @property
    def converged(self) -> bool:
        """Whether `stop` has been met; the caller stops."""
        return self.converged_at is not None

    def covariance(self, scaled: bool = True) -> Floats:
        """Return M, times the dispersion and the number of passes if ``scaled``.

        A matrix of shape (p, p), which has zeros where "diag" or blocks keep nothing: refused
        where it would take more than `max_bytes`. `stderr` needs its diagonal alone.

        Parameters
        ----------
        scaled : bool
            Default True.

        Returns
        -------
        array of shape (p, p)

        Raises
        ------
        FastoptError, TypeError
            `scaled` is no bool, the matrix takes more than `max_bytes`, or there is none before
            the first rows (``m0="scale"``).
        """
        self._require_covariance()
        needed = 8 * self.n_params**2
        if self.max_bytes is not None and needed > self.max_bytes:
            raise FastoptError(
                f"the matrix takes {needed} bytes and max_bytes is {self.max_bytes}; stderr and "
                "state_dict() have what is kept"
            )
        full = self._form.covariance()
        return full * self._scale() if flag("scaled", scaled) else full

    @property
    def stderr(self) -> Floats:
        """The standard errors of the coefficients.

        Raises
        ------
        FastoptError
            A variance is negative: rounding has cost the covariance its positive definiteness.
        """
        self._require_covariance()
        variances = self._form.variances()
        if (variances < 0).any():
            raise FastoptError(FAILURES["indefinite"])
        return np.sqrt(variances * self._scale())

    def _scale(self) -> float:
        if self.n_passes > 1:
            warnings.warn(
                f"{self.n_passes} passes have counted each row as often; the covariance is "
                "multiplied by that number",
                stacklevel=3,
            )
        return self.dispersion * max(1, self.n_passes)

    def _require_covariance(self) -> None:
        if self._waits:
            raise FastoptError("m0='scale' has no covariance before the first partial_fit")

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all that data have changed.

        Returns
        -------
        dict of str to number or array
        """
        n_obs, n_clipped, innovations = self._form.counts
        return {
            **self._form.arrays(),
            "n_obs": n_obs,
            "n_clipped": n_clipped,
            "innovations": innovations,
            "n_passes": self.n_passes,
            "estimates_dispersion": self._unknown,
            "waits": self._waits,
            "is_linear": self._is_linear,
            "separable": self._separable,
            "origin_coef": self._origin[0].copy(),
            "origin_covariance": self._origin[1].copy(),
            **({} if self._stop is None else self._stop.state()),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; one that does not fit changes nothing.

        Parameters
        ----------
        state_dict : dict
            Of a filter made with the same options.

        Raises
        ------
        FastoptError, TypeError
            A damaged one, or one of another filter.
        """
        saved = given.state(state_dict, self.state_dict())
        other = KalmanSGD(**self._options())
        other._restore(saved)
        self.__dict__.update(other.__dict__)  # all at once, whenever Ctrl-C comes

    def _restore(self, saved: dict[str, Any]) -> None:
        self._form.restore(saved)
        self._form.counts = saved["n_obs"], saved["n_clipped"], saved["innovations"]
        self._unknown, self._waits = saved["estimates_dispersion"], saved["waits"]
        self._is_linear, self._separable = saved["is_linear"], saved["separable"]
        self.n_passes = saved["n_passes"]
        self._origin = saved["origin_coef"], saved["origin_covariance"]
        if self._stop is not None:
            self._stop.restore(saved)

    def _options(self) -> dict[str, Any]:
        return {
            "n_params_or_w0": self.n_params,
            "m0": self.m0,
            "gamma": tuple(None if bound in (0.0, math.inf) else bound for bound in self.gamma),
            "glm_update": self.glm_update,
            "mode": self.mode,
            "covariance": self._kind.kept if self._kind.blocks is None else self._kind.blocks,
            "block": self.block,
            "forgetting": self.forgetting,
            "max_trace": self.max_trace,
            "dispersion": "estimate" if self.estimates else None,
            "stop": self.stop,
            "dtype": self.dtype,
            "max_bytes": self.max_bytes,
            "n_threads": self.n_threads,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self._options(), "state": self.state_dict()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(**saved["options"])  # type: ignore[misc]
        self._restore(given.state(saved["state"], self.state_dict()))

    def copy(self) -> KalmanSGD:
        """Return a filter of its own that goes on as this one would.

        Returns
        -------
        KalmanSGD
        """
        other = KalmanSGD.__new__(KalmanSGD)
        other.__setstate__(self.__getstate__())
        return other

    __copy__ = copy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write options and state to a file that `load` and ``numpy.load`` read.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        OSError
            The file cannot be written.
        """
        checkpoint.write(path, "KalmanSGD", self.__getstate__())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KalmanSGD:
        """Return the filter that `save` wrote.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        KalmanSGD

        Raises
        ------
        FastoptError, OSError
            A damaged or foreign file.
        """
        made = cls.__new__(cls)
        saved = checkpoint.read(path, "KalmanSGD")
        with checkpoint.loading(path):
            require_arrays(saved)
            made.__setstate__(saved)
        return made

    def __repr__(self) -> str:
        options = {
            "n_params": self.n_params,
            "mode": self.mode,
            "covariance": self._kind.kept,
            "glm_update": self.glm_update,
            "n_obs": self.n_obs,
        }
        return f"KalmanSGD({', '.join(f'{name}={value!r}' for name, value in options.items())})"


def _blocks(
    X: npt.NDArray[Any], y: Floats, weight: Floats | None, most: int | None, dtype: str
) -> Iterator[Rows]:
    for first, part in given.parts(X, most, dtype):
        own = slice(first, first + len(part))
        yield part, y[own], None if weight is None else weight[own]
