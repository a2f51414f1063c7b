"""The types of the arguments that every optimizer takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

Key = int | str  # identifies a parameter: its index in a list, or its name in a dict
Params = Any  # an array, a list of arrays, a dict from name to array, or a list of group dicts
Grads = Any  # in the structure of the parameters; None leaves a parameter unchanged
Schedule = Callable[[int], float]  # maps the number of a step, counted from 1, to its learning rate
Lr = float | Schedule


class Extra(TypedDict, total=False):
    """The keywords that every optimizer takes and that are the same for all its parameters."""

    weight_decay_mask: Callable[[str], bool] | None
    maximize: bool
    l1: float
    bounds: tuple[float | None, float | None] | None
    n_threads: int | None
    max_grad_norm: float | None
    max_grad_value: float | None
    grad_scale: float
    on_nonfinite: str
    zero_grads: bool
    ema_decay: float | None
    ema_warmup: bool
    lookahead_steps: int | None
    lookahead_alpha: float
    state_dtype: str | None
    float8_mask: Callable[[str], bool] | None
    master: str | None
    rounding: str
    seed: int


class Common(Extra, total=False):
    """The keywords that every optimizer takes in addition to those of its rule."""

    decoupled_weight_decay: bool | str
