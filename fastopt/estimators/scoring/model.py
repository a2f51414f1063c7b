"""A family with its link and parameter: means, links and the terms of a likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logit, ndtri  # type: ignore[import-untyped]

from fastopt._checks import Real, at_least_0
from fastopt._errors import FastoptError
from fastopt.estimators.sources.block import contiguous
from fastopt.families import Family, family_of
from fastopt.kalman._kalman import observe_rows

__all__ = ["Model", "Observed", "model_of"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

LINKS = {
    "identity": lambda mean: mean,
    "logit": logit,
    "probit": ndtri,
    "cloglog": lambda mean: np.log(-np.log1p(-mean)),
    "log": np.log,
    "inverse": lambda mean: 1.0 / mean,
    "inverse_squared": lambda mean: 1.0 / (mean * mean),
}


PARAMETERS = {"overdispersion": "negative_binomial", "power": "tweedie"}


class Observed(NamedTuple):
    """What the likelihood needs of each row at its linear predictor z.

    ``score`` is the derivative of the log-likelihood by z, and ``weight`` the expectation of minus
    its second derivative, both for a dispersion of 1; ``deviance`` is the unit deviance.
    """

    mean: Floats
    variance: Floats
    score: Floats
    weight: Floats
    deviance: Floats


@dataclass(frozen=True)
class Model:
    """A family, its link, its parameter, and whether there is an intercept.

    Attributes
    ----------
    family, link : str
        Names as in `fastopt.families`.
    shape : float
        alpha of the negative binomial, power of the Tweedie family; 0 for all others.
    fit_intercept : bool
    n_classes : int
        Of a multinomial model; 0 for all others.
    symmetric : bool
        Whether a multinomial model has coefficients for each class, and not for all but the first.

    Examples
    --------
    >>> model = model_of("poisson")
    >>> model.link, float(model.mean(0.0))
    ('log', 1.0)
    """

    family: str
    link: str
    shape: float = 0.0
    fit_intercept: bool = True
    n_classes: int = 0
    symmetric: bool = False

    @property
    def n_equations(self) -> int:
        """The number of linear predictors of a row."""
        return max(1, self.n_classes - (not self.symmetric))

    @property
    def kind(self) -> Family:
        """The properties of the family."""
        if self.n_classes:
            return Family("multinomial", ("logit",), 0.0, self.n_classes - 1, known_dispersion=True)
        return family_of(self.family)

    def observe(self, y: Floats, z: Floats) -> Observed:
        """Return the terms of each row's likelihood.

        Parameters
        ----------
        y, z : array of shape (n,)
            Observations and linear predictors.

        Returns
        -------
        Observed
        """
        return Observed(
            *observe_rows((self.family, self.link), self.shape, contiguous(y), contiguous(z))
        )

    def mean(self, z: Any) -> Floats:
        """Return the means at linear predictors.

        Parameters
        ----------
        z : float or array

        Returns
        -------
        array of the same shape
        """
        flat = np.ascontiguousarray(z, dtype=float).ravel()
        return self.observe(np.ones_like(flat), flat).mean.reshape(np.shape(z))

    def predictor(self, mean: Any) -> Any:
        """Return the linear predictor of a mean: the link function.

        Parameters
        ----------
        mean : float or array

        Returns
        -------
        float or array
        """
        with np.errstate(all="ignore"):
            return LINKS[self.link](mean)


def model_of(
    family: object,
    link: object = None,
    overdispersion: object = None,
    power: object = None,
    fit_intercept: bool = True,
) -> Model:
    """Return the model with these names, or raise an error that names one.

    Parameters
    ----------
    family : str
    link : str, optional
    overdispersion : float, optional
        Of the negative binomial: the variance is m + overdispersion m^2.  Default 1.  For
        other families it must be None, as must `power`.
    power : float, optional
        Of the Tweedie family: the variance is m^power, 1 < power < 2.  Default 1.5.
    fit_intercept : bool

    Returns
    -------
    Model

    Raises
    ------
    FastoptError
        An unknown name, or a parameter outside its range or of another family.
    """
    kind = family_of(family)
    shape = 0.0
    for name, value in (("overdispersion", overdispersion), ("power", power)):
        if value is not None and kind.name != PARAMETERS[name]:
            raise FastoptError(
                f"{name} is {value!r} and family is {family!r}; only the family "
                f"{PARAMETERS[name]!r} has {name}, for others it must be None"
            )
    if kind.name == "negative_binomial":
        shape = 1.0 if overdispersion is None else at_least_0("overdispersion", overdispersion)
    elif kind.name == "tweedie":
        shape = 1.5 if power is None else Real()("power", power)
        if not 1.0 < shape < 2.0:
            raise FastoptError(
                f"power is {power!r}; allowed: 1 < power < 2 (1 is poisson, 2 gamma, 3 "
                "inverse_gaussian)"
            )
    return Model(kind.name, kind.link(link), shape, fit_intercept)
