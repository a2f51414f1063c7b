"""What a filter reports: its options, coefficients, covariance and counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastopt._checks import flag
from fastopt._errors import FastoptError
from fastopt.kalman.covariance import FAILURES, Floats
from fastopt.kalman.exclusive import OneThread, exclusive
from fastopt.kalman.state import State


def _option(name: str, doc: str) -> Any:
    """Return a read-only property for one of the options."""
    return property(lambda self: getattr(self._state.options, name), doc=doc)


class Results:
    """The properties of `KalmanSGD`."""

    _one_thread: OneThread
    _state: State

    n_params = _option("n_params", "The number of coefficients.")
    m0 = _option("m0", "The initial covariance, as given.")
    gamma = _option("gamma", "The bounds of the variance; (0.0, inf) if there are none.")
    glm_update = _option("glm_update", "Where the mean is taken: 'implicit' or 'explicit'.")
    mode = _option("mode", "The form of a full covariance: 'plain', 'ud' or 'qr'; else 'auto'.")
    block = _option("block", "The number of rows absorbed together, as given.")
    forgetting = _option("forgetting", "The number by which M is divided before each row.")
    max_trace = _option("max_trace", "M is not divided at this trace or above; None is no limit.")
    estimates = _option("estimates", "Whether the dispersion is always estimated.")
    stop = _option("stop", "The condition of `converged`, as given.")
    dtype = _option("dtype", "The precision of the covariance.")
    max_bytes = _option("max_bytes", "The limit of memory, or None.")
    n_threads = _option("n_threads", "The number of threads, or None for the default.")

    @property
    @exclusive
    def coef(self) -> Floats:
        """The coefficients."""
        return self._state.form.coef()

    @property
    def n_obs(self) -> int:
        """The number of rows or outputs absorbed."""
        return self._state.n_obs

    @property
    def n_passes(self) -> int:
        """The number of passes over the data; set it if `update` absorbed several passes."""
        return self._state.history.n_passes

    @n_passes.setter
    def n_passes(self, value: int) -> None:
        self._state.history = self._state.history._replace(n_passes=value)

    @property
    def n_clipped(self) -> int:
        """The number of rows or outputs whose variance was outside the bounds `gamma`."""
        return self._state.form.counts[1]

    @property
    @exclusive
    def trace(self) -> float:
        """The trace of M."""
        self._state.require_covariance()
        return self._state.form.trace()

    @property
    @exclusive
    def dispersion(self) -> float:
        """The ratio of an observation's variance to V(m); 1 where the family fixes it.

        Otherwise the sum of (y - m)^2 / s over all innovations, divided by n_obs - p n_passes; NaN
        unless this divisor is positive. After `fit`, Pearson's statistic divided by n_obs - p.
        Implicit updates take each innovation at the mean after the update, (y - m)^2 (1 + c) / V
        with c = x'Mx h^2 / V, which is the same number for the Gaussian family.
        """
        return self._state.dispersion

    @property
    def converged_at(self) -> int | None:
        """The value of `n_obs` when `stop` was first met; None before."""
        return None if self._state.stop is None else self._state.stop.reached_at

    @property
    def converged(self) -> bool:
        """Whether `stop` has been met; the caller decides whether to stop."""
        return self.converged_at is not None

    @exclusive
    def covariance(self, scaled: bool = True) -> Floats:
        """Return M, times the dispersion and the number of passes if ``scaled``.

        With "diag" or blocks, covariances that are not stored are 0. `stderr` needs the diagonal
        only, and less memory.

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
            `scaled` is not a bool, the matrix needs more than `max_bytes`, or there is none yet
            because no rows were absorbed (``m0="scale"``).
        """
        self._state.require_covariance()
        needed = 8 * self.n_params**2
        if self.max_bytes is not None and needed > self.max_bytes:
            raise FastoptError(
                f"the matrix takes {needed} bytes and max_bytes is {self.max_bytes}; stderr and "
                "state_dict() need less"
            )
        full = self._state.form.covariance()
        if not flag("scaled", scaled):
            return full
        return full * (self.dispersion * max(1, self.n_passes))

    @property
    @exclusive
    def stderr(self) -> Floats:
        """The standard errors of the coefficients.

        Raises
        ------
        FastoptError
            A variance is negative: the covariance is no longer positive definite, by rounding.
        """
        self._state.require_covariance()
        variances = self._state.form.variances()
        if (variances < 0).any():
            raise FastoptError(FAILURES["indefinite"])
        return np.sqrt(variances) * (self._state.root_dispersion * math.sqrt(max(1, self.n_passes)))

    def __repr__(self) -> str:
        options = {
            "n_params": self.n_params,
            "mode": self.mode,
            "covariance": self._state.options.kind.kept,
            "glm_update": self.glm_update,
            "n_obs": self.n_obs,
        }
        return f"KalmanSGD({', '.join(f'{name}={value!r}' for name, value in options.items())})"
