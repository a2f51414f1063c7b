"""
RMSProp follows a target that moves
===================================

:class:`fastopt.RMSprop` divides the gradient by the root of a running mean of its squares, where
:class:`fastopt.Adagrad` takes their sum. The mean forgets, so the rate does not shrink.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastopt
from fastopt.cli.picture import STYLES

STEPS = 3000
RULES = {"adagrad": fastopt.Adagrad, "rmsprop": fastopt.RMSprop}
RATES = 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0
time = np.arange(STEPS)
TARGETS = {
    "moving target": np.where(time // 500 % 2, 1.0, -1.0),
    "target at rest": np.ones(STEPS),
}


def follow(rule, lr, target):
    """Return w after each step for 50 runs; the gradient is w - target, with noise."""
    noise = np.random.default_rng(0).standard_normal((STEPS, 50))
    w = np.zeros(50)
    opt = RULES[rule](w, lr=lr)
    points = np.empty_like(noise)
    for step in range(STEPS):
        opt.step(w - target[step] + noise[step])
        points[step] = w
    return points


def error(points, target):
    """Return the mean squared distance to the target in the second half of the steps."""
    return np.mean((points.T - target)[:, STEPS // 2 :] ** 2)


figure, panels = plt.subplots(2, 1, figsize=(4.8, 6.4), layout="constrained", sharex=True)
for axes, (name, target) in zip(panels, TARGETS.items(), strict=True):
    axes.plot(target, color="#7a7a7a", linewidth=1, label="target")
    for rule in RULES:
        runs = {lr: follow(rule, lr, target) for lr in RATES}
        lr = min(runs, key=lambda lr: error(runs[lr], target))
        print(f"{name:14} {rule:7} error {error(runs[lr], target):.4f} at lr={lr}")
        colour, dashes = STYLES[rule]
        axes.plot(runs[lr].mean(axis=1), color=colour, linestyle=dashes, label=rule)
    axes.set(title=name, ylabel="mean w of the runs")
panels[1].legend(loc="lower right")
panels[1].set_xlabel("step")
plt.show()

# %%
# Each rule has the best of seven rates; the errors are mean squares. AdaGrad's rate shrinks, so it
# reaches the moving target ever later, even with the largest of the rates.
#
# Where it does not hold
# ----------------------
#
# If the target is at rest, AdaGrad's shrinking rate is right: it is the more accurate one. RMSProp
# comes near it with a small rate, but must know beforehand that the target will not move:

for name, target in TARGETS.items():
    for lr in (0.003, 0.1):
        print(f"{name:14} rmsprop lr={lr:<5} {error(follow('rmsprop', lr, target), target):.4f}")

# %%
# Longer runs make the difference larger. AdaGrad's error shrinks with the number of steps;
# RMSProp's does not:

noise = np.random.default_rng(1).standard_normal((20_000, 50))
for rule, lr in (("adagrad", 0.1), ("rmsprop", 0.003)):
    w = np.ones(50)
    opt = RULES[rule](w, lr=lr)
    for step, row in enumerate(noise, 1):
        opt.step(w - 1.0 + row)
        if step in (5000, 20_000):
            print(f"{rule:7} lr={lr:<5} after {step:6} steps: {np.mean((w - 1.0) ** 2):.5f}")
