"""
SGD fluctuates, and a decaying rate calms it
============================================

The gradient of one row is that of the loss plus noise. With a constant learning rate
:class:`fastopt.SGD` therefore never settles; with a rate that decays as 1/t it does.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastopt
from fastopt.schedules import inverse_time

rng = np.random.default_rng(0)
X = rng.standard_normal((20_000, 10))
truth = np.ones(10)


def run(lr, noise):
    """Return |w - truth|^2 / 2, the excess loss, at each step; a step is a row."""
    y = X @ truth + noise * np.random.default_rng(1).standard_normal(len(X))
    w = np.zeros(10)
    opt = fastopt.SGD(w, lr=lr)
    errors = np.empty_like(X)
    for i, (x, target) in enumerate(zip(X, y, strict=True)):
        opt.step((x @ w - target) * x)
        errors[i] = w - truth
    return np.sum(errors**2, axis=1) / 2


def smooth(losses):
    """Return means of 100 steps."""
    return losses.reshape(-1, 100).mean(axis=1)


decaying = inverse_time(0.05, decay=0.02)  # 0.05 / (1 + 0.02 (t - 1))
rates = {"lr=0.05": 0.05, "lr=0.005": 0.005, "lr ~ 1/t": decaying}
colours = "#e20134", "#c99700", "#008df9"
figure, axes = plt.subplots(layout="constrained")
for (label, lr), colour in zip(rates.items(), colours, strict=True):
    losses = run(lr, noise=1.0)
    print(f"{label:9} mean loss of the last 5000 steps {losses[-5000:].mean():.5f}")
    axes.loglog(np.arange(50, 20_000, 100), smooth(losses), color=colour, label=label)
axes.set(xlabel="step", ylabel="excess loss")
axes.legend()
plt.show()

# %%
# A tenth of the rate ends with less than a tenth of the loss, and comes there more slowly. The
# decaying rate is fast at first and ends below both.
#
# Fluctuation can leave a poor minimum
# ------------------------------------
#
# The loss (w² - 1)²/4 + 0.15 w has a poor minimum near 1 and a better one near -1. A thousand runs,
# the elements of one array, start in the poor one. How many end in the better one?


def better(lr, noise, steps=5000):
    """Return the share of runs that end in the better minimum, and their spread."""
    draws = np.random.default_rng(2)
    w = np.ones(1000)
    opt = fastopt.SGD(w, lr=lr)
    for _ in range(steps):
        opt.step(w**3 - w + 0.15 + noise * draws.standard_normal(1000))
    return np.mean(w < 0), np.std(w[w < 0]) if (w < 0).any() else 0.0


for label, lr, noise in (
    ("no noise, lr=0.1", 0.1, 0.0),
    ("lr=0.01", 0.01, 1.0),
    ("lr=0.1", 0.1, 1.0),
    ("lr from 0.1 to 0", fastopt.schedules.cosine(0.1, total_steps=5000), 1.0),
):
    share, spread = better(lr, noise)
    print(f"{label:17} {share:4.0%} in it" + (f", spread {spread:.3f}" if share else ""))

# %%
# Without noise, or with a small rate, no run leaves. With a large rate all do, but they stay
# restless; with a rate that decays from there most leave, and then they settle.
#
# Where it does not hold
# ----------------------
#
# If the model can fit every row, the noise vanishes at the minimum: a constant rate settles, and
# the decay only costs time. A decay as 1/t from too small a rate is slower than a constant rate
# even with noise. The mean excess loss of the last 5000 steps:

for label, lr in {**rates, "small lr ~ 1/t": inverse_time(0.005, decay=0.02)}.items():
    exact, noisy = (run(lr, noise)[-5000:].mean() for noise in (0.0, 1.0))
    print(f"{label:14} without noise {exact:.1e}, with {noisy:.1e}")
