"""Compare an optimizer with another library's, step by step, on the same gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt.optimizers.base.optimizer import Optimizer

Array = npt.NDArray[np.float64]

STEPS = 15
_RNG = np.random.default_rng(2024)
START: Array = _RNG.normal(size=(6, 5))
# Each column has another magnitude, from 1e-4 to 1, so that the place of an epsilon matters.
GRADS: Array = _RNG.normal(size=(STEPS, 6, 5)) * 10.0 ** -np.arange(5)
GRADS[:4, 0] = 0.0  # zero gradients: only the epsilon is left in denominators
# The learning rate changes, so that its place in the formula matters.
LR_FACTORS: Array = 1 / (1 + 0.3 * np.arange(STEPS))


def assert_same_path(
    opt: Optimizer,
    w: Array,
    peer_step: Callable[[Array, float], Any],
    lr: float,
    tolerance: float,
) -> None:
    """Assert that `w`, updated by `opt`, equals `peer_step(gradient, lr)` after each step."""
    for t, (g, rate) in enumerate(zip(GRADS, lr * LR_FACTORS, strict=True), 1):
        opt.lr = float(rate)
        opt.step(g)
        worst = np.abs(w - np.asarray(peer_step(g, float(rate)))).max()
        assert worst <= tolerance, f"step {t}: differs by {worst:.2g}"
    assert np.abs(w - START).max() > 100 * tolerance
