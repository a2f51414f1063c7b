"""Kalman-based SGD: coefficients with their covariance, updated by rows of data."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt._arrays import refuse_masked
from fastopt._checks import Choice, Real, Whole, at_least_0, flag
from fastopt._errors import FastoptError
from fastopt._information import Information
from fastopt._kalman import Filter, nonfinite_row
from fastopt.families import Family, family_of

__all__ = ["KalmanSGD"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

TINY = float(np.finfo(np.float64).tiny)
positive = Real(low=TINY)
keep_rate = Real(low=TINY, high=1.0)
MAX_PARAMS = 46340  # p * p fits in BLAS's int
COPIED_ROWS = 4096  # at a time, where X is not of the layout that BLAS reads
FAILURES = {
    "indefinite": "the covariance is no longer positive definite: x'Mx < 0 beyond rounding; "
    "a smaller m0 or columns of equal scale keep more of its digits",
    "nonfinite": "a mean, a coefficient or the covariance left the range of float64",
}


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
        The number of coefficients, which then start at 0, or where they start.
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
    mode : "auto", "plain" or "qr"
        The form of the covariance. "plain" keeps one triangle of M in float64. "qr" keeps a
        triangle R with R'R = M^-1, which needs and is needed for an infinite `m0` and loses the
        fewest digits; it has `partial_fit` for the Gaussian alone, without forgetting. "auto" is
        "qr" where m0 is infinite, else "plain".
    block : int or "auto"
        Rows that are absorbed together, by matrix products. The result is that of single rows
        up to rounding. Default "auto", by the number of coefficients.
    forgetting : float
        Of (0, 1]. M is divided by it before each row. Default 1.
    max_trace : float, optional
        M is not divided by `forgetting` while its trace is at or above this, so that directions
        without data do not grow for ever. Near it rows are absorbed singly.
    dispersion : "estimate", optional
        Estimate the dispersion where the family fixes it at 1: bernoulli, poisson,
        negative_binomial.
    stop : pair, optional
        ``("trace", tol)``: `converged` is true while dispersion * trace(M) <= tol, the expected
        squared distance of the coefficients from where they go. Needs ``forgetting=1``.
    max_bytes : int, optional
        Refuse to allocate more than this.

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

    Raises
    ------
    FastoptError, TypeError
        An option outside its range, or data that a method refuses; nothing has changed then.

    Notes
    -----
    A call is refused whole when its data are not finite or outside the family's range. A failure
    of the arithmetic during a call leaves the state as it was before the block of rows that
    failed, and the message says how many rows had been absorbed; so does Ctrl-C.

    Equal inputs give equal bits on one machine with one number of BLAS threads.

    References
    ----------
    V. Patel, "Kalman-based Stochastic Gradient Method with Stop Condition and Insensitivity to
    Conditioning", SIAM J. Optim. 26(4), 2016, https://arxiv.org/abs/1512.01139.

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
        block: int | str = "auto",
        forgetting: float = 1.0,
        max_trace: float | None = None,
        dispersion: str | None = None,
        stop: tuple[str, float] | None = None,
        max_bytes: int | None = None,
    ) -> None:
        w0 = _start(n_params_or_w0)
        self.n_params = w0.size
        if m0 is None and mode == "qr":
            m0 = math.inf
        if m0 is not None and not isinstance(m0, str) and np.ndim(m0) == 0:
            m0 = float(_numbers("m0", m0))
        infinite = m0 == math.inf if isinstance(m0, float) else False
        wanted = Choice(("auto", "plain", "qr"))("mode", mode)
        if (infinite and wanted == "plain") or (not infinite and wanted == "qr"):
            raise FastoptError(f"m0 is {m0!r} and mode is {mode!r}; 'qr' needs an infinite m0")
        self.mode = "qr" if infinite else "plain"
        self.glm_update = Choice(("implicit", "explicit"))("glm_update", glm_update)
        self.gamma = _gamma(gamma)
        if self.gamma != (0.0, math.inf) and self.glm_update == "implicit":
            raise FastoptError(f"gamma is {gamma!r}, which needs glm_update='explicit'")
        self.forgetting = keep_rate("forgetting", forgetting)
        self.max_trace = None if max_trace is None else positive("max_trace", max_trace)
        self.estimates = Choice((None, "estimate"))("dispersion", dispersion) is not None
        if infinite and (self.forgetting < 1.0 or self.glm_update == "explicit"):
            raise FastoptError("mode 'qr' has no forgetting and no explicit form")
        self.stop = _stop(stop)
        if self.stop and self.forgetting < 1.0:
            raise FastoptError(f"stop is {stop!r}, which needs forgetting=1.0")
        self.block = block if block == "auto" else Whole(1, 4096)("block", block)
        self.max_bytes = None if max_bytes is None else Whole(0)("max_bytes", max_bytes)
        rows = _block(self.n_params) if self.block == "auto" else int(self.block)
        needed = 8 * self.n_params * (self.n_params + 2 * rows)
        if self.max_bytes is not None and needed > self.max_bytes:
            raise FastoptError(
                f"a full covariance of {self.n_params} coefficients takes {needed} bytes and "
                f"max_bytes is {self.max_bytes}; raise it, or use fewer coefficients"
            )
        self.m0 = (
            m0 if isinstance(m0, (str, float)) or m0 is None else np.array(m0, dtype=np.float64)
        )
        start = None if infinite else _covariance(self.m0, self.n_params)
        self._rows = rows
        self._make(w0, start)

    def _make(self, w: Floats, m: Floats | None) -> None:
        """Begin from coefficients and a covariance; None: of the first call's scale."""
        p, rows = self.n_params, self._rows
        self._waits = m is None and self.mode != "qr"
        self.n_passes = 0
        self._unknown = self.estimates  # whether the dispersion is to be estimated
        if self.mode == "qr":
            self._filter: Filter | Information = Information(p)
            return
        self._filter = Filter(
            w,
            np.zeros((p, p), order="F") if m is None else m,
            np.empty((rows, p)),
            np.empty((rows, p)),
            np.empty((rows, rows)),
            np.empty(3 * rows + p),
            self.forgetting,
            math.inf if self.max_trace is None else self.max_trace,
        )

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
        """
        kind = family_of(family)
        link = kind.link(link)
        shape = _shape(kind, alpha)
        if self.mode == "qr" and kind.name != "gaussian":
            raise FastoptError(f"family is {family!r}; mode 'qr' allows 'gaussian'")
        flag("new_pass", new_pass)
        rows = _matrix(X, self.n_params)
        n = len(rows)
        target = _vector("y", y, n)
        kind.require_domain(target)
        weights = None if weight is None else _vector("weight", weight, n)
        if weights is not None and not (np.isfinite(weights) & (weights >= 0)).all():
            bad = int(np.argmin(np.isfinite(weights) & (weights >= 0)))
            raise FastoptError(f"weight[{bad}] is {weights[bad]}; allowed: finite, >= 0")
        for first, part in _parts(rows):
            bad = nonfinite_row(part)
            if bad >= 0:
                raise FastoptError(f"X[{first + bad}] has a NaN or an infinity; nothing was done")
        self._settle_scale(rows)

        low, high = self.gamma
        at_once = self._rows * max(1, int(2e9 / (3 * self.n_params**2 + 1e4)) // self._rows)
        explicit = self.glm_update == "explicit"
        before = self.n_obs
        try:
            for first, part in _parts(rows):
                own = slice(first, first + len(part))
                own_weights = None if weights is None else weights[own]
                if isinstance(self._filter, Information):
                    failure = self._filter.rows(part, target[own], own_weights)
                else:
                    failure = self._filter.rows(
                    (kind.name, link), shape, explicit, low, high, part, target[own],
                    own_weights, at_once,
                )  # fmt: skip
                if failure:
                    raise FastoptError(
                        f"{FAILURES[failure]}; {self.n_obs} rows have been absorbed, the state is "
                        "that before the block at fault"
                    )
        finally:  # some rows may have been absorbed before a failure or an interrupt
            if self.n_obs > before:
                self._unknown |= not kind.known_dispersion
                self.n_passes += new_pass or self.n_passes == 0
        return self

    def update(
        self,
        y: npt.ArrayLike,
        mean: npt.ArrayLike,
        jac: npt.ArrayLike,
        variance: npt.ArrayLike = 1.0,
    ) -> KalmanSGD:
        """Absorb one observation of any model, of one output or several.

        With J the Jacobian of the mean, R the variance and S = R + J M J'::

            w += M J' S^-1 (y - mean);  M -= M J' S^-1 J M

        Parameters
        ----------
        y, mean : float or array of shape (C,)
            The observation, and the model's mean for it at `coef`.
        jac : array of shape (p,) or (C, p)
            The gradient of each mean.
        variance : float or array of shape (C,) or (C, C)
            Of the observation; `gamma` bounds a number or each of a vector, and is refused with
            a matrix. Must be positive, or positive definite. Default 1.

        Returns
        -------
        KalmanSGD
            This object.

        Notes
        -----
        M is read once a call, and written when as many outputs as a block has rows have come
        together; with forgetting at every call. `n_obs` counts outputs.
        """
        self._plain()
        p = self.n_params
        rows = _numbers("jac", jac)
        rows = np.array(rows[None] if rows.ndim == 1 else rows, dtype=np.float64, order="C")
        if rows.ndim != 2 or rows.shape[1] != p or not len(rows):
            raise FastoptError(f"jac has shape {np.shape(jac)}; ({p},) or (C, {p}) is needed")
        n = len(rows)
        residual = _outputs("y", y, n) - _outputs("mean", mean, n)
        if not np.isfinite(residual).all() or nonfinite_row(rows) >= 0:
            raise FastoptError("y, mean or jac has a NaN or an infinity; nothing was done")
        self._require_covariance()
        root, clipped = self._root_variance(variance, n)
        if root.ndim == 2:
            whitened: Floats = np.linalg.solve(root, np.column_stack([residual, rows]))
            residual, rows = whitened[:, 0].copy(), whitened[:, 1:].copy()
        else:
            residual, rows = residual / root, rows / root[:, None]
        if not np.isfinite(residual).all() or nonfinite_row(rows) >= 0:
            raise FastoptError(f"variance is {variance!r}, too small for these numbers")

        # Outputs of unit variance, one after the other: exactly the joint update.
        if n > self._rows or self.forgetting < 1.0:
            self._one_by_one(residual, rows)
        else:
            self._require_done(self._plain().change(rows, residual))
        self._unknown = True
        n_obs, n_clipped, innovations = self._filter.counts
        self._filter.counts = (n_obs, n_clipped + clipped, innovations)
        self.n_passes = max(1, self.n_passes)
        return self

    def _one_by_one(self, residual: Floats, rows: Floats) -> None:
        """Absorb outputs in several blocks, or after forgetting, or nothing at all."""
        w, m, counts = self.coef, self._filter.m.copy(order="F"), self._filter.counts
        try:
            self._plain().inflate()
            for first in range(0, len(rows), self._rows):
                part = rows[first : first + self._rows]
                left = residual[first : first + self._rows] - part @ (self._filter.w - w)
                self._require_done(self._plain().change(part, left))
        except BaseException:
            self._filter.m[...] = m
            self._filter.w[...] = w
            self._filter.counts = counts
            raise

    def _plain(self) -> Filter:
        if isinstance(self._filter, Information):
            raise FastoptError("mode 'qr' has partial_fit alone; update() needs a finite m0")
        return self._filter

    def _require_done(self, failure: str) -> None:
        if failure:
            raise FastoptError(f"{FAILURES[failure]}; nothing was done, n_obs is {self.n_obs}")

    def _root_variance(self, variance: npt.ArrayLike, n: int) -> tuple[Floats, int]:
        """Return standard deviations, or a Cholesky factor, and how many met a bound."""
        value = _numbers("variance", variance).astype(np.float64)
        if value.shape not in ((), (n,), (n, n)):
            raise FastoptError(f"variance has shape {value.shape}; allowed: (), ({n},), ({n}, {n})")
        if value.ndim == 2:
            if self.gamma != (0.0, math.inf):
                raise FastoptError("gamma bounds variances of outputs, not a matrix of them")
            if not np.isfinite(value).all() or not (value == value.T).all():
                raise FastoptError("variance is not a symmetric matrix of finite numbers")
            try:
                return np.linalg.cholesky(value).astype(np.float64), 0
            except np.linalg.LinAlgError:
                raise FastoptError("variance is not positive definite") from None
        bounded = np.broadcast_to(np.clip(value, *self.gamma), (n,))
        if not (np.isfinite(value) & (value >= 0)).all() or not (bounded > 0).all():
            raise FastoptError(f"variance is {variance!r}; finite numbers above 0 are needed")
        return np.sqrt(bounded), int(np.sum(bounded != value))

    def _settle_scale(self, rows: npt.NDArray[Any]) -> None:
        """Take m0="scale" from the first rows."""
        if not self._waits:
            return
        least = max(256, 2 * self.n_params)
        if len(rows) < least:
            raise FastoptError(
                f"X has {len(rows)} rows; m0='scale' needs {least} in the first call"
            )
        total = np.zeros(self.n_params)
        for _, part in _parts(rows):
            total += np.einsum("ij,ij->j", part, part)
        variance = 100.0 * len(rows) / np.where(total > 0, total, np.nan)
        if not np.isfinite(variance).all():
            bad = int(np.argmin(np.isfinite(variance)))
            raise FastoptError(
                f"the mean square of column {bad} of X is {total[bad] / len(rows)}, which gives "
                "m0='scale' no finite start"
            )
        np.fill_diagonal(self._filter.m, variance)
        self._waits = False

    def restart(self, m0: float | npt.ArrayLike | str | None = None) -> None:
        """Start over from the coefficients reached; ``m0=None`` is the one at construction."""
        if self.mode == "qr":
            if m0 is not None:
                raise FastoptError(f"m0 is {m0!r}; mode 'qr' restarts from an infinite one")
            self._make(np.zeros(self.n_params), None)
            return
        start = _covariance(self.m0 if m0 is None else m0, self.n_params)
        self._make(self._filter.w, start)

    def merge(self, other: KalmanSGD) -> KalmanSGD:
        """Absorb all rows that another filter has absorbed, exactly; mode "qr" alone.

        Information adds. A finite m0 would be counted twice, so other modes are refused.

        Returns
        -------
        KalmanSGD
            This object.
        """
        if not isinstance(other, KalmanSGD):
            raise TypeError(f"other is a {type(other).__name__}; a KalmanSGD is needed")
        if other.n_params != self.n_params:
            raise FastoptError(f"other has {other.n_params} coefficients, this {self.n_params}")
        own, others = self._filter, other._filter
        if not isinstance(own, Information) or not isinstance(others, Information):
            raise FastoptError(
                f"modes are {self.mode!r} and {other.mode!r}; 'qr' of both is needed, whose "
                "information has no start to be counted twice"
            )
        self._require_done(own.absorb(others))
        self.n_passes = max(self.n_passes, other.n_passes)
        self._unknown |= other._unknown
        return self

    @property
    def coef(self) -> Floats:
        return self._filter.w.copy()

    @property
    def n_obs(self) -> int:
        return self._filter.counts[0]

    @property
    def n_clipped(self) -> int:
        return self._filter.counts[1]

    @property
    def trace(self) -> float:
        """The trace of M."""
        self._require_covariance()
        return self._filter.trace()

    @property
    def dispersion(self) -> float:
        """The variance of an observation over V(m): 1 where the family fixes it.

        Else the sum of (y - m)^2 / s over the innovations, divided by n_obs - p; NaN up to p
        rows. Implicit updates take each innovation at the mean after the update, (y - m)^2 (1 +
        c) / V with c = x'Mx h^2 / V, which for the Gaussian is the same number.
        """
        if not self._unknown:
            return 1.0
        n, _, innovations = self._filter.counts
        return float(innovations / (n - self.n_params)) if n > self.n_params else math.nan

    @property
    def converged(self) -> bool:
        """Whether the stop condition holds, in the first pass; nothing stops by itself."""
        if self.stop is None or self.n_passes > 1 or self.n_obs <= self.n_params:
            return False
        return self.dispersion * self.trace <= self.stop[1]

    def covariance(self, scaled: bool = True) -> Floats:
        """Return M, times the dispersion and the number of passes if ``scaled``."""
        self._require_covariance()
        lower = np.tril(self._filter.m)
        full: Floats = lower + np.tril(lower, -1).T
        return full * self._scale() if flag("scaled", scaled) else full

    @property
    def stderr(self) -> Floats:
        """The standard errors of the coefficients."""
        self._require_covariance()
        return np.sqrt(np.diagonal(self._filter.m) * self._scale())

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
        """Return copies of all that data have changed."""
        n_obs, n_clipped, innovations = self._filter.counts
        if isinstance(self._filter, Information):
            main: dict[str, Any] = {"root": self._filter.root.copy()}
        else:
            covariance = None if self._waits else self.covariance(scaled=False)
            main = {"coef": self.coef, "covariance": covariance}
        return {
            **main,
            "n_obs": n_obs,
            "n_clipped": n_clipped,
            "innovations": innovations,
            "n_passes": self.n_passes,
            "estimates_dispersion": self._unknown,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; one that does not fit changes nothing."""
        own = self.state_dict()
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(own):
            found = list(state_dict) if isinstance(state_dict, Mapping) else state_dict
            raise FastoptError(f"the state dict has {found!r}; {list(own)} are needed")
        saved = state_dict
        w, m, root = np.zeros(self.n_params), None, None
        if self.mode == "qr":
            root = self._saved(saved, "root", (self.n_params + 1,) * 2)
            if np.tril(root, -1).any():
                raise FastoptError("root of the state dict is not an upper triangle")
        else:
            w = self._saved(saved, "coef", (self.n_params,))
            if saved["covariance"] is not None:
                m = self._saved(saved, "covariance", (self.n_params,) * 2)
                if not (m == m.T).all():
                    raise FastoptError("covariance of the state dict is not symmetric")
        counts = tuple(Whole(0)(name, saved[name]) for name in ("n_obs", "n_clipped", "n_passes"))
        innovations = at_least_0("innovations", saved["innovations"])
        unknown = flag("estimates_dispersion", saved["estimates_dispersion"])
        self._make(w, m)
        if isinstance(self._filter, Information) and root is not None:
            self._filter.root = root
        self._filter.counts = (counts[0], counts[1], innovations)
        self.n_passes, self._unknown = counts[2], unknown

    @staticmethod
    def _saved(saved: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Floats:
        array = np.array(_numbers(name, saved[name]), dtype=np.float64, order="F")
        if array.shape != shape or not np.isfinite(array).all():
            raise FastoptError(f"{name} of the state dict is not {shape} of finite numbers")
        return array

    def _options(self) -> dict[str, Any]:
        return {
            "n_params_or_w0": self.n_params,
            "m0": self.m0,
            "gamma": tuple(None if bound in (0.0, math.inf) else bound for bound in self.gamma),
            "glm_update": self.glm_update,
            "mode": self.mode,
            "block": self.block,
            "forgetting": self.forgetting,
            "max_trace": self.max_trace,
            "dispersion": "estimate" if self.estimates else None,
            "stop": self.stop,
            "max_bytes": self.max_bytes,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self._options(), "state": self.state_dict()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(**saved["options"])  # type: ignore[misc]
        self.load_state_dict(saved["state"])

    def copy(self) -> KalmanSGD:
        """Return a filter of its own that goes on as this one would."""
        other = KalmanSGD.__new__(KalmanSGD)
        other.__setstate__(self.__getstate__())
        return other

    __copy__ = copy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write options and state to a file that `load` and ``numpy.load`` read."""
        saved = self.__getstate__()
        arrays: dict[str, Any] = {}
        plain: dict[str, Any] = {}
        for part, entries in saved.items():
            for name, value in entries.items():
                key = f"{part}.{name}"
                (arrays if isinstance(value, np.ndarray) else plain)[key] = value
        with open(path, "wb") as file:
            np.savez(file, plain=np.array(json.dumps(plain)), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KalmanSGD:
        """Return the filter that `save` wrote."""
        saved: dict[str, dict[str, Any]] = {"options": {}, "state": {}}
        with np.load(path, allow_pickle=False) as file:
            entries = {name: file[name] for name in file.files if name != "plain"}
            entries |= json.loads(str(file["plain"]))
        for name, value in entries.items():
            part, _, key = name.partition(".")
            saved[part][key] = tuple(value) if isinstance(value, list) else value
        made = cls.__new__(cls)
        made.__setstate__(saved)
        return made

    def __repr__(self) -> str:
        options = {
            "n_params": self.n_params,
            "mode": self.mode,
            "glm_update": self.glm_update,
            "n_obs": self.n_obs,
        }
        return f"KalmanSGD({', '.join(f'{name}={value!r}' for name, value in options.items())})"


def _start(n_params_or_w0: object) -> Floats:
    """Return the coefficients to start from, an array of their own."""
    if isinstance(n_params_or_w0, (int, np.integer)):
        return np.zeros(Whole(1, MAX_PARAMS)("n_params", n_params_or_w0))
    w0 = _numbers("w0", n_params_or_w0).astype(np.float64)
    if w0.ndim != 1 or not 1 <= w0.size <= MAX_PARAMS or not np.isfinite(w0).all():
        raise FastoptError(
            f"w0 has shape {w0.shape}; a vector of 1 to {MAX_PARAMS} finite numbers is needed"
        )
    return w0


def _covariance(m0: object, p: int) -> Floats | None:
    """Return M to start from, or None where it waits for the data's scale."""
    if isinstance(m0, str):
        if m0 != "scale":
            raise FastoptError(f"m0 is {m0!r}; allowed: a number, a vector, a matrix or 'scale'")
        return None
    value = _numbers("m0", 100.0 if m0 is None else m0).astype(np.float64)
    if value.shape not in ((), (p,), (p, p)):
        raise FastoptError(f"m0 has shape {value.shape}; allowed: (), ({p},) or ({p}, {p})")
    m = np.zeros((p, p), order="F")
    if value.ndim < 2:
        if not (np.isfinite(value) & (value > 0)).all():
            raise FastoptError(f"m0 is {m0!r}; finite numbers above 0 are needed")
        np.fill_diagonal(m, value)
        return m
    if not np.isfinite(value).all() or not (value == value.T).all():
        raise FastoptError("m0 is not a symmetric matrix of finite numbers")
    try:
        np.linalg.cholesky(value)
    except np.linalg.LinAlgError:
        raise FastoptError("m0 is not positive definite") from None
    m[...] = value
    return m


def _gamma(gamma: object) -> tuple[float, float]:
    if not isinstance(gamma, (tuple, list)) or len(gamma) != 2:
        raise TypeError(f"gamma is {gamma!r}; a pair of numbers or None is needed")
    low = 0.0 if gamma[0] is None else positive("gamma[0]", gamma[0])
    high = math.inf if gamma[1] is None else positive("gamma[1]", gamma[1])
    if low > high:
        raise FastoptError(f"gamma is {gamma!r}; the lower bound comes first")
    return low, high


def _stop(stop: object) -> tuple[str, float] | None:
    if stop is None:
        return None
    if not isinstance(stop, (tuple, list)) or len(stop) != 2:
        raise TypeError(f"stop is {stop!r}; a pair is needed")
    return str(Choice(("trace",))("stop[0]", stop[0])), positive("stop[1]", stop[1])


def _shape(family: Family, alpha: float | None) -> float:
    if family.name == "negative_binomial":
        return 1.0 if alpha is None else at_least_0("alpha", alpha)
    if alpha is not None:
        raise FastoptError(f"alpha is {alpha!r}; the {family.name} family has none")
    return 0.0


def _block(p: int) -> int:
    """Return the rows a block that were fastest on two cores."""
    return 32 if p < 200 else 64 if p < 700 else 96 if p < 1500 else 192


def _numbers(name: str, value: object) -> npt.NDArray[Any]:
    """Return an array of real numbers."""
    refuse_masked(name, value)
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {array.dtype}; real numbers are needed")
    return array


def _matrix(X: object, p: int) -> npt.NDArray[Any]:
    rows = _numbers("X", X)
    if rows.ndim != 2 or rows.shape[1] != p:
        raise FastoptError(f"X has shape {rows.shape}; (n, {p}) is needed")
    return rows


def _vector(name: str, value: object, n: int) -> Floats:
    vector = _numbers(name, value)
    if vector.shape != (n,):
        raise FastoptError(f"{name} has shape {vector.shape}; ({n},) is needed")
    return np.require(vector, np.float64, ["C", "A"])


def _outputs(name: str, value: object, n: int) -> Floats:
    vector = _numbers(name, value)
    if vector.shape != (n,) and not (n == 1 and vector.shape == ()):
        raise FastoptError(f"{name} has shape {vector.shape}; ({n},) is needed, as jac has rows")
    return np.array(vector.reshape(n), dtype=np.float64)


def _parts(rows: npt.NDArray[Any]) -> Iterator[tuple[int, Floats]]:
    """Yield (first row, rows) as BLAS reads them: all at once where they lie so, else copies."""
    step, inner = rows.strides
    width = 8 * rows.shape[1]
    if rows.dtype == np.float64 and rows.dtype.isnative and rows.flags.aligned:
        apart = len(rows) < 2 or (step % 8 == 0 and width <= step < 2**33)
        if apart and (inner == 8 or rows.shape[1] == 1):
            yield 0, rows
            return
    for first in range(0, len(rows), COPIED_ROWS):
        yield first, np.array(rows[first : first + COPIED_ROWS], dtype=np.float64, order="C")
