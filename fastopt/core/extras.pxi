# Pass options to C; fastopt/torch/_plan.pyx includes this file, too.
from fastopt._csrc cimport fo_extras, fo_group


cdef assign_group(fo_group *group, tuple options):
    """Set the options of a group, in the order of the assignment below.

    hp: the hyperparameters in the order of RULES[rule]; bounds: (low, high), or None.
    """
    cdef Py_ssize_t k
    rule, hp, weight_decay, decay, base_lr, maximize, l1, bounds = options
    group.rule = RULES[rule][0]
    group.decay = DECAYS[decay]
    group.maximize = maximize
    group.weight_decay = weight_decay
    group.base_lr = base_lr
    group.l1 = l1
    group.is_bounded = bounds is not None
    if bounds is not None:
        group.low, group.high = bounds
    for k in range(len(hp)):
        group.hp[k] = hp[k]


cdef assign_extras(fo_extras *extras, values):
    """Set the input fields of fo_extras that do not change between steps."""
    extras.max_grad_norm = values["max_grad_norm"]
    extras.max_grad_value = values["max_grad_value"]
    extras.needs_norm = values["needs_norm"]
    extras.needs_finite = values["needs_finite"]
    extras.clears_skipped = values["clears_skipped"]
    extras.zero_grads = values["zero_grads"]
    extras.stochastic = values["stochastic"]
    extras.ema_decay = values["ema_decay"]
    extras.lookahead_steps = values["lookahead_steps"]
    extras.lookahead_alpha = values["lookahead_alpha"]
    extras.seed = values["seed"]
