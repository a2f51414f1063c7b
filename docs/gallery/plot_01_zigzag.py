"""
Gradient descent zigzags in a ravine
====================================

The curvature is 1 along this ravine and 20 across it. With a learning rate near the largest stable
one, 2/20, :class:`fastopt.SGD` jumps from wall to wall; a small one does not, but is slow along the
ravine.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastopt


def descend(curvature, lr, steps=100):
    """Return the points of a run on the loss w'diag(curvature)w / 2, and their losses."""
    w = np.array([-4.0, 1.2])
    opt = fastopt.SGD(w, lr=lr)
    points = [w.copy()]
    for _ in range(steps):
        opt.step(curvature * w)
        points.append(w.copy())
    points = np.array(points)
    return points, points**2 @ curvature / 2


ravine = np.array([1.0, 20.0])
figure, (plane, curves) = plt.subplots(2, 1, figsize=(4.8, 6.0), layout="constrained")
for lr, colour in ((0.02, "#c99700"), (0.095, "#008df9"), (0.101, "#e20134")):
    points, losses = descend(ravine, lr)
    crossings = np.count_nonzero(np.diff(np.sign(points[:31, 1])))
    print(f"lr={lr:<5}  crosses {crossings:2} times in 30 steps, last loss {losses[-1]:.1e}")
    plane.plot(*points[:40].T, ".-", color=colour, linewidth=1)
    curves.semilogy(losses, color=colour, label=f"lr={lr}")
plane.set(xlabel="along the ravine", ylabel="across")
curves.set(xlabel="step", ylabel="loss")
curves.legend()
plt.show()

# %%
# The rate that crosses the floor at every step is nearly the best constant one, 2/21. The small
# rate never crosses, but is slow along the ravine; a slightly larger rate than the best diverges.
# So the walls limit the rate, and the floor needs a larger one.
#
# The condition number sets the pace
# ----------------------------------
#
# For curvatures 1 and k, the best constant rate is 2/(1 + k). The number of steps with it, to a
# millionth of the first loss:

for k in (2, 20, 200, 2000):
    _, losses = descend(np.array([1.0, k]), lr=2 / (1 + k), steps=20 * k)
    enough = np.argmax(losses < 1e-6 * losses[0])
    print(f"condition number {k:4}: {enough:4} steps")

# %%
# Ten times the condition number takes about ten times as many steps.
# :doc:`Momentum <plot_04_momentum>` takes fewer.
#
# Where it does not hold
# ----------------------
#
# With the same curvature in all directions, the path is a straight line, from (-4, 1.2) to the
# minimum, whatever the rate, and one step of the right rate is enough.

for lr in (0.1, 1.0, 1.9):
    points, losses = descend(np.array([1.0, 1.0]), lr)
    apart = np.abs(1.2 * points[:, 0] + 4.0 * points[:, 1]).max() / np.hypot(1.2, 4.0)
    print(f"lr={lr}: {apart:.3f} off the line, loss after one step {losses[1]:.3g}")
