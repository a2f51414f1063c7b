"""
Saddle points and plateaus delay gradient descent
=================================================

Near a saddle point and on a plateau the gradient is almost 0, and so is the step of
:class:`fastopt.SGD`. Rules that divide by the size of recent gradients, such as
:class:`fastopt.RMSprop` and :class:`fastopt.Adam`, keep their pace.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastopt
from fastopt.cli.picture import STYLES

# Without bias correction, the first step of RMSProp would be 10 lr long.
RULES = {
    "sgd": lambda w: fastopt.SGD(w, lr=0.05),
    "momentum": lambda w: fastopt.SGD(w, lr=0.05, momentum=0.9),
    "rmsprop": lambda w: fastopt.RMSprop(w, lr=0.05, bias_correction=True),
    "adam": lambda w: fastopt.Adam(w, lr=0.05),
}


def saddle(w):
    """Return the gradient of x²/2 - y²/2 + y⁴/4: a saddle at 0, minima at y = ±1."""
    return np.array([w[0], w[1] ** 3 - w[1]])


def path(rule, start, steps=500):
    """Return the points of a run."""
    w = np.array(start)
    opt = RULES[rule](w)
    points = [w.copy()]
    for _ in range(steps):
        opt.step(saddle(w))
        points.append(w.copy())
    return np.array(points)


def first(reached):
    """Return the first step at which the condition holds, as text."""
    return f"{np.argmax(reached):4}" if reached.any() else "more"


figure, (plane, curves) = plt.subplots(2, 1, figsize=(4.8, 6.4), layout="constrained")
for rule in RULES:
    points = path(rule, [-1.0, 1e-4])
    print(f"{rule:9} y > 0.5 after {first(points[:, 1] > 0.5)} steps")
    colour, dashes = STYLES[rule]
    plane.plot(*points.T, color=colour, linestyle=dashes, marker=".", markersize=3)
    curves.plot(points[:250, 1], color=colour, linestyle=dashes, label=rule)
x, y = np.meshgrid(np.linspace(-1.2, 0.7, 80), np.linspace(-0.4, 1.6, 80))
plane.contour(x, y, (x**2 - y**2) / 2 + y**4 / 4, levels=15, cmap="Greys_r", linewidths=0.6)
plane.set(xlabel="x", ylabel="y", title="the saddle point is at (0, 0)")
curves.set(xlabel="step", ylabel="y")
curves.legend()
plt.show()

# %%
# From (-1, 0.0001), RMSProp and Adam leave in a fraction of the steps, since their step in y does
# not depend on how small the gradient is. Momentum adds up small steps.
#
# A plateau
# ---------
#
# The loss 1 - exp(-w²/2) is flat far from its minimum at 0: at w = 4 the slope is 0.001.


def plateau(rule, start, steps=30_000):
    """Return how many steps it takes to come near the minimum."""
    w = np.array([start])
    opt = RULES[rule](w)
    for step in range(steps):
        if abs(w[0]) < 0.5:
            return f"{step:6}"
        opt.step(w * np.exp(-(w**2) / 2))
    return "  more"


for rule in RULES:
    print(f"{rule:9} steps from 4: {plateau(rule, 4.0)}, from 8: {plateau(rule, 8.0)}")

# %%
# Where it does not hold
# ----------------------
#
# At w = 8 the slope, 1e-13, is below the eps of RMSProp and Adam, 1e-8, and they need more than
# 30,000 steps too. Where the gradient is exactly 0, no rule moves. Noise helps, as that of
# mini-batches:

for rule in RULES:
    points = path(rule, [-1.0, 0.0])
    w = np.array([-1.0, 0.0])
    opt, rng = RULES[rule](w), np.random.default_rng(0)
    for _ in range(500):
        opt.step(saddle(w) + 0.01 * rng.standard_normal(2))
    print(f"{rule:9} from y = 0 to {points[-1, 1]:.3f}; with noise to {w[1]:+.3f}")
