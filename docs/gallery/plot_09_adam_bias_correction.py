"""
Adam's bias correction keeps the first steps short
==================================================

Adam's running means start at 0. The mean of the squares, with beta2 = 0.999, is therefore far too
small in the first steps, and the steps divided by its root are too long. :class:`fastopt.Adam`
divides both means by 1 - betaᵗ, which corrects this.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastopt
from fastopt.cli.picture import STYLES

CORRECTIONS = {"both": (True, True), "only m": (True, False), "none": (False, False)}


def step_lengths(correction, beta2, steps=5000):
    """Return the lengths of the steps, in units of lr, for a gradient that is always 1."""
    w = np.zeros(1)
    opt = fastopt.Adam(w, lr=1.0, betas=(0.9, beta2), bias_correction=CORRECTIONS[correction])
    points = [0.0]
    for _ in range(steps):
        opt.step(np.ones(1))
        points.append(w[0])
    return -np.diff(points)


figure, axes = plt.subplots(layout="constrained")
for correction, dashes in zip(CORRECTIONS, ("-", ":", "--"), strict=True):
    lengths = step_lengths(correction, 0.999)
    print(
        f"{correction:6}  first step {lengths[0]:5.2f} lr, longest {lengths.max():5.2f}, "
        f"last {lengths[-1]:.2f}"
    )
    label = f"corrected: {correction}"
    axes.loglog(range(1, 5001), lengths, color=STYLES["adam"][0], linestyle=dashes, label=label)
axes.set(xlabel="step", ylabel="length of the step / lr")
axes.legend()
plt.show()

# %%
# With both corrections every step is lr long. Without, the longest is 6.6 times as long.
#
# Why it matters
# --------------
#
# A start near the minimum, as in fine-tuning, is thrown away by long first steps. Here 100
# coefficients start at the minimum, and the gradients have noise:


def highest_loss(correction, beta2, steps=2000):
    """Return the highest and the last loss of a run that starts at the minimum."""
    rng = np.random.default_rng(0)
    w = np.zeros(100)
    opt = fastopt.Adam(w, lr=0.01, betas=(0.9, beta2), bias_correction=CORRECTIONS[correction])
    losses = []
    for _ in range(steps):
        opt.step(w + rng.standard_normal(100))
        losses.append(w @ w / 2)
    return max(losses), np.mean(losses[-100:])


for beta2 in (0.999, 0.9999):
    for correction in CORRECTIONS:
        highest, last = highest_loss(correction, beta2)
        print(f"beta2={beta2:<6}  {correction:6}  highest loss {highest:5.2f}, last {last:.2f}")

# %%
# Uncorrected, the loss first rises to seven times that of the corrected run, and to more than that
# with beta2 = 0.9999, from which 2000 steps are not enough to recover. To correct m alone
# is worst, since the bias of m cancels a part of that of v.
#
# Where it does not hold
# ----------------------
#
# With beta2 = beta1 = 0.9 the uncorrected steps are never too long, and nothing needs protection.
# With a larger beta2 the effect ends after a few times 1/(1 - beta2) steps:

for beta2 in (0.9, 0.99, 0.999):
    lengths = step_lengths("none", beta2)
    over = np.count_nonzero(lengths > 1.05)
    print(f"beta2={beta2:<5}  longest {lengths.max():.2f} lr, {over:4} steps longer than 1.05 lr")
