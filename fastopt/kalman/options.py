"""The options of `KalmanSGD`: which values are allowed, separately and in combination."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import THREADS, Choice, Real, Whole
from fastopt._errors import FastoptError
from fastopt.kalman.covariance import Floats, Form, Wholes
from fastopt.kalman.covariance.choosing import MOST_DENSE, Kind, mode_and_dtype, usual_rows
from fastopt.kalman.input import numbers

TINY = float(np.finfo(np.float64).tiny)
MOST_PARAMS = 2**31 - 1  # BLAS counts in int32
NO_BOUNDS = (0.0, math.inf)  # of the variance: gamma=(None, None)

positive = Real(low=TINY)
keep_rate = Real(low=TINY, high=1.0)


@dataclass(frozen=True)
class Options:
    """The checked options of a filter; they never change."""

    kind: Kind  # the form of the covariance
    m0: Any  # as given, converted to float64
    gamma: tuple[float, float]
    glm_update: str
    block: int | str
    forgetting: float
    max_trace: float | None
    estimates: bool  # whether dispersion="estimate"
    stop: tuple[str, float] | None
    max_bytes: int | None
    n_threads: int | None

    @property
    def n_params(self) -> int:
        return self.kind.p

    @property
    def mode(self) -> str:
        return self.kind.mode

    @property
    def dtype(self) -> str:
        return self.kind.dtype

    @property
    def chooses_start(self) -> bool:
        """Whether the first rows determine the initial state: m0=None and a full covariance."""
        return self.m0 is None and self.kind.kept == "full" and self.mode != "qr"

    @property
    def is_bounded(self) -> bool:
        """Whether `gamma` bounds the variance."""
        return self.gamma != NO_BOUNDS

    @property
    def given_gamma(self) -> tuple[float | None, ...]:
        """`gamma` as an argument, with None for no bound."""
        return tuple(None if bound in NO_BOUNDS else bound for bound in self.gamma)

    def make_form(self, w: Floats, start: Floats) -> Form:
        """Return the form of the covariance, from coefficients and a diagonal or a matrix."""
        return self.kind.make(w, start, self.forgetting, self.max_trace, self.n_threads)

    def first_covariance(self, m0: object = None) -> Floats | None:
        """Return the diagonal or the matrix to start from, by default that of `self.m0`.

        None where there is none yet (``m0="scale"``) or none at all (mode "qr").
        """
        if self.mode == "qr":
            return None
        return _first_covariance(self.m0 if m0 is None else m0, self.n_params, self.kind.kept)

    def as_arguments(self) -> dict[str, Any]:
        """Return the arguments of `KalmanSGD` that give these options."""
        blocks = self.kind.blocks
        return {
            "n_params_or_w0": self.n_params,
            "m0": self.m0,
            "gamma": self.given_gamma,
            "glm_update": self.glm_update,
            "mode": self.mode,
            "covariance": self.kind.kept if blocks is None else blocks,
            "block": self.block,
            "forgetting": self.forgetting,
            "max_trace": self.max_trace,
            "dispersion": "estimate" if self.estimates else None,
            "stop": self.stop,
            "dtype": self.dtype,
            "max_bytes": self.max_bytes,
            "n_threads": self.n_threads,
        }


def checked_options(
    n_params: int,
    *,
    m0: object,
    gamma: object,
    glm_update: str,
    mode: str,
    covariance: object,
    block: int | str,
    forgetting: float,
    max_trace: float | None,
    dispersion: str | None,
    stop: object,
    dtype: str,
    max_bytes: int | None,
    n_threads: int | None,
) -> Options:
    """Return the options of `KalmanSGD` as an `Options`, or raise an error that names one."""
    blocks = _blocks(covariance, n_params)
    kept = covariance if isinstance(covariance, str) else "blocks"
    m0 = _numeric_m0(m0, mode)
    mode, dtype = mode_and_dtype(mode, m0, kept, block, dtype)
    checked_block = block if block == "auto" else Whole(1, 4096)("block", block)
    usual = usual_rows(mode, n_params)
    rows = usual if checked_block == "auto" else int(checked_block)
    options = Options(
        kind=Kind(n_params, mode, dtype, kept, blocks, rows),
        m0=m0,
        gamma=_variance_bounds(gamma),
        glm_update=str(Choice(("implicit", "explicit"))("glm_update", glm_update)),
        block=checked_block,
        forgetting=keep_rate("forgetting", forgetting),
        max_trace=None if max_trace is None else positive("max_trace", max_trace),
        estimates=Choice((None, "estimate"))("dispersion", dispersion) is not None,
        stop=_stop_condition(stop),
        max_bytes=None if max_bytes is None else Whole(0)("max_bytes", max_bytes),
        n_threads=None if n_threads is None else THREADS("n_threads", n_threads),
    )
    _require_compatible(options)
    options.kind.require_bytes(options.max_bytes)
    return options


def _require_compatible(options: Options) -> None:
    """Raise if two options exclude each other."""
    if options.is_bounded and options.glm_update == "implicit":
        raise FastoptError(f"gamma is {options.given_gamma}, which needs glm_update='explicit'")
    if options.mode == "qr" and (options.forgetting < 1.0 or options.glm_update == "explicit"):
        raise FastoptError(
            f"forgetting is {options.forgetting} and glm_update is {options.glm_update!r}; "
            "mode 'qr' allows forgetting=1.0 and glm_update='implicit' only"
        )
    if options.stop and options.forgetting < 1.0:
        raise FastoptError(f"stop is {options.stop!r}, which needs forgetting=1.0")


def initial_coefficients(n_params_or_w0: object) -> Floats:
    """Return the coefficients to start from, as a new array."""
    if isinstance(n_params_or_w0, (int, np.integer)):
        return np.zeros(Whole(1, MOST_PARAMS)("n_params", n_params_or_w0))
    w0 = numbers("w0", n_params_or_w0, "fiu").astype(np.float64)
    if w0.ndim != 1 or not 1 <= w0.size <= MOST_PARAMS or not np.isfinite(w0).all():
        raise FastoptError(
            f"w0 has shape {w0.shape}; a vector of 1 to {MOST_PARAMS} finite numbers is needed"
        )
    return w0


def _blocks(covariance: object, p: int) -> list[Wholes] | None:
    """Return the indices of each block, or None for "full" and "diag"."""
    if isinstance(covariance, str):
        Choice(("full", "diag"))("covariance", covariance)
        return None
    if not isinstance(covariance, (list, tuple)):
        raise TypeError(
            f"covariance is {covariance!r}; 'full', 'diag' or a list of index arrays is needed"
        )
    found = []
    for b, block in enumerate(covariance):
        own = numbers(f"covariance[{b}]", block)
        if own.ndim != 1 or own.dtype.kind not in "iu" or not 1 <= own.size <= MOST_DENSE:
            raise FastoptError(
                f"covariance[{b}] has shape {own.shape} and dtype {own.dtype}; "
                f"a vector of 1 to {MOST_DENSE} whole numbers is needed"
            )
        if own.min() < 0 or own.max() >= p:
            bad = own[(own < 0) | (own >= p)][0]
            raise FastoptError(f"covariance[{b}] has {bad}; allowed: 0 to {p - 1}")
        found.append(own.astype(np.int64))
    times = np.bincount(np.concatenate([*found, np.empty(0, np.int64)]), minlength=p)
    if (times != 1).any():
        bad = int(np.argmax(times != 1))
        raise FastoptError(
            f"covariance has coefficient {bad} in {times[bad]} blocks; "
            "each coefficient must be in exactly one"
        )
    return found


def _numeric_m0(m0: object, mode: str) -> object:
    """Return m0 as a float or a float64 array; None and strings unchanged."""
    if m0 is None and mode == "qr":
        return math.inf
    if m0 is None or isinstance(m0, str):
        return m0
    start = numbers("m0", m0, "fiu").astype(np.float64)
    return start if start.ndim else float(start)


def _first_covariance(m0: object, p: int, kept: str) -> Floats | None:
    """Return a diagonal or a matrix to start from, or None for "scale".

    A matrix is refused unless `kept` is "full".
    """
    if isinstance(m0, str):
        if m0 != "scale":
            raise FastoptError(f"m0 is {m0!r}; allowed: a number, a vector, a matrix or 'scale'")
        return None
    value = numbers("m0", 100.0 if m0 is None else m0, "fiu").astype(np.float64)
    if value.shape not in ((), (p,), (p, p)):
        raise FastoptError(f"m0 has shape {value.shape}; allowed: (), ({p},) or ({p}, {p})")
    if value.ndim < 2:
        if not (np.isfinite(value) & (value > 0)).all():
            raise FastoptError(f"m0 is {m0!r}; finite numbers above 0 are needed")
        return np.full(p, value)
    if not np.isfinite(value).all() or not (value == value.T).all():
        raise FastoptError("m0 is not a symmetric matrix of finite numbers")
    try:
        np.linalg.cholesky(value)
    except np.linalg.LinAlgError:
        raise FastoptError("m0 is not positive definite") from None
    if kept != "full":
        raise FastoptError(
            f"m0 is a matrix; covariance {kept!r} needs a number or a vector, because it does "
            "not keep covariances between blocks"
        )
    return value


def _variance_bounds(gamma: object) -> tuple[float, float]:
    if not isinstance(gamma, (tuple, list)) or len(gamma) != 2:
        raise TypeError(f"gamma is {gamma!r}; a pair of numbers or None is needed")
    low = 0.0 if gamma[0] is None else positive("gamma[0]", gamma[0])
    high = math.inf if gamma[1] is None else positive("gamma[1]", gamma[1])
    if low > high:
        raise FastoptError(f"gamma is {gamma!r}; the lower bound comes first")
    return low, high


def _stop_condition(stop: object) -> tuple[str, float] | None:
    if stop is None:
        return None
    if not isinstance(stop, (tuple, list)) or len(stop) != 2:
        raise TypeError(f"stop is {stop!r}; a pair is needed")
    return str(Choice(("se", "trace"))("stop[0]", stop[0])), positive("stop[1]", stop[1])
