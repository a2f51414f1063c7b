"""
Prodigy and DoG find their learning rate
========================================

:class:`fastopt.Prodigy` and :class:`fastopt.DoG` estimate the distance to the minimum from the
points and gradients so far, and derive the learning rate from it. They are used with their
defaults.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastopt
from fastopt.models import MLP

digits = load_digits()
X, y = (digits.data / 16).astype(np.float32), digits.target
WITHOUT = {"prodigy": fastopt.Prodigy, "dog": fastopt.DoG, "adadelta": fastopt.Adadelta}


def losses(opt_of, epochs=30):
    """Return the training loss of a network after each epoch."""
    model = MLP([64, 32, 10], loss="softmax")
    params = model.init(seed=0)
    opt = opt_of(params)
    batches = fastopt.Batches(X, y, batch_size=64, seed=0)
    found = []
    for _ in range(epochs):
        for rows, labels in batches:
            opt.step(model.loss_and_grad(params, rows, labels)[1])
        found.append(model.loss_and_grad(params, X, y)[0])
    return np.array(found)


figure, axes = plt.subplots(layout="constrained")
for lr in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3):
    adam = losses(lambda w, lr=lr: fastopt.Adam(w, lr=lr))
    print(f"adam, lr={lr:<5} 3 epochs {adam[2]:.3f}, 30 epochs {adam[-1]:.4f}")
    axes.semilogy(range(1, 31), adam, color="#999999", linewidth=1)
axes.plot([], color="#999999", label="adam, six rates")
for (rule, opt_of), colour in zip(WITHOUT.items(), ("#e20134", "#008df9", "#c99700"), strict=True):
    own = losses(opt_of)
    print(f"{rule:14} 3 epochs {own[2]:.3f}, 30 epochs {own[-1]:.4f}")
    axes.plot(range(1, 31), own, color=colour, label=rule)
axes.set(xlabel="epoch", ylabel="training loss")
axes.legend()
plt.show()

# %%
# The training loss after 3 and 30 epochs. Prodigy is about as fast as Adam with the best of its six
# rates, and no rate was chosen. DoG and Adadelta start slowly, and DoG fluctuates.
#
# The distance does not matter
# ----------------------------
#
# The number of steps over nine tenths of the distance to the minimum, from several distances. The
# curvatures are 1 to 10.

CURVATURE = np.geomspace(1, 10, 10)


def steps(opt_of, distance, most=20_000):
    """Return how many steps it takes, as text."""
    w = np.full(10, distance)
    opt = opt_of(w)
    for step in range(1, most + 1):
        opt.step(CURVATURE * w)
        if np.abs(w).max() < 0.1 * distance:
            return f"{step:5}"
    return " more"


for rule, opt_of in {**WITHOUT, "adam": lambda w: fastopt.Adam(w, lr=0.01)}.items():
    counts = (steps(opt_of, distance) for distance in (0.01, 1.0, 100.0, 1e4))
    print(f"{rule:8} steps from 0.01, 1, 100, 10000: " + " ".join(counts))

# %%
# The steps of Prodigy and DoG hardly depend on the distance. Those of Adadelta and of Adam, whose
# rate is 0.01, have a fixed scale, and "more" is more than 20,000.
#
# Where it does not hold
# ----------------------
#
# The state of Prodigy has 16 bytes for each element, twice that of Adam. And an estimate that is
# far too large at the start stays so. The loss after ten epochs, if the first gradient is
# multiplied by a factor:


def spiked(opt_of, factor):
    """Return the loss after ten epochs with a first gradient that is `factor` times too large."""
    model = MLP([64, 32, 10], loss="softmax")
    params = model.init(seed=0)
    opt = opt_of(params)
    batches = fastopt.Batches(X, y, batch_size=64, seed=0)
    for _ in range(10):
        for rows, labels in batches:
            grads = model.loss_and_grad(params, rows, labels)[1]
            scale = factor if opt.step_count == 0 else 1.0
            opt.step({name: scale * g for name, g in grads.items()})
    return model.loss_and_grad(params, X, y)[0]


for factor in (1.0, 1e2, 1e4):
    text = ", ".join(f"{rule} {spiked(opt_of, factor):.3f}" for rule, opt_of in WITHOUT.items())
    print(f"times {factor:<6g} {text}")

# %%
# A first gradient that is a hundred times too large stops DoG from learning; one that is ten
# thousand times too large stops Prodigy, too. Adadelta recovers.
