"""Families of observations: their links, the range of an observation, their dispersion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._errors import FastoptError

__all__ = ["FAMILIES", "Family", "family_of"]


@dataclass(frozen=True)
class Family:
    """The properties of a family.

    Attributes
    ----------
    name : str
    links : tuple of str
        The links that the family allows, the default first.
    low, high : float
        The range of an observation.
    open_low : bool
        Whether ``low`` itself is excluded.
    known_dispersion : bool
        Whether the dispersion is 1 and not estimated.
    has_filter : bool
        Whether `KalmanSGD` has the family.

    Examples
    --------
    >>> family = family_of("binomial")
    >>> family.links, family.low, family.high
    (('logit', 'probit', 'cloglog'), 0.0, 1.0)
    """

    name: str
    links: tuple[str, ...]
    low: float = -np.inf
    high: float = np.inf
    open_low: bool = False
    known_dispersion: bool = False
    has_filter: bool = True

    def link(self, link: object) -> str:
        """Return the name of the link; the default one for None.

        Parameters
        ----------
        link : str or None

        Returns
        -------
        str
            One of `links`; the first for None.

        Raises
        ------
        FastoptError
            The family has no such link.
        """
        if link is None:
            return self.links[0]
        if link not in self.links or not isinstance(link, str):
            allowed = ", ".join(map(repr, self.links))
            raise FastoptError(f"link is {link!r} for the {self.name} family; allowed: {allowed}")
        return link

    def require_domain(self, y: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Raise an error that names the first observation outside the range of the family.

        Parameters
        ----------
        y : array of shape (n,)

        Raises
        ------
        FastoptError
            An observation is outside the range, or not finite.
        """
        below = y <= self.low if self.open_low else y < self.low
        bad = np.flatnonzero(~np.isfinite(y) | below | (y > self.high))
        if bad.size:
            sign = "<" if self.open_low else "<="
            high = "" if self.high == np.inf else f" <= {self.high:g}"
            domain = "any finite number" if self.low == -np.inf else f"{self.low:g} {sign} y{high}"
            hint = "; for counts of successes, y is count / trials and the weight is trials"
            raise FastoptError(
                f"y[{bad[0]}] is {y[bad[0]]}; the {self.name} family allows {domain}"
                f"{hint if self.high == 1.0 else ''}"
            )


FAMILIES = {
    family.name: family
    for family in (
        Family("gaussian", ("identity",)),
        Family("binomial", ("logit", "probit", "cloglog"), 0.0, 1.0, known_dispersion=True),
        Family("poisson", ("log",), 0.0, known_dispersion=True),
        Family("gamma", ("log", "inverse"), 0.0, open_low=True),
        Family("negative_binomial", ("log",), 0.0, known_dispersion=True),
        Family(
            "inverse_gaussian",
            ("log", "inverse_squared"),
            0.0,
            open_low=True,
            has_filter=False,
        ),
        Family("tweedie", ("log",), 0.0, has_filter=False),
    )
}


# Other names that are accepted.
ALIASES = {"bernoulli": "binomial", "logistic": "binomial", "normal": "gaussian"}


def family_of(name: object) -> Family:
    """Return the family with this name.

    Parameters
    ----------
    name : str
        "gaussian", "binomial", "poisson", "gamma", "negative_binomial", "inverse_gaussian" or
        "tweedie". Or "normal" for "gaussian", "bernoulli" or "logistic" for "binomial".

    Returns
    -------
    Family

    Raises
    ------
    FastoptError
        Any other value.

    Examples
    --------
    >>> family_of("gamma").link(None)
    'log'
    """
    if not isinstance(name, str) or ALIASES.get(name, name) not in FAMILIES:
        allowed = ", ".join(map(repr, [*FAMILIES, *ALIASES]))
        raise FastoptError(f"family is {name!r}; allowed: {allowed}")
    return FAMILIES[ALIASES.get(name, name)]
