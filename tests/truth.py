"""Functions and data sets whose minimum is known, for test_success_is_true.py."""

from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from sklearn import datasets

from fastopt.models import GLM, MLP


class Problem(NamedTuple):
    """A function ``fun(x, *data) -> (loss, grad)``; lr is one for gradient descent."""

    fun: Any
    x0: Any
    least: float
    lr: float
    data: Any = None
    lr_of_others: float = 0.05  # for rules whose steps do not scale with the gradient


def rosenbrock(x):
    u, v = x
    gradient = np.array([-2 * (1 - u) - 400 * u * (v - u * u), 200 * (v - u * u)])
    return (1 - u) ** 2 + 100 * (v - u * u) ** 2, gradient


def beale(x):
    u, v = x
    residual = np.array([1.5 - u + u * v, 2.25 - u + u * v**2, 2.625 - u + u * v**3])
    by_u = np.array([v - 1, v**2 - 1, v**3 - 1])
    by_v = np.array([u, 2 * u * v, 3 * u * v**2])
    return residual @ residual, 2 * np.array([residual @ by_u, residual @ by_v])


def booth(x):
    u, v = x
    first, second = u + 2 * v - 7, 2 * u + v - 5
    return first**2 + second**2, np.array([2 * first + 4 * second, 4 * first + 2 * second])


def matyas(x):
    u, v = x
    loss = 0.26 * (u * u + v * v) - 0.48 * u * v
    return loss, np.array([0.52 * u - 0.48 * v, 0.52 * v - 0.48 * u])


def himmelblau(x):
    u, v = x
    first, second = u * u + v - 11, u + v * v - 7
    gradient = np.array([4 * u * first + 2 * second, 2 * first + 4 * v * second])
    return first**2 + second**2, gradient


CURVATURES = np.logspace(0, 6, 7)


def ill_conditioned(x):
    return (CURVATURES * x * x).sum() / 2, CURVATURES * x


def powell_singular(x):
    a, b, c, d = x
    p, q, r, s = a + 10 * b, c - d, b - 2 * c, a - d
    gradient = [
        2 * p + 40 * s**3,
        20 * p + 4 * r**3,
        10 * q - 8 * r**3,
        -10 * q - 40 * s**3,
    ]
    return p**2 + 5 * q**2 + r**4 + 10 * s**4, np.array(gradient)


def sum_of_squares(x):
    weights = np.arange(1.0, len(x) + 1)
    return (weights * x * x).sum(), 2 * weights * x


POINTS = np.array([[1.0, 2.0], [-1.0, 0.5], [0.3, -2.0], [2.0, 1.0], [-0.5, -1.0], [1.0, -0.2]])
LABELS = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])


def logistic(x):
    z = POINTS @ x
    return (np.logaddexp(0, z) - LABELS * z).sum(), POINTS.T @ (1 / (1 + np.exp(-z)) - LABELS)


def absolute(x):
    return abs(x).sum(), np.sign(x)


def bowl(x):
    return float(x @ x), 2 * x


def exponential(x):
    with np.errstate(over="ignore"):
        return (np.exp(x) - x).sum(), np.exp(x) - 1


def least(fun, x0, *data):
    """Return the minimum that SciPy finds from several starts near x0."""
    found = scipy.optimize.minimize(
        lambda x: fun(x, *data),
        x0,
        jac=True,
        method="BFGS",
        options={"gtol": 1e-10, "maxiter": 9999},
    )
    return float(found.fun)


FUNCTIONS = {
    "rosenbrock": Problem(rosenbrock, np.array([-1.2, 1.0]), 0.0, 1e-3),
    "beale": Problem(beale, np.array([1.0, 1.0]), 0.0, 5e-3),
    "booth": Problem(booth, np.array([0.0, 0.0]), 0.0, 0.05),
    "matyas": Problem(matyas, np.array([1.0, -0.3]), 0.0, 0.8),
    "himmelblau": Problem(himmelblau, np.array([0.0, 0.0]), 0.0, 0.01),
    "ill_conditioned": Problem(ill_conditioned, np.full(7, 1e-2), 0.0, 1.5e-6),
    "powell_singular": Problem(powell_singular, np.array([3.0, -1.0, 0.0, 1.0]), 0.0, 4e-3),
    "sum_of_squares": Problem(sum_of_squares, np.ones(10), 0.0, 0.05),
    "logistic": Problem(logistic, np.zeros(2), least(logistic, np.zeros(2)), 0.2),
    "absolute": Problem(absolute, np.array([0.5, -1.03]), 0.0, 0.05),
    "bowl": Problem(bowl, np.array([1.03]), 0.0, 0.98),
    "exponential": Problem(exponential, np.array([1.0, -2.0]), 2.0, 0.3),
}


def standardized(X):
    X = np.asarray(X, float)
    spread = X.std(axis=0)
    return (X - X.mean(axis=0))[:, spread > 0] / spread[spread > 0]


def of_model(model, X, y, lr, **others):
    """Return the problem of a model, its parameters flattened for SciPy."""
    start = model.init(seed=0)

    def flat(w):
        loss, grads = model.loss_and_grad(model.unflatten(w), X, y)
        return loss, model.flatten(grads)

    best = least(flat, model.flatten(start))
    return Problem(model, start, best, lr, (X, y), **others)


def data_sets():
    """Return 12 problems of data that scikit-learn ships."""
    iris = datasets.load_iris(return_X_y=True)
    wine = datasets.load_wine(return_X_y=True)
    cancer = datasets.load_breast_cancer(return_X_y=True)
    digits = datasets.load_digits(return_X_y=True)
    diabetes = datasets.load_diabetes(return_X_y=True)
    linnerud = datasets.load_linnerud(return_X_y=True)
    flowers, kinds = standardized(iris[0]), iris[1]
    grade = (diabetes[1] - diabetes[1].mean()) / diabetes[1].std()
    body = standardized(linnerud[0]), standardized(linnerud[1])
    return {
        "diabetes": of_model(GLM(10), standardized(diabetes[0]), grade, 0.3),
        "diabetes, raw": of_model(GLM(10), diabetes[0], diabetes[1], 0.9, lr_of_others=5.0),
        "diabetes, poisson": of_model(
            GLM(10, "poisson"), standardized(diabetes[0]), np.round(diabetes[1] / 25), 0.02
        ),
        "diabetes, logistic": of_model(
            GLM(10, "logistic"), standardized(diabetes[0]), (grade > 0).astype(float), 0.5
        ),
        "iris": of_model(GLM(3), flowers[:, :3], flowers[:, 3], 0.3),
        "iris, logistic": of_model(
            GLM(1, "logistic"), flowers[:, 1:2], (kinds == 2).astype(float), 0.5
        ),
        "iris, softmax": of_model(GLM(2, "softmax", 3), flowers[:, :2], kinds, 0.5),
        "iris, network": of_model(
            MLP([1, 1, 1], "tanh", "squared"), flowers[:, 2:3], flowers[:, 3], 0.3
        ),
        "wine": of_model(GLM(12), standardized(wine[0])[:, :12], standardized(wine[0])[:, 12], 0.2),
        "breast cancer": of_model(
            GLM(2, "logistic"), standardized(cancer[0])[:, [0, 9]], cancer[1].astype(float), 1.0
        ),
        "digits": of_model(
            GLM(1, "poisson"), standardized(digits[0])[:300, 20:21], digits[1][:300].astype(float),
            0.1,
        ),
        "linnerud": of_model(GLM(3, "linear", 3), *body, 0.3),
    }  # fmt: skip
