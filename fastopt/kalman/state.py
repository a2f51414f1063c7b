"""The state of a filter: everything that absorbing data changes, also as a state dict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastopt._checks import Whole, at_least_0, flag
from fastopt._errors import FastoptError
from fastopt.families import family_of
from fastopt.kalman.covariance import FAILURES, Floats, Form
from fastopt.kalman.covariance.qr import Information
from fastopt.kalman.input import numbers
from fastopt.kalman.options import Options
from fastopt.kalman.stopping import Stop

MOST_ROWS = 2**63 - 1  # n_obs is an int64


class History(NamedTuple):
    """What is recorded about the rows absorbed so far."""

    n_passes: int
    estimates_dispersion: bool  # else the dispersion is 1
    is_linear: bool  # all were Gaussian rows, absorbed without forgetting
    separable: bool  # the coefficients have predicted the label of every row
    family: str = ""  # of the last rows; "" before the first and after other models
    link: str = ""
    alpha: float = 0.0

    def continues(self, family: object, link: object, alpha: object) -> bool:
        """Return whether these arguments of `partial_fit` are those of the last rows, or None."""
        return (
            (family is None or family == self.family)
            and (link is None or link == self.link)
            and (alpha is None or alpha == self.alpha)
        )


class State:
    """Coefficients with their covariance, where they started, and the history of the rows."""

    form: Form
    origin: tuple[Floats, Floats]  # the initial coefficients and covariance (or its diagonal)
    waits: bool  # whether the first rows will determine the covariance (m0="scale")
    chooses: bool  # whether the first rows of `partial_fit` replace the covariance (m0=None)
    history: History
    stop: Stop | None
    few: tuple[Any, ...] | None  # what `rows.absorb_few_rows` has prepared for ...
    few_of: History | None  # ... this history; None for nothing yet

    def __init__(self, options: Options, w: Floats) -> None:
        self.options = options
        self.few = self.few_of = None
        self.begin(w, options.first_covariance(), options.chooses_start)

    def begin(self, w: Floats, start: Floats | None, chooses: bool = False) -> None:
        """Discard all data and start from coefficients and a diagonal or a matrix.

        ``start=None`` is for mode "qr", which needs no initial covariance, and for ``m0="scale"``,
        which computes it from the first rows. With `chooses`, the first rows of `partial_fit`
        replace it. An invalid start raises and changes nothing.
        """
        options = self.options
        origin = w.copy(), np.ones(options.n_params) if start is None else start
        self.form = options.make_form(*origin)
        self.origin = origin
        self.waits = start is None and options.mode != "qr"
        self.chooses = chooses
        self.history = History(0, options.estimates, options.forgetting == 1.0, True)
        self.stop = None if options.stop is None else Stop(*options.stop, options.n_params)

    @property
    def is_open(self) -> bool:
        """Whether the first rows of `partial_fit` will determine the initial state."""
        return self.waits or (self.chooses and self.n_obs == 0)

    @property
    def n_obs(self) -> int:
        return self.form.counts[0]

    @property
    def dispersion(self) -> float:
        """The estimated or known dispersion; NaN while a pass has at most n_params rows.

        `n_obs` and the innovations are sums over all passes.
        """
        if not self.history.estimates_dispersion:
            return 1.0
        n, _, innovations = self.form.counts
        free = n - self.options.n_params * max(1, self.history.n_passes)
        return float(innovations / free) if free > 0 else math.nan

    @property
    def root_dispersion(self) -> float:
        """The square root of the dispersion; it may be finite where the dispersion overflows."""
        if self.history.estimates_dispersion and isinstance(self.form, Information):
            free = self.n_obs - self.options.n_params * max(1, self.history.n_passes)
            return abs(float(self.form.root[-1, -1])) / math.sqrt(free) if free > 0 else math.nan
        return math.sqrt(self.dispersion)

    def current_coefficients(self) -> Floats:
        """Return the coefficients, or the initial ones while the rows do not determine them."""
        try:
            return self.form.coef()
        except FastoptError:
            return self.origin[0].copy()

    def kept(self) -> dict[str, Any]:
        """Return what `restore_kept` needs to undo `begin` and changes of the history."""
        return dict(self.__dict__)

    def restore_kept(self, kept: Mapping[str, Any]) -> None:
        """Undo `begin` and changes of the history since `kept`."""
        self.__dict__.update(kept)

    def require_covariance(self) -> None:
        """Raise if there is no covariance yet."""
        if self.waits:
            raise FastoptError("m0='scale' has no covariance before the first partial_fit")

    def require_done(self, failure: str) -> None:
        """Raise the error for the name of a failure that changed nothing; "" means success."""
        if failure:
            raise FastoptError(f"{FAILURES[failure]}; nothing was done, n_obs is {self.n_obs}")

    def check_stop(self, x: Floats, y: Floats, has_identity_link: bool) -> None:
        """Pass rows that have been absorbed to the stop condition, and evaluate it."""
        if self.stop is not None and self.history.n_passes == 1:
            self.stop.add_rows(x, y)
            self.stop.evaluate(self.form, self.dispersion, has_identity_link)

    def as_dict(self) -> dict[str, Any]:
        """Return the state as numbers and copies of arrays."""
        n_obs, n_clipped, innovations = self.form.counts
        return {
            **self.form.arrays(),
            "n_obs": n_obs,
            "n_clipped": n_clipped,
            "innovations": innovations,
            "n_passes": self.history.n_passes,
            "estimates_dispersion": self.history.estimates_dispersion,
            "waits": self.waits,
            "chooses": self.chooses,
            "is_linear": self.history.is_linear,
            "separable": self.history.separable,
            "family": self.history.family,
            "link": self.history.link,
            "alpha": self.history.alpha,
            "origin_coef": self.origin[0].copy(),
            "origin_covariance": self.origin[1].copy(),
            **({} if self.stop is None else self.stop.state()),
        }

    def load(self, state_dict: object) -> None:
        """Replace everything by the result of `as_dict`; after an error nothing has changed."""
        loaded = State(self.options, np.zeros(self.options.n_params))
        loaded.restore(state_dict)
        self.restore_kept(loaded.kept())  # one call: KeyboardInterrupt cannot leave a mixture

    def restore(self, state_dict: object) -> None:
        """Restore the result of `as_dict` for the same options.

        Call this on a new `State` only, because an error may leave it incomplete.
        """
        saved = _checked(state_dict, self.as_dict())
        self.form.restore(saved)
        self.form.counts = saved["n_obs"], saved["n_clipped"], saved["innovations"]
        self.history = History(**{name: saved[name] for name in History._fields})
        self.waits, self.chooses = saved["waits"], saved["chooses"]
        self.origin = saved["origin_coef"], saved["origin_covariance"]
        if self.stop is not None:
            self.stop.restore(saved)


def _checked(state_dict: object, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked copies of a state dict's values; `own` has the required keys and shapes."""
    if not isinstance(state_dict, Mapping) or set(state_dict) != set(own):
        found = list(state_dict) if isinstance(state_dict, Mapping) else state_dict
        raise FastoptError(f"the state dict has {found!r}; {list(own)} are needed")
    shapes = {name: value.shape for name, value in own.items() if isinstance(value, np.ndarray)}
    if np.ndim(state_dict["origin_covariance"]) == 2:  # a diagonal or a matrix
        shapes["origin_covariance"] = shapes["origin_coef"] * 2
    checked: dict[str, Any] = {
        name: _array(name, state_dict[name], shape) for name, shape in shapes.items()
    }
    for name in ("n_obs", "n_clipped", "n_passes"):
        checked[name] = Whole(0, MOST_ROWS)(name, state_dict[name])
    checked["innovations"] = at_least_0("innovations", state_dict["innovations"])
    for name in ("estimates_dispersion", "waits", "chooses", "is_linear", "separable"):
        checked[name] = flag(name, state_dict[name])
    checked["family"], checked["link"] = state_dict["family"], state_dict["link"]
    if (checked["family"], checked["link"]) != ("", ""):
        kind = family_of(checked["family"])
        checked["family"], checked["link"] = kind.name, kind.link(checked["link"])
    checked["alpha"] = at_least_0("alpha", state_dict["alpha"])
    checked["stop_reached_at"] = state_dict.get("stop_reached_at")
    if checked["stop_reached_at"] is not None:
        Whole(0)("stop_reached_at", checked["stop_reached_at"])
    return checked


def _array(name: str, value: object, shape: tuple[int, ...]) -> Floats:
    array = np.array(numbers(name, value), dtype=np.float64, order="F")
    if array.shape != shape or not np.isfinite(array).all():
        raise FastoptError(
            f"{name} of the state dict has shape {array.shape}; an array of finite numbers of "
            f"shape {shape} is needed"
        )
    return array
