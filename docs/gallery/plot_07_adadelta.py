"""
AdaDelta needs no learning rate, but starts slowly
==================================================

:class:`fastopt.Adadelta` makes its steps about as long as its past steps. So the scale of the loss
does not matter, and no rate has to be chosen. At the start there are no past steps, and ``eps``
sets their length.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastopt
from fastopt.cli.picture import STYLES

RULES = {
    "adadelta": fastopt.Adadelta,
    "sgd": lambda w: fastopt.SGD(w, lr=0.1),
    "adam": lambda w: fastopt.Adam(w, lr=0.1),
}


def descend(opt_of, scale=1.0, distance=1.0, steps=2000):
    """Return w after each step, on the loss scale w²/2, whose minimum is `distance` away."""
    w = np.array([distance])
    opt = opt_of(w)
    points = [distance]
    with np.errstate(over="ignore", invalid="ignore"):  # SGD diverges if the scale is large
        for _ in range(steps):
            opt.step(scale * w)
            points.append(w[0])
    return np.array(points)


def arrival(points):
    """Return the number of steps that cover nine tenths of the distance, as text."""
    near = np.abs(points) < 0.1 * points[0]
    return f"{np.argmax(near):4}" if near.any() else "  no"


# Steps from 1 to 0.1
for scale in (0.01, 0.1, 1.0, 10.0, 100.0):
    text = "".join(f"  {rule} {arrival(descend(f, scale))}" for rule, f in RULES.items())
    print(f"loss times {scale:<5g}{text}")

# %%
# The steps of AdaDelta hardly depend on the scale of the loss. SGD with a rate for one scale is
# slow, or diverges, on another ("no": not within 2000 steps). Adam does not depend on the scale
# either, but its rate had to be chosen.
#
# The start
# ---------

figure, axes = plt.subplots(layout="constrained")
colour = STYLES["adadelta"][0]
for eps, dashes in ((1e-6, "--"), (1e-4, "-."), (1e-2, ":")):
    points = descend(lambda w, eps=eps: fastopt.Adadelta(w, eps=eps))
    print(f"eps={eps:<6g} first step {points[0] - points[1]:.4f}, {arrival(points)} steps to 0.1")
    axes.plot(points[:400], color=colour, linestyle=dashes, label=f"adadelta, eps={eps:g}")
axes.plot(descend(RULES["adam"])[:400], color=STYLES["adam"][0], label="adam, lr=0.1")
axes.set(xlabel="step", ylabel="w, the minimum is at 0")
axes.legend()
plt.show()

# %%
# The first step is about √(eps/(1 - rho)), 0.003 with the default eps of 1e-6 and rho of 0.9.
#
# Where it does not hold
# ----------------------
#
# The loss may have any scale, but the parameter may not: a minimum that is far from the start, in
# units of √eps, takes long. So eps has the part of a rate. Steps over nine tenths of the distance:

for distance in (0.01, 1.0, 100.0):
    points = descend(fastopt.Adadelta, distance=distance, steps=10_000)
    print(f"distance {distance:<5g}: {arrival(points)} steps")

# %%
# Its steps do not shrink by themselves: with noise in the gradient it fluctuates for good. A
# decaying factor ``lr`` helps, but is a schedule to be chosen.

noise = np.random.default_rng(0).standard_normal((5000, 100))
decay = fastopt.schedules.cosine(1.0, total_steps=5000)
for name, lr in (("lr=1", 1.0), ("lr from 1 to 0", decay)):
    w = np.full(100, 1.0)
    opt = fastopt.Adadelta(w, lr=lr)
    losses = []
    for row in noise:
        opt.step(w + row)
        losses.append(w @ w / 200)
    middle, last = np.mean(losses[2250:2750]), np.mean(losses[-500:])
    print(f"{name:14} mean loss {middle:.4f} half-way, {last:.4f} at the end")
