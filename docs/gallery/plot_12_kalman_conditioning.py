"""
kSGD ignores the condition number, says when to stop, and costs p²
==================================================================

:class:`fastopt.KalmanSGD` keeps an estimate of the covariance of the coefficients, which sets the
step in every direction. One pass over the rows is enough, without a learning rate.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

import fastopt
from fastopt.cli.picture import STYLES

ROWS, COLUMNS = 4000, 10
rng = np.random.default_rng(0)
ROTATION = np.linalg.qr(rng.standard_normal((COLUMNS, COLUMNS)))[0]
NORMAL = rng.standard_normal((ROWS, COLUMNS))
NOISE = rng.standard_normal(ROWS)


def problem(condition):
    """Return X, y, the root of the covariance of the columns, and the true coefficients."""
    root = np.sqrt(np.geomspace(1, 1 / condition, COLUMNS))[:, None] * ROTATION
    truth = ROTATION.T @ np.geomspace(1, condition, COLUMNS) ** 0.5  # each direction matters alike
    X = NORMAL @ root
    return X, X @ truth + NOISE, root, truth


def excess(w, root, truth):
    """Return the expected loss of w on new rows above that of the true coefficients."""
    return np.sum((root @ (w - truth)) ** 2) / 2


def one_pass(opt_of, lr, condition):
    """Return the excess loss of an optimizer after one pass."""
    X, y, root, truth = problem(condition)
    w = np.zeros(COLUMNS)
    opt = opt_of(w, lr=lr)
    with np.errstate(over="ignore", invalid="ignore"):  # some rates diverge
        for x, target in zip(X, y, strict=True):
            opt.step((x @ w - target) * x)
        return np.nan_to_num(excess(w, root, truth), nan=np.inf)


CONDITIONS = 1.0, 10.0, 1e2, 1e3, 1e4, 1e6
RATES = 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0
curves = {
    rule: [min(one_pass(opt_of, lr, k) for lr in RATES) for k in CONDITIONS]
    for rule, opt_of in (("sgd", fastopt.SGD), ("adagrad", fastopt.Adagrad))
}
curves["ksgd"], least = [], []
for k in CONDITIONS:
    X, y, root, truth = problem(k)
    least.append(excess(np.linalg.lstsq(X, y)[0], root, truth))
    curves["ksgd"].append(excess(fastopt.KalmanSGD(COLUMNS).partial_fit(X, y).coef, root, truth))

figure, axes = plt.subplots(layout="constrained")
print("condition" + "".join(f"{k:7.0e}" for k in CONDITIONS))
for rule, losses in curves.items():
    print(f"{rule:9}" + "".join(f"{loss:7.3f}" for loss in losses))
    colour, dashes = STYLES[rule]
    axes.loglog(CONDITIONS, losses, color=colour, linestyle=dashes, marker="o", label=rule)
print("least sq." + "".join(f"{loss:7.3f}" for loss in least))
axes.set(xlabel="condition number of the columns' covariance", ylabel="excess loss after one pass")
axes.legend()
plt.show()

# %%
# SGD and AdaGrad have the best of seven rates for each condition number. Their loss grows with it;
# that of kSGD does not, and is that of least squares. The columns are rotated, so a rate for each
# coefficient, as AdaGrad has, is no help.
#
# The stop condition
# ------------------
#
# With ``stop=("se", tol)``, ``converged`` becomes true when a change of any coefficient by its
# standard error changes predictions by at most tol standard deviations of y.

X, y, root, truth = problem(100.0)
for tolerance in (0.1, 0.05, 0.025):
    k = fastopt.KalmanSGD(COLUMNS, stop=("se", tolerance))
    for first in range(0, ROWS, 10):
        k.partial_fit(X[first : first + 10], y[first : first + 10])
        if k.converged:
            break
    error = np.abs(k.coef - truth) * np.sqrt(np.mean(X**2, axis=0)) / y.std()
    print(f"tol={tolerance:<5}  {k.converged_at:4} rows; largest true error {error.max():.3f}")

# %%
# Half the tolerance takes about three times the rows. The tolerance is one standard error, so the
# largest of ten errors can be more than that.
#
# Where it does not hold: the cost
# --------------------------------
#
# The covariance has p² numbers, which every row changes. The times, for a row, are those of the
# machine that built this page.

for p in (10, 100, 1000):
    X, y = rng.standard_normal((256, p)), rng.standard_normal(256)
    k, w = fastopt.KalmanSGD(p, m0=1.0), np.zeros(p)
    opt = fastopt.SGD(w, lr=0.001)
    start = time.perf_counter()
    k.partial_fit(X, y)
    middle = time.perf_counter()
    for x, target in zip(X, y, strict=True):
        opt.step((x @ w - target) * x)
    end = time.perf_counter()
    print(
        f"p={p:4}: kSGD {(middle - start) / 256 * 1e6:5.1f} µs, {8 * p * p:9,} bytes; "
        f"SGD {(end - middle) / 256 * 1e6:3.1f} µs"
    )

# %%
# kSGD absorbs rows in blocks, by matrix products. SGD has a few Python calls for each row, and so
# takes as long for 10 coefficients as for 100. With 1000, kSGD takes much longer.
#
# Where it does not hold: coefficients that change
# ------------------------------------------------
#
# The stop condition assumes one set of coefficients for all rows. If the coefficients change after
# it was met, it does not know, and a filter that goes on averages both:

X, y, root, truth = problem(1.0)
y[2000:] = X[2000:] @ -truth + NOISE[2000:]
k = fastopt.KalmanSGD(COLUMNS, stop=("se", 0.05)).partial_fit(X, y)
print(f"stop: met after {k.converged_at} rows, excess loss {excess(k.coef, root, -truth):.3f}")
k = fastopt.KalmanSGD(COLUMNS, forgetting=0.99).partial_fit(X, y)
print(f"forgetting=0.99: excess loss {excess(k.coef, root, -truth):.3f}")

# %%
# ``forgetting`` follows such a change, and can have no stop condition.
