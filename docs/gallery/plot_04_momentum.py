"""
Momentum speeds up, and damps
=============================

Momentum adds up past gradients. Along a ravine they agree, and the steps grow; across it they
alternate, and cancel.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastopt
from fastopt.cli.picture import STYLES


def descend(curvature, steps, **options):
    """Return the points of a run of SGD on the loss w'diag(curvature)w / 2, and their losses."""
    w = np.array([-4.0, 1.2])
    opt = fastopt.SGD(w, **options)
    points = [w.copy()]
    for _ in range(steps):
        opt.step(curvature * w)
        points.append(w.copy())
    points = np.array(points)
    return points, points**2 @ curvature / 2


ravine = np.array([1.0, 20.0])
figure, (plane, curves) = plt.subplots(2, 1, figsize=(4.8, 6.0), layout="constrained")
for rule, momentum in (("sgd", 0.0), ("momentum", 0.5)):
    points, losses = descend(ravine, 60, lr=0.09, momentum=momentum)
    along, across = np.abs(points[15:]).max(axis=0)
    print(f"momentum={momentum}: at most {along:.4f} along, {across:.4f} across")
    colour, dashes = STYLES[rule]
    plane.plot(*points.T, ".-", color=colour, linewidth=1)
    curves.semilogy(losses, color=colour, linestyle=dashes, label=f"momentum={momentum}")
plane.set(xlabel="along the ravine", ylabel="across")
curves.set(xlabel="step", ylabel="loss")
curves.legend()
plt.show()

# %%
# The distances are those from the minimum, from step 15 on. With the same learning rate, momentum
# is nearer to it both along the ravine and across it.
#
# How much faster
# ---------------
#
# Steps to a millionth of the loss, with the best constants for a condition number k. Gradient
# descent: lr = 2/(1 + k). Momentum (Polyak 1964): lr = 4/(1 + √k)² and
# momentum = ((√k - 1)/(√k + 1))².

for k in (25, 100, 400, 1600):
    root = np.sqrt(k)
    best = (
        dict(lr=2 / (1 + k)),
        dict(lr=4 / (1 + root) ** 2, momentum=((root - 1) / (root + 1)) ** 2),
    )
    counts = []
    for options in best:
        _, losses = descend(np.array([1.0, k]), 20 * k, **options)
        counts.append(np.flatnonzero(losses > 1e-6 * losses[0])[-1] + 1)
    print(f"k={k:4}: {counts[0]:4} steps, with momentum {counts[1]:3}")

# %%
# Four times the condition number takes four times the steps without momentum, and about twice the
# steps with it. Momentum also widens the range of stable rates, from 2/20 to 2 (1 + momentum)/20:

for momentum in (0.0, 0.5):
    _, losses = descend(ravine, 100, lr=0.12, momentum=momentum)
    print(f"lr=0.12, momentum={momentum}: loss after 100 steps {losses[-1]:.1e}")

# %%
# Where it does not hold
# ----------------------
#
# Without a ravine there is nothing to speed up, and too much momentum overshoots.

for momentum in (0.0, 0.5, 0.9, 0.99):
    _, losses = descend(np.ones(2), 60, lr=0.5, momentum=momentum)
    print(f"momentum={momentum:<4} loss after 60 steps {losses[-1]:.1e}")

# %%
# With noisy gradients, a momentum of 0.9 acts like ten times the learning rate: the noise of w is
# as large.

noise = np.random.default_rng(0).standard_normal((20_000, 2))
for lr, momentum in ((0.01, 0.0), (0.01, 0.9), (0.1, 0.0)):
    w = np.zeros(2)
    opt = fastopt.SGD(w, lr=lr, momentum=momentum)
    losses = []
    for row in noise:
        opt.step(w + row)
        losses.append(w @ w / 2)
    print(f"lr={lr}, momentum={momentum}: mean loss from noise {np.mean(losses):.4f}")
