"""Two claims of textbooks, tried and drawn: python -m bench.claims [--out bench/claims.png].

1. "Sparse features favour AdaGrad."  Logistic regression on made-up rows of 30 words out of 5000,
   whose frequencies follow a power law, as those of words in texts do, or are equal.  Each rule has
   the rate of a small grid with the lowest held-out loss.
2. "kSGD needs no learning rate."  The loss after one pass against the rate of the other rules, on
   two data sets of scikit-learn, the mean over random orders of the rows.

It prints what the pictures show, and where the claims do not hold.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.sparse import csr_array
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import ShuffleSplit
from sklearn.preprocessing import StandardScaler

from fastopt import FastoptError
from fastopt.cli.picture import STYLES
from fastopt.estimators import GLMClassifier, GLMRegressor, KalmanClassifier, KalmanRegressor

WORDS, WORDS_OF_ROW, ROWS, EPOCHS = 5000, 30, 20_000, 8
RATES = {
    "sgd": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    "momentum": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "adagrad": (0.03, 0.1, 0.3, 1.0, 3.0),
    "adam": (0.001, 0.003, 0.01, 0.03, 0.1),
}
LABELS = {"sgd": "SGD", "momentum": "momentum", "adagrad": "AdaGrad", "adam": "Adam"}
ORDERS = 10
ONE_PASS = ("sgd", "adagrad", "adam")
ONE_PASS_RATES = np.logspace(-4, 2, 19)


def log_loss(model: Any, X: Any, y: np.ndarray) -> float:
    z = model.decision_function(X)
    return float(np.mean(np.logaddexp(0.0, z) - y * z))


def half_squared_error(model: Any, X: Any, y: np.ndarray) -> float:
    return float(np.mean((y - model.predict(X)) ** 2) / 2)


# Sparse features


def texts(power: float) -> tuple[csr_array, np.ndarray]:
    """Return 2 ROWS rows, and labels; the frequency of the k-th word is proportional to k^-power.

    The coefficients of rare and of frequent words have the same distribution.
    """
    rng = np.random.default_rng(0)
    share = np.arange(1.0, WORDS + 1) ** -power
    upto = np.cumsum(share / share.sum())
    upto[-1] = 1.0
    shape = 2 * ROWS, WORDS_OF_ROW
    words = np.sort(np.searchsorted(upto, rng.random(shape)), axis=1).astype(np.int32)
    begin = np.arange(0, words.size + 1, WORDS_OF_ROW, dtype=np.int32)
    values = np.full(words.size, WORDS_OF_ROW**-0.5)
    X = csr_array((values, words.ravel(), begin), shape=(2 * ROWS, WORDS))
    X.sum_duplicates()
    z = X @ (2.0 * rng.standard_normal(WORDS))
    return X, (rng.random(len(z)) < 1 / (1 + np.exp(z.mean() - z))).astype(float)


def curve(solver: str, lr: float, X: csr_array, y: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the training and the held-out loss after each epoch."""
    rows, y_rows, held, y_held = X[:ROWS], y[:ROWS], X[ROWS:], y[ROWS:]
    model = GLMClassifier(solver=solver, eta0=lr, shuffle=False)
    losses: tuple[list[float], list[float]] = ([], [])
    for _ in range(EPOCHS):
        model.partial_fit(rows, y_rows, classes=[0.0, 1.0])
        losses[0].append(log_loss(model, rows, y_rows))
        losses[1].append(log_loss(model, held, y_held))
    return losses


def sparse_features(axes: Axes, power: float, title: str) -> None:
    """Draw and print the curves of each rule at its best rate."""
    X, y = texts(power)
    print(f"{title}, best rate of a grid:")
    lowest = {}
    for solver, rates in RATES.items():
        losses, lr = min(
            ((curve(solver, lr, X, y), lr) for lr in rates), key=lambda pair: min(pair[0][1])
        )
        train, held = losses
        best = int(np.argmin(held))
        lowest[solver] = held[best]
        print(
            f"  {LABELS[solver]:9} rate {lr:<6g} lowest held-out loss {held[best]:.4f} after "
            f"{best + 1} epochs, first epoch {held[0]:.4f}, training loss then {train[best]:.4f}"
            + ("  (at the end of the grid)" if lr in (rates[0], rates[-1]) else "")
        )
        colour, dashes = STYLES[solver]
        axes.plot(range(1, EPOCHS + 1), held, color=colour, linestyle=dashes, marker="o",
                  markersize=3, label=f"{LABELS[solver]}, rate {lr:g}")  # fmt: skip
    below = ", ".join(
        f"{lowest[name] - lowest['adagrad']:.4f} below {LABELS[name]}"
        for name in RATES
        if name != "adagrad"
    )
    print(f"  AdaGrad is {below}.")
    axes.set_title(title)
    axes.set_xlabel("epochs")
    axes.set_ylabel("held-out log loss")
    axes.legend(frameon=False)


# One pass


def losses_of(
    make: Callable[[int], Any],
    loss: Callable[[Any, Any, np.ndarray], float],
    X: np.ndarray,
    y: np.ndarray,
) -> tuple[float, float]:
    """Return the mean training and held-out loss over splits and orders, infinite if a fit fails.

    `make` returns a model from the seed of its order.
    """
    found = []
    for seed, (own, held) in enumerate(ShuffleSplit(ORDERS, random_state=0).split(X)):
        try:
            model = make(seed).fit(X[own], y[own])
        except FastoptError:  # the coefficients have overflowed
            return np.inf, np.inf
        found.append((loss(model, X[own], y[own]), loss(model, X[held], y[held])))
    train, held = np.mean(found, axis=0)
    return float(train), float(held)


def one_pass(axes: Axes, title: str, X: np.ndarray, y: np.ndarray, is_binary: bool) -> None:
    """Draw and print the training loss after one pass, by rate, and that of kSGD."""
    glm, kalman = (
        (GLMClassifier, KalmanClassifier) if is_binary else (GLMRegressor, KalmanRegressor)
    )
    loss = log_loss if is_binary else half_squared_error
    filtered = losses_of(lambda seed: kalman(random_state=seed), loss, X, y)
    lowest = losses_of(lambda seed: glm(), loss, X, y)
    null = np.log(2) if is_binary else float(np.var(y) / 2)
    print(f"{title}, training (held-out) loss after one pass:")
    print(f"  kSGD      {filtered[0]:.4f} ({filtered[1]:.4f}); the minimum is {lowest[0]:.4f}")
    for solver in ONE_PASS:
        made = partial(glm, solver=solver, max_iter=1)
        found = [
            losses_of(lambda seed, lr=lr, made=made: made(eta0=lr, random_state=seed), loss, X, y)
            for lr in ONE_PASS_RATES
        ]
        train = np.array([pair[0] for pair in found])
        best = int(np.argmin(train))
        print(
            f"  {LABELS[solver]:9} {train[best]:.4f} ({found[best][1]:.4f}) at its best rate, "
            f"{ONE_PASS_RATES[best]:.2g}; {train[max(0, best - 3)]:.4f} at a tenth of it, "
            f"{train[min(len(train) - 1, best + 3)]:.4f} at ten times"
        )
        colour, dashes = STYLES[solver]
        axes.plot(ONE_PASS_RATES, train, color=colour, linestyle=dashes, marker="o",
                  markersize=3, label=LABELS[solver])  # fmt: skip
    axes.axhline(filtered[0], color=STYLES["ksgd"][0], linewidth=2.0, label="kSGD, no rate")
    axes.axhline(lowest[0], color="#00c2f9", linestyle=":", linewidth=2.0, label="minimum")
    axes.axhline(null, color="#7a7a7a", linewidth=0.8, label="at the start")
    axes.set_ylim(0.0, 2.0 * null)
    axes.set_xscale("log")
    axes.set_title(title)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss after one pass")
    axes.legend(frameon=False, loc="upper left")


def separable(X: np.ndarray, y: np.ndarray) -> None:
    """Print the losses on all columns of breast_cancer, whose classes are separable."""
    X = StandardScaler().fit_transform(X)
    models: dict[str, Callable[[int], Any]] = {
        "minimum": lambda seed: GLMClassifier(),
        "kSGD": lambda seed: KalmanClassifier(random_state=seed),
        "kSGD, prior m0=1": lambda seed: KalmanClassifier(m0=1.0, random_state=seed),
        "SGD, rate 0.1": lambda seed: GLMClassifier(
            solver="sgd", eta0=0.1, max_iter=1, random_state=seed
        ),
    }
    print("Where it does not hold: breast_cancer, 30 columns, separable, held-out loss:")
    for name, make in models.items():
        print(f"  {name:16} {losses_of(make, log_loss, X, y)[1]:.4f}")
    print(
        "  kSGD approaches the minimum in one pass, so it needs a prior where the minimum overfits."
    )


def main() -> None:
    """Print and draw both claims."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("claims.png"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # one epoch is no convergence, and some rates overflow
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(11, 8.5), dpi=120, layout="constrained")
        upper, lower = figure.subplots(2, 2)
        sparse_features(upper[0], 1.1, "Frequencies of words follow a power law")
        sparse_features(upper[1], 0.0, "All words are equally frequent")
        low, high = np.transpose([axes.get_ylim() for axes in upper])
        for axes in upper:
            axes.set_ylim(min(low), max(high))
        X, y = load_diabetes(return_X_y=True)
        one_pass(
            lower[0], "diabetes, linear regression", X, (y - y.mean()) / y.std(), is_binary=False
        )
        X, y = load_breast_cancer(return_X_y=True)
        eight = "breast_cancer, 8 columns, logistic regression"
        one_pass(lower[1], eight, X[:, :8], y, is_binary=True)
        separable(X, y)
        for axes in figure.axes:
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(options.out, metadata={"Software": "bench.claims"})
    print(f"The pictures are in {options.out}.")


if __name__ == "__main__":
    main()
