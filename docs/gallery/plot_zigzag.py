"""
Gradient descent zigzags in a ravine
====================================

The curvature is 1 along this ravine and 20 across it. The steps across it grow if the learning rate
is above 2/20; a rate below that is small for the direction along it. Momentum adds up the steps
along the ravine, and those across it cancel.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastopt

CURVATURE = np.array([1.0, 20.0])


def path(steps, **options):
    """Return the points of a run, and its losses."""
    w = np.array([-4.0, 1.2])
    opt = fastopt.SGD(w, **options)
    points = [w.copy()]
    for _ in range(steps):
        opt.step(CURVATURE * w)
        points.append(w.copy())
    points = np.array(points)
    return points, points**2 @ CURVATURE / 2


figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for options in (dict(lr=0.09), dict(lr=0.05), dict(lr=0.05, momentum=0.6)):
    points, losses = path(60, **options)
    label = ", ".join(f"{name}={value}" for name, value in options.items())
    axes[0].plot(*points.T, ".-", label=label)
    axes[1].semilogy(losses, label=label)
    print(f"{label}: loss {losses[-1]:.1e} after 60 steps")
axes[0].set(title="path", xlabel="along the ravine", ylabel="across")
axes[1].set(title="loss", xlabel="step")
axes[1].legend()
plt.show()

# %%
# Where it does not hold: with a curvature that is the same in all directions, gradient descent goes
# straight to the minimum. A learning rate of 1/20 removes the zigzag here, but a step along the
# ravine is then a twentieth of the distance to the minimum.
