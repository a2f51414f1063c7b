"""`KalmanSGD`: its options, and the methods that absorb data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt._errors import FastoptError
from fastopt.kalman import input as given
from fastopt.kalman._kalman import observe_rows
from fastopt.kalman.covariance import Floats
from fastopt.kalman.data import checked_rows
from fastopt.kalman.exclusive import OneThread, exclusive
from fastopt.kalman.fitting import fit_all
from fastopt.kalman.merging import merge
from fastopt.kalman.nonlinear import Fun, fit_rows
from fastopt.kalman.options import checked_options, initial_coefficients
from fastopt.kalman.outputs import absorb_outputs
from fastopt.kalman.results import Results
from fastopt.kalman.rows import absorb_few_rows
from fastopt.kalman.saved import Saved
from fastopt.kalman.state import State
from fastopt.kalman.warned import absorb_and_warn

__all__ = ["KalmanSGD"]


class KalmanSGD(Results, Saved):
    """Kalman-based stochastic gradient descent for linear and generalized linear models.

    For a row x with observation y, mean m = mu(x'w), slope h = mu'(x'w) and variance V(m)::

        M <- M / forgetting
        u = h*x
        v = M*u
        s = V(m) / weight + u'*v
        w += weight * (y - m) / V(m) * v    implicit, the default: with m, h and V of the new w
        w += (y - m) / s * v                explicit: with those of the old w
        M -= v*v' / s

    For the Gaussian family both are the same.

    M approximates the inverse of the information matrix. It sets the step size in every
    direction, whatever the condition number, and gives standard errors. There is no learning
    rate.

    Parameters
    ----------
    n_params_or_w0 : int or array
        The number of coefficients, which then start at 0, or their initial values. In mode "qr"
        the initial values are only used as the starting point of `fit_model`.
    m0 : float, array or "scale", optional
        The initial covariance: a number or a vector for the diagonal, or a matrix. It is a prior:
        the coefficients are pulled towards `n_params_or_w0`. "scale" is 100 / mean square of each
        column in the first call of `partial_fit`, multiplied by mean(y^2) / var(y) for the identity
        link. Infinity, for the Gaussian family only, means no prior information: the coefficients
        are then those of least squares.

        Default None: the first call of `partial_fit` starts at the maximum of the likelihood of
        its first max(1024, 16p) rows (Gaussian: max(64, 2p)). The prior is so weak that it matters
        only for coefficients that these rows do not determine. It assumes that the coefficient of
        a column x is at most 1e5 / rms(x) residual standard deviations from 0, or 300 / rms(x) if
        the dispersion is 1. With ``stop``, ``forgetting`` or ``glm_update="explicit"``, the filter
        starts from this prior and absorbs all rows one after the other. `update`, and a diagonal
        or blocks, start from a covariance of 100. `fit` uses no prior.
    gamma : pair of float or None
        Lower and upper bound of the variance V(m), before it is divided by the row's weight. None
        is no bound. Default (None, None). Bounds need ``glm_update="explicit"``, and change what
        is estimated.
    glm_update : "implicit" or "explicit"
        "implicit", the default: m, h and V are taken at the linear predictor after the update,
        which is found by solving a scalar equation. This is stable for every family. "explicit":
        they are taken before the update, as in the formula. For the Gaussian family both are the
        same.
    mode : "auto", "plain", "ud" or "qr"
        How a full covariance is stored. "plain" stores M in a square array, of which one triangle
        is used, and is the fastest. "ud" stores the factors of M = U D U' (Bierman), half as many
        numbers. M stays positive definite under rounding, even for an extreme `m0` such as 1e20
        and for float32. "qr" stores a triangle R with R'R = M^-1. It must be used if `m0` is
        infinite, and only then. It is the most accurate mode, in particular if a single call of
        `partial_fit` has all the rows: the coefficients are then refined. It supports
        `partial_fit` for the Gaussian family and `fit_model`, without forgetting, but not
        `update`. "auto" is "qr" if m0 is infinite, else "ud" if dtype is "float32" or
        m0 exceeds 1e10, else "plain".
    covariance : "full", "diag" or list of arrays of int
        Which part of M is stored. Default "full". A list gives the indices of the coefficients in
        each block; each coefficient must be in exactly one block. Covariances between blocks are
        taken as 0, but all blocks share the innovation s = V(m) / weight + sum over blocks of
        u_b'v_b, where ``v_b = M_b u_b``, and ``M_b -= v_b v_b' / s``. Memory and time are
        proportional to the sum of the squared block sizes. "diag" stores a variance for each
        coefficient. The coefficients move as with blocks of size one, but each precision grows by
        the information that the row would have if all other coefficients were known,
        ``1 / M_ii += u_i^2 / (V(m) / weight)``, which keeps M_ii positive under rounding. With
        "diag" and with blocks, standard errors are too small if coefficients are correlated, and
        rows are absorbed one at a time. Both need ``mode="auto"`` and a finite `m0` that is not a
        matrix.
    block : int or "auto"
        The largest number of rows that are absorbed together, by matrix products. Up to rounding,
        the result does not depend on it. The default "auto" depends on the number of coefficients.
        Mode "plain" takes at most 32 rows at a time below 512 coefficients, and mode "ud" fewer
        rows while they reduce the covariance a lot.
    forgetting : float
        M is divided by this number in (0, 1] before each row. Default 1.
    max_trace : float, optional
        M is not divided by `forgetting` while its trace is at or above this value, so that
        variances in directions without data do not grow without bound. While the trace is near
        this value, rows are absorbed one at a time.
    dispersion : "estimate", optional
        Estimate the dispersion also for the families that fix it at 1: binomial, poisson,
        negative_binomial.
    stop : pair, optional
        The condition under which `converged` becomes true; the filter does not stop by itself.
        ``("se", tol)``: max_j sqrt(dispersion M_jj) rms(x_j) <= tol sd(y), with the root mean
        square of each column and the standard deviation of y so far (1 in place of sd(y) unless
        the link is the identity). A change of any coefficient by its standard error then changes
        predictions by no more than this. ``("trace", tol)``: dispersion * trace(M) <= tol, where
        the left side is the expected squared distance of the coefficients from their limit. The
        condition is evaluated after each block of rows of the first pass, from row 2p + 10 on. It
        needs ``forgetting=1``.
    dtype : "float64" or "float32"
        The precision of the covariance. Default "float64". In mode "ud", "float32" applies to U
        only, which is rounded once per block; all arithmetic, D and the coefficients are float64.
        In mode "plain", X is rounded to float32 too, and everything but the coefficients and the
        scalars of a row is float32. An error is raised if M becomes indefinite, but not if it
        becomes inaccurate, which happens if the condition number of the columns is 1e3 or more.
    max_bytes : int, optional
        Raise an error if the covariance and the work arrays of a block need more memory. The
        temporary memory of an `update` with more outputs n than a block has rows is not counted:
        16 n p + 8 n^2 bytes, in mode "ud" 32 n p.
    n_threads : int, optional
        The number of threads for mode "ud", and for the product of M and a single row if there
        are many coefficients. Default: that of optimizers. Mode "plain" below 512 coefficients,
        a diagonal and blocks use one thread. All other work uses the threads of SciPy's BLAS,
        which threadpoolctl limits.

    Attributes
    ----------
    coef : numpy.ndarray
        The coefficients, a copy.
    n_obs : int
        The number of rows absorbed, in all passes.
    n_passes : int
        The number of passes over the data, as marked by ``new_pass=True``.
    n_clipped : int
        The number of rows whose variance was outside the bounds `gamma`.
    converged_at : int or None
        The value of `n_obs` when `stop` was first met.

    Raises
    ------
    FastoptError, TypeError
        An option is outside its range, or the data of a method are not allowed. Nothing has
        changed then.

    Notes
    -----
    Only one thread at a time may use a filter. During a call, methods and attributes raise an
    error in other threads. This prevents reading coefficients and a covariance that belong to
    different states.

    A call whose data are not finite, or outside the range of the family, raises an error and
    changes nothing. After a numerical failure during a call, the state is that before the block of
    rows that failed, and the message says how many rows had been absorbed. After a
    KeyboardInterrupt, too, the state is that after a complete block.

    Equal inputs give equal bits on one machine with one number of BLAS threads. Work that does
    not use BLAS gives equal bits for any number of threads: mode "plain" below 512 coefficients,
    mode "ud", and rows absorbed into a diagonal or blocks. For Gaussian rows, the first of these
    also gives equal bits for all instruction sets. From 2000 coefficients, `update` with one
    output computes M x without BLAS, with equal bits for all instruction sets and numbers of
    threads; the pending rank-1 terms are still multiplied and added by BLAS.

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
        w0 = initial_coefficients(n_params_or_w0)
        options = checked_options(
            w0.size,
            m0=m0,
            gamma=gamma,
            glm_update=glm_update,
            mode=mode,
            covariance=covariance,
            block=block,
            forgetting=forgetting,
            max_trace=max_trace,
            dispersion=dispersion,
            stop=stop,
            dtype=dtype,
            max_bytes=max_bytes,
            n_threads=n_threads,
        )
        self._one_thread = OneThread()
        self._state = State(options, w0)

    @exclusive
    def partial_fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        family: str | None = None,
        link: str | None = None,
        weight: npt.ArrayLike | None = None,
        *,
        offset: npt.ArrayLike | None = None,
        exposure: npt.ArrayLike | None = None,
        alpha: float | None = None,
        new_pass: bool = False,
    ) -> KalmanSGD:
        """Absorb rows of a generalized linear model.

        If `m0` was given, the result is that of one call for each row, up to rounding. Rows should
        be in random order: each row is weighted at the coefficients at which it is absorbed, so
        that one pass over rows sorted by y can end many standard errors from the maximum of the
        likelihood. `fit` finds the maximum for rows in any order.

        Parameters
        ----------
        X : array of shape (n, p)
        y : array of shape (n,)
        family : str, optional
            "gaussian", "binomial" (y in [0, 1]; for counts, y is a fraction and weight the
            number of trials; also "bernoulli" or "logistic"), "poisson", "gamma" or
            "negative_binomial" (variance m + alpha m^2). Default: family, link and alpha are
            those of the last rows of `fit` or `partial_fit`; "gaussian" if there are none.
        link : str, optional
            In the order of the families: identity; logit, probit, cloglog; log; log, inverse;
            log. Default: the first one of the family. "inverse" needs coefficients with X w > 0.
        weight : array of shape (n,), optional
            The variance of each row is divided by its weight, which must be at least 0. A row of
            weight 0 is left out, and does not count in `n_obs`.
        offset : array of shape (n,), optional
            Added to the linear predictor: ``m = mu(x'w + offset)``.
        exposure : array of shape (n,), optional
            For the log link: the mean is multiplied by it, as by the time or the population in
            which events are counted. Its logarithm is added to the offset.
        alpha : float, optional
            The parameter of the negative binomial family, at least 0. Default 1.
        new_pass : bool
            True if this call begins a new pass over data that have been absorbed before. Each pass
            counts the data once more; `stderr` corrects for this.

        Returns
        -------
        KalmanSGD
            This object.

        Raises
        ------
        FastoptError, TypeError
            An argument has the wrong type or shape or is outside its range, for example an
            observation that the family does not allow.

        Warns
        -----
        UserWarning
            Every label so far was predicted correctly by the coefficients after its call, and this
            call has more than 2p rows. If the labels are completely separated, the likelihood has
            no maximum: it increases with the size of the coefficients. There is also a warning if
            the rows are or seem sorted and their order matters: if y increases or decreases through
            the rows of the call, other than by chance; if the first rows all have the same label;
            or if the information that the filter gained from the rows and Fisher's differ by more
            than 25 %. If the warning is turned into an error, the filter is unchanged.
        """
        state = self._state
        if (
            weight is offset is exposure is None
            and new_pass is False
            and state.history.continues(family, link, alpha)
            and absorb_few_rows(state, X, y)
        ):
            return self
        rows = checked_rows(state, X, y, family, link, weight, offset, alpha, new_pass, exposure)
        absorb_and_warn(state, rows)
        return self

    @exclusive
    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        family: str = "gaussian",
        link: str | None = None,
        weight: npt.ArrayLike | None = None,
        offset: npt.ArrayLike | None = None,
        *,
        exposure: npt.ArrayLike | None = None,
        alpha: float | None = None,
        tol: float = 1e-10,
        max_rounds: int = 100,
    ) -> KalmanSGD:
        """Fit all rows by maximum likelihood; their order has no effect.

        Fisher scoring is iterated until the coefficients are exact up to rounding. The standard
        errors are those at the maximum. Data absorbed before are discarded. Afterwards the filter
        has absorbed these rows, and `partial_fit` can absorb more.

        Parameters
        ----------
        X, y, family, link, weight, offset, exposure, alpha
            As for `partial_fit`. In mode "qr" every family is allowed here.
        tol : float
            The maximum length of the last step, in standard errors. Default 1e-10.
        max_rounds : int
            The maximum number of scoring steps. Default 100; usually 2 to 10 are needed.

        Returns
        -------
        KalmanSGD
            This object.

        Raises
        ------
        FastoptError, TypeError
            An argument is not allowed, as in `partial_fit`; the rows do not determine a
            coefficient; the likelihood has no maximum (separation); or `max_rounds` is too small.
            Nothing has changed then. With a finite `m0` there always is a maximum: that of the
            likelihood times a normal prior. The prior has mean `n_params_or_w0` and covariance
            `m0`, which is multiplied by the dispersion if that is estimated.

        References
        ----------
        P. McCullagh and J. A. Nelder, "Generalized Linear Models", 2nd ed., 1989, section 2.5.

        Examples
        --------
        >>> import numpy as np, fastopt
        >>> rng = np.random.default_rng(0)
        >>> X = np.column_stack([np.ones(300), rng.normal(size=300)])
        >>> y = rng.poisson(np.exp(X @ [1.0, 0.5])).astype(float)
        >>> order = np.argsort(y)
        >>> k = fastopt.KalmanSGD(2).fit(X[order], y[order], "poisson")
        >>> print(k.coef.round(3), k.stderr.round(3))
        [0.967 0.52 ] [0.037 0.032]
        >>> print(k.predict([[1.0, 0.0]]).round(3))
        [2.63]
        """
        rows = checked_rows(
            self._state, X, y, family, link, weight, offset, alpha, exposure=exposure
        )
        fit_all(self._state, rows, tol, max_rounds)
        return self

    @exclusive
    def predict(
        self,
        X: npt.ArrayLike,
        offset: npt.ArrayLike | None = None,
        *,
        exposure: npt.ArrayLike | None = None,
    ) -> Floats:
        """Return the mean of each row at the current coefficients.

        Parameters
        ----------
        X : array of shape (n, p)
        offset : array of shape (n,), optional
            Added to the linear predictor.
        exposure : array of shape (n,), optional
            For the log link: its logarithm is added to the linear predictor.

        Returns
        -------
        array of shape (n,)
            ``mu(X w + offset + log(exposure))`` with the family and link of the last rows.

        Raises
        ------
        FastoptError, TypeError
            An argument has the wrong type or shape; no rows have been absorbed by `fit` or
            `partial_fit`, so that there is no link.
        """
        history = self._state.history
        if not history.family:
            raise FastoptError("predict() needs a family and a link: call fit or partial_fit first")
        rows = given.matrix(X, self.n_params)
        shift = given.shifts(offset, exposure, len(rows), history.link)
        z = np.asarray(rows, dtype=np.float64) @ self.coef
        z = np.ascontiguousarray(z if shift is None else z + shift)
        model = (history.family, history.link)
        return observe_rows(model, history.alpha, np.ones_like(z), z)[0]

    @exclusive
    def update(
        self,
        y: npt.ArrayLike,
        mean: npt.ArrayLike,
        jac: npt.ArrayLike,
        variance: npt.ArrayLike = 1.0,
    ) -> KalmanSGD:
        """Absorb an observation of any model, with one or several outputs, or a mini-batch.

        With J the Jacobian of the mean, R the variance and S = R + J M J'::

            w += M*J'*S^-1*(y - mean)
            M -= M*J'*S^-1*J*M

        Parameters
        ----------
        y, mean : float or array of shape (C,) or (n, C)
            The observation, and the model's mean for it at `coef`.
        jac : array of shape (p,), (C, p) or (n, C, p)
            The gradient of each mean. A mini-batch of n observations is absorbed jointly, with
            all means and gradients taken at the same coefficients.
        variance : float, array of shape (C,), (n, C) or (C, C), or "multinomial"
            The variance of the observation, positive or positive definite. For a mini-batch, a
            matrix is the covariance of all n C outputs. `gamma` bounds a number or each element of
            a vector, and does not allow a matrix. Default 1. "multinomial" is for C classes: y is
            one-hot or has probabilities, mean is their softmax, and `jac` is the Jacobian of the
            *logits*. Then J' R^-1 J is jac' (diag(mean) - mean mean') jac and J' R^-1 (y - mean)
            is jac' (y - mean), which is exact even for probabilities of 0 or 1. The dispersion is
            1 then.

        Returns
        -------
        KalmanSGD
            This object.

        Raises
        ------
        FastoptError, TypeError
            An argument has the wrong type or shape, has a NaN, or is a variance that is not
            positive; or an option does not allow this method.

        Notes
        -----
        Each call reads M once. M is written once for every `block` outputs, but in every call if
        there is forgetting or only a diagonal or blocks are stored. `n_obs` counts outputs, C - 1
        for C classes.

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
        absorb_outputs(self._state, y, mean, jac, variance)
        return self

    @exclusive
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
        """Absorb rows of a nonlinear model by iteration: nonlinear least squares.

        With f the mean, and w0 and M0 the coefficients and the covariance before the call::

            w = argmin sum of weight (y - f(w))^2 + (w - w0)' M0^-1 (w - w0)
            M = (M0^-1 + J' diag(weight) J)^-1, J the Jacobian of f at w

        For a linear f this is `partial_fit`. With an infinite `m0` it is ordinary least squares,
        which starts at the coefficients given to the constructor.

        Parameters
        ----------
        fun : callable
            ``fun(w, X) -> (mean, jacobian)``, of shapes (n,) and (n, p), for any rows of X.
            Coefficients for which it overflows or returns NaN are not accepted as a step.
        X : array of shape (n, ...)
            Passed to `fun`, all rows or `block` rows at a time.
        y : array of shape (n,)
        weight : array of shape (n,), optional
            The variance of each row, 1, is divided by its weight, which must be at least 0.
        block : int, optional
            The number of rows that `fun` gets at a time. A smaller number needs less memory, but
            one evaluation more in each iteration. Default: all rows.
        tol : float, at least 0
            The fit has converged when the step to the minimum of the linear model would change
            the sum of squares by a fraction of tol^2 or less. This step is at most
            tol sqrt(n - p) standard errors long. If rounding prevents progress, the fit has also
            converged if the step is at most 1e-6 by the same measure, or relative to the
            coefficients. Default 1e-8.
        max_iter : int, optional
            The maximum number of steps that are tried. Default 1000 p.

        Returns
        -------
        scipy.optimize.OptimizeResult
            ``x``: the final coefficients; ``fun``: the minimum above, including all rows absorbed
            before; ``nit``, ``nfev``: the number of steps tried, and of evaluations of `fun` on all
            rows; ``success``, ``message`` and ``status``: 0, converged, the only success; 1, no
            step reduces the sum of squares; 2, max_iter was reached; 3, the rows do not determine a
            coefficient. Without success this filter is unchanged.

        Raises
        ------
        FastoptError, TypeError
            An argument has the wrong type or shape or is outside its range; or an option does not
            allow this method.

        Notes
        -----
        The steps are those of Levenberg and Marquardt, scaled nearly as in MINPACK, with
        geodesic acceleration (Transtrum and Sethna, arXiv 1201.5885). An exception in `fun`,
        KeyboardInterrupt included, leaves this filter unchanged. `forgetting`, `gamma`, a
        diagonal and blocks are not supported.

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
        return fit_rows(self._state, fun, X, y, weight, block, tol, max_iter)

    @exclusive
    def merge(self, other: KalmanSGD) -> KalmanSGD:
        """Add everything that another filter has absorbed, exactly.

        The information matrices are added. With a finite m0, both filters must have started from
        the same m0 and coefficients, which are counted once. For information L = M^-1 and its
        initial value L0::

            L = L1 + L2 - L0
            L*w = L1*w1 + L2*w2 - L0*w0

        Parameters
        ----------
        other : KalmanSGD
            A filter that, like this one, has absorbed rows of the Gaussian family only, without
            forgetting.

        Returns
        -------
        KalmanSGD
            This object.

        Raises
        ------
        FastoptError, TypeError
            The options of the filters differ, or their rows do not allow an exact merge.
        """
        if not isinstance(other, KalmanSGD):
            raise TypeError(f"other is a {type(other).__name__}; a KalmanSGD is needed")
        with other._one_thread:
            merge(self._state, other._state)
        return self

    @exclusive
    def restart(self, m0: float | npt.ArrayLike | str | None = None) -> None:
        """Discard the covariance and all counts; start again from the current coefficients.

        Parameters
        ----------
        m0 : float, array or str, optional
            The new initial covariance, as in the constructor. Default: the one given there.

        Raises
        ------
        FastoptError, TypeError
            `m0` is not allowed by the constructor, or is given in mode "qr".
        """
        options = self._state.options
        if options.mode == "qr" and m0 is not None:
            raise FastoptError(f"m0 is {m0!r}; mode 'qr' restarts from an infinite one")
        start = options.first_covariance(m0)
        chooses = m0 is None and options.chooses_start
        self._state.begin(self._state.current_coefficients(), start, chooses)
