"""A schedule that reduces the learning rate when a reported metric stops improving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastopt._checks import Choice, Real, Whole, at_least_0, decay_rate
from fastopt._errors import FastoptError
from fastopt.schedules.base import Schedule, check_fields


@dataclass(eq=False)
class ReduceOnPlateau(Schedule):
    """Reduce the learning rate when a metric, reported once per epoch, stops improving.

    Improving (mode "min") means metric < best - threshold*|best| ("rel") or metric < best -
    threshold ("abs"); in mode "max" the signs are reversed. NaN is never an improvement. After
    more than `patience` reports in a row without improvement, lr <- max(lr*factor, lr_min), and
    the next `cooldown` reports are not counted as reports without improvement.

    Parameters
    ----------
    lr : float, at least 0
        The learning rate until the first reduction. The attribute keeps this value. A call of
        the schedule returns the current learning rate for any step.
    factor : float in [0, 1)
    patience : int, at least 0
    threshold : float, at least 0, below 1 if "rel"
    threshold_mode : "rel" or "abs"
    cooldown : int, at least 0
    lr_min : float in [0, lr]
    mode : "min" or "max"

    Raises
    ------
    FastoptError, TypeError
        An argument of another type, or outside the range above.

    Notes
    -----
    PyTorch's ReduceLROnPlateau with two differences. A relative threshold also works for negative
    metrics. PyTorch's best*(1 - threshold) is then worse than best, so that a constant metric
    counts as an improvement in every epoch. And every reduction is made, however small; PyTorch
    skips those below its eps.

    Unlike the other schedules, this one has state, so an instance is equal only to itself.

    Examples
    --------
    >>> schedule = ReduceOnPlateau(8.0, factor=0.5, patience=1)
    >>> for epoch, loss in enumerate((3.0, 2.0, 2.0, 2.0)):
    ...     schedule.report(loss)
    ...     print(epoch, schedule(1))
    0 8.0
    1 8.0
    2 8.0
    3 4.0
    """

    lr: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    lr_min: float = 0.0
    mode: Literal["min", "max"] = "min"
    _current_lr: float = field(init=False, repr=False)
    _best: float = field(init=False, repr=False)
    _num_bad_epochs: int = field(init=False, repr=False, default=0)
    _cooldown_counter: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        check_fields(
            self,
            lr=at_least_0,
            factor=decay_rate,
            patience=Whole(0),
            threshold_mode=Choice(("rel", "abs")),
            cooldown=Whole(0),
            mode=Choice(("min", "max")),
        )
        check_fields(self, threshold=decay_rate if self.threshold_mode == "rel" else at_least_0)
        check_fields(self, lr_min=Real(0.0, self.lr))
        self._current_lr = self.lr
        self._best = math.inf if self.mode == "min" else -math.inf

    def _after(self, _n: int) -> float:
        return self._current_lr

    def report(self, metric: float) -> None:
        """Receive the metric of an epoch, and reduce the learning rate if it is due."""
        metric = float(metric)
        if self._improves(metric):
            self._best = metric
            self._num_bad_epochs = 0
        else:
            self._num_bad_epochs += 1
        if self._cooldown_counter > 0:
            self._cooldown_counter -= 1
            self._num_bad_epochs = 0
        if self._num_bad_epochs > self.patience:
            self._current_lr = max(self._current_lr * self.factor, self.lr_min)
            self._cooldown_counter = self.cooldown
            self._num_bad_epochs = 0

    def _improves(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        metric, best = sign * metric, sign * self._best
        if self.threshold_mode == "abs":
            return metric < best - self.threshold
        # best - threshold*|best| would be NaN for the first best, which is infinite.
        return metric < best * (1.0 - math.copysign(self.threshold, best))

    def state_dict(self) -> dict[str, Any]:
        """Return the current learning rate, the best metric and the two counters."""
        return {
            "current_lr": self._current_lr,
            "best": self._best,
            "num_bad_epochs": self._num_bad_epochs,
            "cooldown_counter": self._cooldown_counter,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned; a damaged state changes nothing."""
        needed = list(self.state_dict())
        if state.keys() != set(needed):
            raise FastoptError(f"the state has the keys {list(state)}; allowed: {needed}")
        current_lr = Real(self.lr_min, self.lr)("current_lr", state["current_lr"])
        best = state["best"]
        best = best if best in (math.inf, -math.inf) else Real()("best", best)
        num_bad_epochs = Whole(0)("num_bad_epochs", state["num_bad_epochs"])
        cooldown_counter = Whole(0)("cooldown_counter", state["cooldown_counter"])
        self._current_lr, self._best = current_lr, best
        self._num_bad_epochs, self._cooldown_counter = num_bad_epochs, cooldown_counter
