"""
Parameters in bfloat16 lose small steps
=======================================

A bfloat16 number has 8 significant bits: the next number below 1 is 0.996. A step from 1 of less
than half of this difference is rounded away. Stochastic rounding keeps it on average, and a float32
copy keeps it with the precision of float32.
"""

import matplotlib.pyplot as plt
import numpy as np
from ml_dtypes import bfloat16
from sklearn.datasets import load_digits

import fastopt
from fastopt.models import MLP

MODES = {
    "float32": (np.float32, {}),
    "bfloat16": (bfloat16, {}),
    "stochastic": (bfloat16, {"rounding": "stochastic"}),
    "master": (bfloat16, {"master": "float32"}),
    "8 bits": (bfloat16, {"rounding": "stochastic", "state_dtype": "float8"}),
}
LABELS = {
    "float32": "float32 parameters",
    "bfloat16": "bfloat16, rounded to nearest",
    "stochastic": 'rounding="stochastic"',
    "master": 'master="float32"',
    "8 bits": '"stochastic", state_dtype="float8"',
}

# A thousand steps of length 0.0001 from 1, with a gradient that is always 1
for mode, (dtype, options) in MODES.items():
    w = np.ones(10_000, dtype)
    opt = fastopt.Adam(w, lr=1e-4, **options)
    for _ in range(1000):
        opt.step(np.ones(10_000, np.float32))
    print(f"{LABELS[mode]:35} moved {1 - w.astype(float).mean():.3f}")

# %%
# Rounded to nearest, the parameters do not move at all. What is printed for the float32 copy is the
# parameter, which is the copy rounded to bfloat16.
#
# A network
# ---------

digits = load_digits()
X, y = (digits.data / 16).astype(np.float32), digits.target


def fit(mode, lr, epochs=20):
    """Return the training loss after each epoch, and the bytes of parameters and state."""
    dtype, options = MODES[mode]
    model = MLP([64, 128, 10], loss="softmax")
    params = {name: w.astype(dtype) for name, w in model.init(seed=0).items()}
    opt = fastopt.AdamW(params, lr=lr, **options)

    def loss_and_grad(rows, labels):
        exact = {name: w.astype(np.float32) for name, w in params.items()}
        return model.loss_and_grad(exact, rows, labels)

    batches = fastopt.Batches(X, y, batch_size=64, seed=0)
    losses = []
    for _ in range(epochs):
        for rows, labels in batches:
            opt.step(loss_and_grad(rows, labels)[1])
        losses.append(loss_and_grad(X, y)[0])
    arrays = [x for state in opt.state.values() for x in state.values() if hasattr(x, "nbytes")]
    size = sum(w.size for w in params.values())
    return losses, sum(x.nbytes for x in [*params.values(), *arrays]) / size


figure, axes = plt.subplots(layout="constrained")
colours = "#000000", "#e20134", "#008df9", "#009f81", "#c99700"
for (mode, label), colour in zip(LABELS.items(), colours, strict=True):
    losses, n_bytes = fit(mode, lr=1e-4)
    print(f"{label:35} {n_bytes:4.1f} bytes, loss {losses[-1]:.3f}")
    dashes = "-" if mode in ("float32", "bfloat16") else "--"
    axes.plot(range(1, 21), losses, color=colour, linestyle=dashes, label=label)
axes.set(xlabel="epoch", ylabel="training loss")
axes.legend()
plt.show()

# %%
# With the small rate of 0.0001, parameters rounded to nearest hardly learn; the others learn as
# those in float32 do. The bytes are those of parameters and state. The small arrays of this network
# keep float32 state, so "float8" has more than four bytes.
#
# Where it does not hold
# ----------------------
#
# If the steps are long, less is lost: with a hundred times the rate the loss of all is below 0.01.

for mode, label in LABELS.items():
    print(f"{label:35} loss {fit(mode, lr=1e-2)[0][-1]:.4f}")

# %%
# Stochastic rounding is right on average only. Near a minimum it is noise of up to one unit in the
# last place, which a float32 copy does not have. The distance of the parameters from a minimum at
# 0.7, after a start at 1:

for mode in ("bfloat16", "stochastic", "master"):
    dtype, options = MODES[mode]
    w = np.ones(10_000, dtype)
    opt = fastopt.Adam(w, lr=fastopt.schedules.cosine(0.01, total_steps=2000), **options)
    for _ in range(2000):
        opt.step(w.astype(np.float32) - np.float32(0.7))
    print(f"{LABELS[mode]:35} {np.sqrt(np.mean((w.astype(float) - 0.7) ** 2)):.5f}")
