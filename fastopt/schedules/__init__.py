"""Learning rate schedules: functions from the number of a step to its learning rate.

A schedule can be given in place of a number wherever an optimizer takes `lr`:

>>> from fastopt.schedules import cosine, warmup
>>> schedule = warmup(cosine(lr=0.1, total_steps=100), steps=4)
>>> schedule
warmup(schedule=cosine(lr=0.1, total_steps=100, lr_min=0.0), steps=4, start_factor=0.2)
>>> [round(schedule(t), 6) for t in (1, 2, 3, 4, 5, 55, 105, 1000)]
[0.02, 0.04, 0.06, 0.08, 0.1, 0.05, 0.0, 0.0]

In the formulas t is the number of the step, counted from 1, and lr(t) is its learning rate. Names
and indexing follow `torch.optim.lr_scheduler` with one call of its `step()` per update (t =
last_epoch + 1); each class states where it differs. A schedule with an end keeps its last value
after it. A learning rate that would be infinite raises an error. All schedules except
`ReduceOnPlateau` are immutable and compare equal if their arguments are equal. Some use pow or cos
of the C library, so bit-identical results are promised on one machine, not across machines.

Any other function of the number of the step can be used too. A lambda works, but an optimizer that
has one cannot be pickled; a function that is defined in a module can.

| module | what it answers |
|---|---|
| `base` | What is a schedule, and how are its arguments checked? |
| `decays` | Which schedules decay from `lr` (or are constant)? |
| `cycles` | Which schedules rise and fall? |
| `pieces` | Which schedules are constant between given steps, or follow each other? |
| `wrappers` | Which schedules are built from other schedules? |
| `plateau` | Which schedule reacts to a metric, such as the training loss? |
"""

from fastopt.schedules.base import Schedule
from fastopt.schedules.cycles import cosine_restarts, cyclic, one_cycle
from fastopt.schedules.decays import (
    constant,
    cosine,
    exponential,
    inverse_time,
    polynomial,
    step_decay,
)
from fastopt.schedules.pieces import join, multi_step, piecewise_constant
from fastopt.schedules.plateau import ReduceOnPlateau
from fastopt.schedules.wrappers import warmup

__all__ = [
    "ReduceOnPlateau",
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclic",
    "exponential",
    "inverse_time",
    "join",
    "multi_step",
    "one_cycle",
    "piecewise_constant",
    "polynomial",
    "step_decay",
    "warmup",
]

# A pickle contains the documented name, so that a class may move to another module.
for _name in __all__:
    globals()[_name].__module__ = __name__
