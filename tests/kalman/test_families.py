"""Families: derivatives of log-likelihoods, the implicit update's equation, valid ranges."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from fastopt._errors import FastoptError
from fastopt.families import family_of
from fastopt.kalman._kalman import FAMILIES, deviance, implicit, observe

ALPHA = 0.7
POWER = 1.6


def normal_cdf(z):
    return 0.5 * math.erfc(-z / math.sqrt(2))


def binary(y, m):
    return y * math.log(m) + (1 - y) * math.log1p(-m)


# Quasi-log-likelihoods, as functions of y and the linear predictor.
LIKELIHOOD = {
    ("gaussian", "identity"): lambda y, z: -((y - z) ** 2) / 2,
    ("binomial", "logit"): lambda y, z: binary(y, 1 / (1 + math.exp(-z))),
    ("binomial", "probit"): lambda y, z: binary(y, normal_cdf(z)),
    ("binomial", "cloglog"): lambda y, z: binary(y, -math.expm1(-math.exp(z))),
    ("poisson", "log"): lambda y, z: y * z - math.exp(z),
    ("gamma", "log"): lambda y, z: -y / math.exp(z) - z,
    ("gamma", "inverse"): lambda y, z: -y * z + math.log(z),
    ("negative_binomial", "log"): lambda y, z: (
        y * z - (y + 1 / ALPHA) * math.log1p(ALPHA * math.exp(z))
    ),
    ("inverse_gaussian", "log"): lambda y, z: -y / (2 * math.exp(2 * z)) + 1 / math.exp(z),
    ("inverse_gaussian", "inverse_squared"): lambda y, z: -y * z / 2 + math.sqrt(z),
    ("tweedie", "log"): lambda y, z: (
        y * math.exp((1 - POWER) * z) / (1 - POWER) - math.exp((2 - POWER) * z) / (2 - POWER)
    ),
}
VALUES = {
    "gaussian": (-1.5, 2.0),
    "binomial": (0.0, 0.25, 1.0),
    "poisson": (0.0, 1.0, 7.0),
    "gamma": (0.2, 3.0),
    "negative_binomial": (0.0, 1.0, 7.0),
    "inverse_gaussian": (0.2, 3.0),
    "tweedie": (0.0, 0.2, 3.0),
}
CASES = [(family, y) for family in FAMILIES for y in VALUES[family[0]]]
FILTERED = [(family, y) for family, y in CASES if family_of(family[0]).has_filter]


def shape_of(family):
    return POWER if family[0] == "tweedie" else ALPHA


def points(family):
    return (0.3, 1.0, 2.5) if "inverse" in family[1] else (-2.5, -0.4, 0.0, 0.7, 1.6)


@pytest.mark.parametrize(("family", "y"), CASES)
def test_scores_are_derivatives_of_the_log_likelihood(family, y):
    likelihood, shape = LIKELIHOOD[family], shape_of(family)
    for z in points(family):
        m, h, v, score, weight, fall = observe(family, shape, y, z)
        d = 1e-5
        slope = (likelihood(y, z + d) - likelihood(y, z - d)) / (2 * d)
        assert score == pytest.approx(slope, rel=1e-7, abs=1e-8)
        assert score == pytest.approx((y - m) * h / v, rel=1e-12, abs=1e-12)
        assert weight == pytest.approx(h * h / v, rel=1e-12)
        above, below = (observe(family, shape, y, z + s)[3] for s in (d, -d))
        assert fall == pytest.approx((below - above) / (2 * d), rel=1e-6, abs=1e-8)
        above, below = (observe(family, shape, y, z + s)[0] for s in (d, -d))
        assert h == pytest.approx((above - below) / (2 * d), rel=1e-7)


LINK = {
    "identity": lambda m: m,
    "logit": lambda m: math.log(m / (1 - m)),
    "probit": NormalDist().inv_cdf,
    "cloglog": lambda m: math.log(-math.log1p(-m)),
    "log": math.log,
    "inverse": lambda m: 1 / m,
    "inverse_squared": lambda m: 1 / m**2,
}
# The largest log-likelihood of an observation at the end of the range, reached by no z.
AT_THE_END = {"binomial": 0.0, "poisson": 0.0, "negative_binomial": 0.0, "tweedie": 0.0}


@pytest.mark.parametrize(("family", "y"), CASES)
def test_deviance_is_twice_the_loss_of_log_likelihood(family, y):
    likelihood = LIKELIHOOD[family]
    is_end = y == 0 or (y == 1 and family[0] == "binomial")
    most = AT_THE_END[family[0]] if is_end else likelihood(y, LINK[family[1]](y))
    for z in points(family):
        expected = 2 * (most - likelihood(y, z))
        own = deviance(family, shape_of(family), y, z)
        assert own == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_observed_information_at_the_mean_is_the_expected(family):
    for z in points(family):
        mean = observe(family, shape_of(family), 1.0, z)[0]
        weight, fall = observe(family, shape_of(family), mean, z)[4:]
        assert fall == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("y", [0.0, 0.3, 4.0])
def test_a_negative_binomial_without_dispersion_is_poisson(y):
    for z in points(("poisson", "log")):
        for of in (observe, deviance):
            assert of(("negative_binomial", "log"), 0.0, y, z) == of(("poisson", "log"), 0.0, y, z)


@pytest.mark.parametrize("z", [-701.0, -700.00003, -700.0, 699.0, 700.0, 700.00003, 701.0, np.inf])
def test_the_mean_is_that_of_a_clipped_predictor(z):
    clipped = max(-700.0, min(z, 700.0))
    assert observe(("poisson", "log"), 0.0, 1.0, z)[0] == pytest.approx(math.exp(clipped), 1e-12, 0)


@pytest.mark.parametrize(("family", "y"), FILTERED)
@pytest.mark.parametrize("prior", [1.0, 0.3])
def test_the_implicit_equation_holds(family, y, prior):
    """z - eta - g score(z) changes its sign at the root, up to rounding."""
    etas = (0.3, 2.0, 60.0) if family[1] == "inverse" else (-900.0, -60.0, -3.0, 0.0, 2.0, 60.0)
    for eta in (*etas, 900.0):
        for g in (1e-8, 1e-3, 0.1, 0.3, 1.0, 50.0, 1e4, 1e9, 1e17, 1e25):
            z, at = implicit(family, ALPHA, y, prior, eta, g)
            assert math.isfinite(z)
            wide = 1e-14 * (abs(z) + abs(eta)) + 1e-300
            if family[1] == "inverse":
                wide = 1e-14 * z
            low, high = (
                t - eta - g * prior * observe(family, ALPHA, y, t)[3] for t in (z - wide, z + wide)
            )
            assert low <= 0 <= high, (eta, g, z)
            there = observe(family, ALPHA, y, z)
            assert at == pytest.approx(there, rel=1e-13, abs=1e-15 * (y + there[0]))


@pytest.mark.parametrize("family", FAMILIES)
def test_implicit_update_without_information_changes_nothing(family):
    assert implicit(family, ALPHA, 1.0, 1.0, 0.5, 0.0)[0] == 0.5
    assert implicit(family, ALPHA, 1.0, 0.0, 0.5, 3.0)[0] == 0.5


def test_saturated_predictors_stay_finite():
    for family, y in FILTERED:
        for z in (-1e4, -800.0, -40.0, 40.0, 800.0, 1e4):
            if family[1] == "inverse" and z < 0:
                continue
            score, weight = observe(family, ALPHA, y, z)[3:5]
            assert math.isfinite(score), (family, y, z)
            assert math.isfinite(weight), (family, y, z)


def test_a_saturated_logit_is_accurate():
    score, weight = observe(("binomial", "logit"), 0.0, 1.0, 50.0)[3:5]
    assert score == pytest.approx(math.exp(-50), rel=1e-14)
    assert weight == pytest.approx(math.exp(-50), rel=1e-14)


def test_the_tail_of_the_probit_is_accurate():
    """phi/Phi at -40 by its asymptotic series x + 1/x - 2/x^3 + 10/x^5."""
    score = observe(("binomial", "probit"), 0.0, 1.0, -40.0)[3]
    assert score == pytest.approx(40 + 1 / 40 - 2 / 40**3 + 10 / 40**5, rel=1e-10)


@pytest.mark.parametrize("family", [("gamma", "inverse"), ("inverse_gaussian", "inverse_squared")])
@pytest.mark.parametrize("z", [-1.0, -0.0, 0.0])
def test_an_inverse_link_needs_a_positive_predictor(family, z):
    assert math.isnan(observe(family, 0.0, 1.0, z)[0])


@pytest.mark.parametrize(
    ("family", "bad"),
    [("binomial", 1.01), ("binomial", -0.1), ("poisson", -1.0), ("gamma", 0.0),
     ("negative_binomial", -1.0), ("gaussian", np.inf), ("gaussian", np.nan)],
)  # fmt: skip
def test_observations_outside_the_range_are_named(family, bad):
    y = np.array([0.5, bad])
    with pytest.raises(FastoptError, match=rf"y\[1\] is {bad}.*{family}"):
        family_of(family).require_domain(y)


def test_unknown_families_and_links():
    with pytest.raises(FastoptError, match=r"'cauchy'.*'binomial'"):
        family_of("cauchy")
    with pytest.raises(FastoptError, match=r"'log'.*'identity'"):
        family_of("gaussian").link("log")


@pytest.mark.parametrize(
    ("alias", "name"),
    [("bernoulli", "binomial"), ("logistic", "binomial"), ("normal", "gaussian")],
)
def test_aliases(alias, name):
    assert family_of(alias) is family_of(name)
    with pytest.raises(FastoptError, match=r"allowed: 'gaussian', .*'binomial'"):
        family_of("cauchy")
