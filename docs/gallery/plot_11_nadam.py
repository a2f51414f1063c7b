"""
NAdam brakes earlier than Adam
==============================

:class:`fastopt.NAdam` is :class:`fastopt.Adam` with Nesterov's correction: each step uses the mean
gradient that the next step will use. It corrects an overshoot sooner, as in
:doc:`plot_05_nesterov`.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastopt
from fastopt.cli.picture import STYLES

RULES = {"adam": fastopt.Adam, "nadam": fastopt.NAdam}
RAVINE = np.array([1.0, 20.0])


def descend(rule, lr, noise=0.0, steps=600):
    """Return the points of a run, and its losses; the gradient has normal noise."""
    rng = np.random.default_rng(0)
    w = np.array([-4.0, 1.2])
    opt = RULES[rule](w, lr=lr)
    points = [w.copy()]
    for _ in range(steps):
        opt.step(RAVINE * w + noise * rng.standard_normal(2))
        points.append(w.copy())
    points = np.array(points)
    return points, points**2 @ RAVINE / 2


figure, (plane, curves) = plt.subplots(2, 1, figsize=(4.8, 6.0), layout="constrained")
for rule in RULES:
    points, losses = descend(rule, lr=0.3)
    settled = np.flatnonzero(losses > 1e-3)[-1] + 1
    print(f"{rule:5} overshoots by {points[:, 0].max():.2f}, loss below 0.001 from step {settled}")
    colour, dashes = STYLES[rule]
    plane.plot(*points[:100].T, color=colour, linestyle=dashes, marker=".", markersize=3)
    curves.semilogy(losses[:150], color=colour, linestyle=dashes, label=rule)
plane.set(xlabel="along the ravine", ylabel="across")
curves.set(xlabel="step", ylabel="loss")
curves.legend()
plt.show()

# %%
# With noise in the gradient, the mean loss of the last 2000 steps is up to a quarter lower:

for lr in (0.01, 0.1, 0.3, 1.0):
    ends = (descend(rule, lr, noise=5.0, steps=4000)[1][-2000:].mean() for rule in RULES)
    text = ", ".join(f"{rule} {end:.3f}" for rule, end in zip(RULES, ends, strict=True))
    print(f"lr={lr:<4} {text}")

# %%
# Where it does not hold
# ----------------------
#
# With small rates there is no overshoot to correct, and with very large ones the correction is too
# strong. The step from which the loss is below 0.001:

for lr in (0.01, 0.03, 0.1, 0.3, 1.0):
    counts = []
    for rule in RULES:
        _, losses = descend(rule, lr)
        settled = np.flatnonzero(losses > 1e-3)[-1] + 1
        counts.append(f"{rule} {settled if settled < len(losses) else 'never':>5}")
    print(f"lr={lr:<4} " + ", ".join(counts))
