# Pass the options that all groups share to C; fastopt/torch/_plan.pyx includes this file, too.
from fastopt._csrc cimport fo_extras


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
