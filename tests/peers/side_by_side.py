"""Walk two optimizers over the same gradients and compare them after every step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastopt.optimizers.base.optimizer import Optimizer

Array = npt.NDArray[np.float64]

STEPS = 15
_RNG = np.random.default_rng(2024)
START: Array = _RNG.normal(size=(6, 5))
# Each column with a magnitude of its own, from 1e-4 to 1: shows where an epsilon stands.
GRADS: Array = _RNG.normal(size=(STEPS, 6, 5)) * 10.0 ** -np.arange(5)
GRADS[:4, 0] = 0.0  # no gradient yet: 0 in every denominator but the epsilon
FALL: Array = 1 / (1 + 0.3 * np.arange(STEPS))  # of the learning rate: shows where that stands


def assert_same_path(
    opt: Optimizer,
    w: Array,
    peer_step: Callable[[Array, float], Any],
    lr: float,
    tolerance: float,
) -> None:
    """Compare `w`, which `opt` updates, with what `peer_step(gradient, lr)` returns."""
    for t, (g, rate) in enumerate(zip(GRADS, lr * FALL, strict=True), 1):
        opt.lr = float(rate)
        opt.step(g)
        worst = np.abs(w - np.asarray(peer_step(g, float(rate)))).max()
        assert worst <= tolerance, f"step {t}: differs by {worst:.2g}"
    assert np.abs(w - START).max() > 100 * tolerance
