"""
An average in place of a decaying rate
======================================

A decaying learning rate reduces the noise of :class:`fastopt.SGD`, but a schedule such as the
cosine needs the number of steps beforehand. An average of the points of a run has little noise
without it. ``ema_decay`` keeps an exponential average; :class:`fastopt.ScheduleFreeSGD` averages
inside the rule.
"""

from contextlib import nullcontext

import matplotlib.pyplot as plt
import numpy as np

import fastopt
from fastopt.schedules import cosine, inverse_time

STEPS = 20_000
CURVATURE = np.geomspace(0.1, 1, 100)
OPTIMIZERS = {
    "sgd": (lambda w: fastopt.SGD(w, lr=0.1), "#7a7a7a", "-"),
    "cosine": (lambda w: fastopt.SGD(w, lr=cosine(0.1, total_steps=STEPS)), "#c99700", "-"),
    "inverse time": (lambda w: fastopt.SGD(w, lr=inverse_time(0.1, decay=0.01)), "#e20134", "-"),
    "ema_decay": (lambda w: fastopt.SGD(w, lr=0.1, ema_decay=0.999), "#008df9", "--"),
    "schedule-free": (lambda w: fastopt.ScheduleFreeSGD(w, lr=0.5), "#009f81", "--"),
}


def run(opt_of, at):
    """Return the loss at some steps, that of the average if there is one."""
    rng = np.random.default_rng(0)
    w = np.full(100, 3.0)
    opt = opt_of(w)
    found = []
    for step in range(1, STEPS + 1):
        opt.step(CURVATURE * w + rng.standard_normal(100))
        if step in at:
            with opt.averaged() if opt.has_averages else nullcontext():
                found.append(CURVATURE @ w**2 / 2)
    return found


at = np.unique([*np.geomspace(10, STEPS, 60).astype(int), 100, 1000, 10_000])
print("after steps       100    1000   10000   20000")
figure, axes = plt.subplots(layout="constrained")
for name, (opt_of, colour, dashes) in OPTIMIZERS.items():
    losses = dict(zip(at, run(opt_of, {*at}), strict=True))
    print(f"{name:13} " + " ".join(f"{losses[step]:7.3f}" for step in (100, 1000, 10_000, STEPS)))
    axes.loglog(losses.keys(), losses.values(), color=colour, linestyle=dashes, label=name)
axes.set(xlabel="step", ylabel="loss")
axes.legend()
plt.show()

# %%
# With a constant rate the loss stops falling. The cosine schedule lowers it in the last steps only;
# after half of the steps its loss is more than ten times that of the averages.
#
# Where it does not hold
# ----------------------
#
# The exponential average starts late: after 100 and 1000 steps its loss is larger than that of
# SGD. A decay as 1/t, which does not need the number of steps either, has a lower loss than both
# averages from step 1000 on, but its two constants must fit the problem. And an average lags
# behind a target that moves. The mean loss over the second half, if the minimum changes its sign
# every 2000 steps:

for name, opt_of in (
    ("sgd", lambda w: fastopt.SGD(w, lr=0.1)),
    ("ema_decay", lambda w: fastopt.SGD(w, lr=0.1, ema_decay=0.999)),
    ("schedule-free", lambda w: fastopt.ScheduleFreeSGD(w, lr=0.5)),
):
    rng = np.random.default_rng(0)
    w = np.zeros(100)
    opt = opt_of(w)
    losses = []
    for step in range(STEPS):
        target = 1.0 if step // 2000 % 2 else -1.0
        opt.step(CURVATURE * (w - target) + rng.standard_normal(100))
        if step > STEPS // 2 and step % 10 == 0:
            with opt.averaged() if opt.has_averages else nullcontext():
                losses.append(CURVATURE @ (w - target) ** 2 / 2)
    print(f"{name:13} mean loss {np.mean(losses):.2f}")
