"""
AdaGrad favours sparse features, and its rate only shrinks
==========================================================

:class:`fastopt.Adagrad` divides the rate of each coefficient by the root of the sum of its squared
gradients. A rare feature has a small sum, and so a large rate.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import csr_array

import fastopt
from fastopt.cli.picture import STYLES
from fastopt.estimators import GLMRegressor

WORDS, PER_ROW, ROWS = 5000, 30, 8000
RATES = {
    "sgd": (0.003, 0.01, 0.03, 0.1),
    "adagrad": (0.3, 1.0, 3.0, 10.0),
    "adam": (0.01, 0.03, 0.1, 0.3),
}


def texts(power):
    """Return 2 ROWS rows of words, and y; word k has a frequency proportional to k^-power."""
    rng = np.random.default_rng(0)
    share = np.arange(1.0, WORDS + 1) ** -power
    words = rng.choice(WORDS, size=(2 * ROWS, PER_ROW), p=share / share.sum())
    start = np.arange(0, words.size + 1, PER_ROW)
    X = csr_array((np.ones(words.size), words.ravel(), start), shape=(2 * ROWS, WORDS))
    X.sum_duplicates()
    X.data[:] = 1.0  # whether a row has the word
    y = X @ (3.0 * rng.standard_normal(WORDS))
    return X, y - y.mean() + rng.standard_normal(2 * ROWS)


def held_out(rule, lr, X, y, epochs=4):
    """Return the share of the variance unexplained on the second half of the rows, by epoch."""
    model = GLMRegressor(solver=rule, eta0=lr, shuffle=False)
    losses = []
    for _ in range(epochs):
        try:
            model.partial_fit(X[:ROWS], y[:ROWS])
        except fastopt.FastoptError:  # the coefficients overflow at this rate
            return [np.inf] * epochs
        losses.append(np.mean((y[ROWS:] - model.predict(X[ROWS:])) ** 2) / np.var(y[ROWS:]))
    return losses


figure, panels = plt.subplots(
    2, 1, figsize=(4.8, 6.4), layout="constrained", sharex=True, sharey=True
)
titles = {1.1: "frequencies as in texts, a power law", 0.0: "all words equally frequent"}
for axes, (power, title) in zip(panels, titles.items(), strict=True):
    X, y = texts(power)
    print(f"{title}: unexplained variance")
    for rule, rates in RATES.items():
        runs = {lr: held_out(rule, lr, X, y) for lr in rates}
        lr = min(runs, key=lambda lr: runs[lr][-1])
        losses = runs[lr]
        print(f"  {rule:8} {losses[-1]:.4f} at lr={lr}")
        colour, dashes = STYLES[rule]
        axes.plot(range(1, 5), losses, color=colour, linestyle=dashes, marker="o", label=rule)
    axes.set(title=title, ylabel="unexplained variance", yscale="log", xticks=range(1, 5))
    axes.set_yticks([0.03, 0.1, 0.3], ["0.03", "0.1", "0.3"])
    axes.minorticks_off()
panels[0].legend()
panels[1].set_xlabel("epochs")
plt.show()

# %%
# Each rule has the best of four rates. With the frequencies of texts AdaGrad has less than half of
# SGD's error. With equal frequencies there are no rare features to favour, and it is the other way
# round. Adam is between the two.
#
# The rate only shrinks
# ---------------------
#
# With gradients of a constant size, step t is lr/√t:

w = np.zeros(1)
opt = fastopt.Adagrad(w, lr=1.0)
for step in range(1, 10_001):
    before = w[0]
    opt.step(np.ones(1))
    if step in (1, 100, 10_000):
        print(f"step {step:6}: {before - w[0]:.4f}")

# %%
# Where it does not hold
# ----------------------
#
# Equal frequencies, above; and gradients that were large early on, after which the rate stays small
# for good. Here they are 100 in the first ten steps and then 1:

for name, opt_of in (
    ("Adagrad", lambda w: fastopt.Adagrad(w, lr=0.1)),
    ("RMSprop", lambda w: fastopt.RMSprop(w, lr=0.1)),
):
    w = np.zeros(1)
    opt = opt_of(w)
    for step in range(1000):
        if step == 10:
            at = w[0]
        before = w[0]
        opt.step(np.array([100.0 if step < 10 else 1.0]))
    print(f"{name}: {-at:.2f} in 10 steps, {at - w[0]:.2f} in 990, last step {before - w[0]:.4f}")

# %%
# RMSProp forgets the large gradients, and its step grows back to its rate of 0.1.
# :doc:`plot_08_rmsprop_moving_target` has more.
