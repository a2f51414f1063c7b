"""The 27 nonlinear problems of NIST's reference data: models, Jacobians, certified values."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import arctan, cos, exp, log, pi, sin

DATA = Path(__file__).parent / "data/nist/nonlinear"


class Problem(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    starts: tuple[np.ndarray, np.ndarray]
    coef: np.ndarray
    stderr: np.ndarray
    residual_sd: float


def read(name):
    """Return the data, starting points and certified values of a problem."""
    text = (DATA / f"{name}.dat").read_text()
    table = re.findall(r"^ +b\d+ = +(\S+) +(\S+) +(\S+) +(\S+)", text, re.M)
    first, second, coef, stderr = np.array(table, dtype=float).T
    residual_sd = float(re.search(r"Residual Standard Deviation: +(\S+)", text)[1])
    data = np.array([line.split() for line in text.splitlines()[60:] if line.strip()], dtype=float)
    y, X = data[:, 0], data[:, 1:]
    return Problem(X, log(y) if name == "Nelson" else y, (first, second), coef, stderr, residual_sd)


# Each model takes coefficients and the columns of X, and returns the mean and its derivatives.
def chwirut(w, x):
    a, b, c = w
    m = exp(-a * x) / (b + c * x)
    return m, -x * m, -m / (b + c * x), -x * m / (b + c * x)


def lanczos(w, x):
    e = exp(-np.outer(w[1::2], x))
    parts = [d for a, each in zip(w[::2], e, strict=True) for d in (each, -a * x * each)]
    return w[::2] @ e, *parts


def gauss(w, x):
    a, b, *peaks = w
    e = exp(-b * x)
    mean, derivatives = a * e, [e, -a * x * e]
    for h, c, s in (peaks[:3], peaks[3:]):
        z = (x - c) / s
        g = exp(-(z**2))
        mean = mean + h * g
        derivatives += [g, 2 * h * g * z / s, 2 * h * g * z**2 / s]
    return mean, *derivatives


def dan_wood(w, x):
    a, b = w
    return a * x**b, x**b, a * x**b * log(x)


def misra1a(w, x):
    a, b = w
    return a * (1 - exp(-b * x)), 1 - exp(-b * x), a * x * exp(-b * x)


def misra1b(w, x):
    a, b = w
    z = 1 + b * x / 2
    return a * (1 - z**-2), 1 - z**-2, a * x * z**-3


def misra1c(w, x):
    a, b = w
    z = 1 + 2 * b * x
    return a * (1 - z**-0.5), 1 - z**-0.5, a * x * z**-1.5


def misra1d(w, x):
    a, b = w
    z = 1 + b * x
    return a * b * x / z, b * x / z, a * x / z**2


def rational(degree):
    """Return the model of a quotient of polynomials; the denominator has the constant 1."""

    def model(w, x):
        powers = x[:, None] ** np.arange(degree + 1)
        below = 1 + powers[:, 1:] @ w[degree + 1 :]
        m = powers @ w[: degree + 1] / below
        return m, *(powers.T / below), *(-m * powers[:, 1:].T / below)

    return model


def mgh09(w, x):
    a, b, c, d = w
    above, below = x**2 + b * x, x**2 + c * x + d
    m = a * above / below
    return m, above / below, a * x / below, -m * x / below, -m / below


def mgh10(w, x):
    a, b, c = w
    e = exp(b / (x + c))
    return a * e, e, a * e / (x + c), -a * b * e / (x + c) ** 2


def mgh17(w, x):
    a, b, c, d, f = w
    e, g = exp(-d * x), exp(-f * x)
    return a + b * e + c * g, np.ones_like(x), e, g, -b * x * e, -c * x * g


def enso(w, x):
    a, b, c, d, f, g, h, i, j = w
    year, first, second = 2 * pi * x / 12, 2 * pi * x / d, 2 * pi * x / h
    mean = (a + b * cos(year) + c * sin(year) + f * cos(first) + g * sin(first)
            + i * cos(second) + j * sin(second))  # fmt: skip
    return (mean, np.ones_like(x), cos(year), sin(year),
            (f * sin(first) - g * cos(first)) * first / d, cos(first), sin(first),
            (i * sin(second) - j * cos(second)) * second / h, cos(second), sin(second))  # fmt: skip


def nelson(w, x, t):
    a, b, c = w
    e = exp(-c * t)
    return a - b * x * e, np.ones_like(x), -x * e, b * x * t * e


def rat42(w, x):
    a, b, c = w
    e = exp(b - c * x)
    m = a / (1 + e)
    return m, 1 / (1 + e), -m * e / (1 + e), m * x * e / (1 + e)


def rat43(w, x):
    a, b, c, d = w
    e = exp(b - c * x)
    m = a * (1 + e) ** (-1 / d)
    slope = m * e / (1 + e) / d
    return m, m / a, -slope, x * slope, m * log(1 + e) / d**2


def roszman(w, x):
    a, b, c, d = w
    below = pi * ((x - d) ** 2 + c**2)
    return (a - b * x - arctan(c / (x - d)) / pi, np.ones_like(x), -x, (d - x) / below,
            -c / below)  # fmt: skip


def bennett(w, x):
    a, b, c = w
    m = a * (b + x) ** (-1 / c)
    return m, m / a, -m / c / (b + x), m * log(b + x) / c**2


def eckerle(w, x):
    a, b, c = w
    z = (x - c) / b
    m = a / b * exp(-(z**2) / 2)
    return m, m / a, m * (z**2 - 1) / b, m * z / b


MODELS = {
    "Bennett5": bennett, "BoxBOD": misra1a, "Chwirut1": chwirut, "Chwirut2": chwirut,
    "DanWood": dan_wood, "ENSO": enso, "Eckerle4": eckerle, "Gauss1": gauss, "Gauss2": gauss,
    "Gauss3": gauss, "Hahn1": rational(3), "Kirby2": rational(2), "Lanczos1": lanczos,
    "Lanczos2": lanczos, "Lanczos3": lanczos, "MGH09": mgh09, "MGH10": mgh10, "MGH17": mgh17,
    "Misra1a": misra1a, "Misra1b": misra1b, "Misra1c": misra1c, "Misra1d": misra1d,
    "Nelson": nelson, "Rat42": rat42, "Rat43": rat43, "Roszman1": roszman, "Thurber": rational(3),
}  # fmt: skip


def fun(name):
    """Return the function of mean and Jacobian for `KalmanSGD.fit_model`."""

    def mean_and_jacobian(w, X):
        mean, *derivatives = MODELS[name](w, *X.T)
        return mean, np.column_stack(derivatives)

    return mean_and_jacobian
