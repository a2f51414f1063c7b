"""The calls that are timed, a step of each rule and loops that move its bytes, and timers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastopt import _core, optimizers
from fastopt.arrays.dtypes import Array
from fastopt.arrays.layout import at_offset
from fastopt.optimizers.base.optimizer import Optimizer

Call = Callable[[], object]


class Rule(NamedTuple):
    """An optimizer whose step is timed."""

    cls: Callable[..., Optimizer]
    options: dict[str, Any] = {}
    # The arrays that are read twice, for sums before the update: 0 for the gradient and for the
    # parameter, k for the k-th state.
    again: tuple[int, ...] = ()


RULES = {
    "sgd": Rule(optimizers.SGD),
    "momentum": Rule(optimizers.SGD, {"momentum": 0.9}),
    "nesterov": Rule(optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": Rule(optimizers.Adagrad),
    "adadelta": Rule(optimizers.Adadelta),
    "rmsprop": Rule(optimizers.RMSprop),
    "rmsprop_centered": Rule(optimizers.RMSprop, {"centered": True}),
    "rmsprop_momentum": Rule(optimizers.RMSprop, {"momentum": 0.9}),
    "rmsprop_centered_momentum": Rule(optimizers.RMSprop, {"momentum": 0.9, "centered": True}),
    "adam": Rule(optimizers.Adam),
    "adamw": Rule(optimizers.AdamW),
    "amsgrad": Rule(optimizers.Adam, {"amsgrad": True}),
    "adamax": Rule(optimizers.Adamax),
    "nadam": Rule(optimizers.NAdam),
    "radam": Rule(optimizers.RAdam),
    "adabelief": Rule(optimizers.AdaBelief),
    "yogi": Rule(optimizers.Yogi),
    "qhadam": Rule(optimizers.QHAdam),
    "adopt": Rule(optimizers.ADOPT),
    "ademamix": Rule(optimizers.AdEMAMix),
    "adan": Rule(optimizers.Adan),
    "smorms3": Rule(optimizers.SMORMS3),
    "ftrl": Rule(optimizers.Ftrl),
    "lion": Rule(optimizers.Lion),
    "signsgd": Rule(optimizers.Signum, {"momentum": 0.0}),
    "signum": Rule(optimizers.Signum),
    "rprop": Rule(optimizers.Rprop),
    "asgd": Rule(optimizers.ASGD),
    "schedule_free_sgd": Rule(optimizers.ScheduleFreeSGD),
    "schedule_free_adamw": Rule(optimizers.ScheduleFreeAdamW),
    "schedule_free_radam": Rule(optimizers.ScheduleFreeRAdam),
    "sgd_normalized": Rule(optimizers.SGD, {"normalized": "tensor"}, (0,)),
    "adamw_cautious": Rule(optimizers.AdamW, {"cautious": True}, (0, 1)),
    "lion_cautious": Rule(optimizers.Lion, {"cautious": True}, (0, 1)),
    "stable_adamw": Rule(optimizers.StableAdamW, {}, (0, 2)),
    "novograd": Rule(optimizers.NovoGrad, {}, (0,)),
    "lars": Rule(optimizers.LARS, {"weight_decay": 0.01}, (0, 0)),
    "dog": Rule(optimizers.DoG, {}, (0, 0, 1)),
    "prodigy": Rule(optimizers.Prodigy, {}, (0, 0, 3, 4)),
    "lamb": Rule(optimizers.LAMB, {"weight_decay": 0.01}, (0, 0, 1, 2)),
}
DEFAULT_RULES = (
    *("sgd", "momentum", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "amsgrad", "nadam"),
    *("lion", "adan", "schedule_free_adamw", "lamb"),
)
DTYPES = ("float32", "float64", "float16", "bfloat16")


def bound(
    rule: str, size: int, threads: int, dtype: str = "float32", **extras: Any
) -> tuple[Optimizer, list[Array]]:
    """Return an optimizer of one tensor with a bound gradient, and the arrays that it updates."""
    if dtype == "bfloat16":
        import ml_dtypes  # noqa: F401  makes NumPy know the name "bfloat16"
    cls, options, _ = RULES[rule]
    w = np.ones(size, dtype)
    drawn = np.random.default_rng(0).standard_normal(
        size, np.float64 if dtype == "float64" else np.float32
    )
    opt = cls(w, lr=1e-6, n_threads=threads, **options, **extras)
    opt.bind(drawn.astype(dtype, copy=False))
    return opt, [w, *(opt.state[0][name] for name in opt.param_groups[0].state_names)]


def limits(arrays: list[Array], threads: int) -> list[Call]:
    """Return calls of loops that move the bytes of a step and change no array.

    Each loop reads zeros and adds them to each of `arrays`, or to copies of these that are aligned
    to 64 bytes.  Those of `arrays` are last, so that a step that follows finds them in the cache.
    """
    zeros = np.empty_like(arrays[0])
    zeros.fill(0)  # np.zeros could map all pages to a single page of zeros
    aligned = [_aligned(array, i) for i, array in enumerate((zeros, *arrays))]
    return [
        partial(_core.move, source, own, threads, loop)
        for source, own in ((aligned[0], aligned[1:]), (zeros, arrays))
        for loop in range(_core.N_LOOPS)
    ]


def limit(arrays: list[Array], threads: int) -> Call:
    """Return the fastest of `limits`, found with a few calls of each."""
    loops = limits(arrays, threads)
    return loops[fastest(together(loops, rounds=5, times=max(1, 1_000_000 // arrays[0].size)))]


def _aligned(array: Array, i: int) -> Array:
    """Return a copy aligned to 64 bytes; copies of different i have different offsets in a page."""
    copy = at_offset(7 * 64 * i, array.shape, array.dtype)
    copy[:] = array
    return copy


def moved(rule: str, arrays: list[Array]) -> int:
    """Return the bytes that a step moves, including what it reads twice."""
    return _of_loop(arrays) + sum(arrays[k].nbytes for k in RULES[rule].again)


def scale(rule: str, arrays: list[Array]) -> float:
    """Return the bytes that a step moves, divided by those that a loop of `limits` moves."""
    return moved(rule, arrays) / _of_loop(arrays)


def _of_loop(arrays: list[Array]) -> int:
    """Return the bytes that a loop moves: it reads and writes `arrays` and reads a gradient."""
    return arrays[0].nbytes + 2 * sum(array.nbytes for array in arrays)


def seconds(call: Call, times: int) -> float:
    """Return the mean time of a call over `times` calls."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def paired(a: Call, b: Call, rounds: int, times: int) -> list[tuple[float, float]]:
    """Return the times of a and b in each round.

    They run alternately, so that a change of the machine's speed affects both.
    """
    return [(first, second) for first, second in together((a, b), rounds, times)]


def together(calls: Sequence[Call], rounds: int, times: int) -> list[tuple[float, ...]]:
    """Return the times of all calls in each round, as `paired` does for two.

    Each is called once before it is timed, so that its arrays are in the cache to the same extent
    whatever ran before.  Otherwise calls with different arrays would compete for the cache.
    """
    for call in calls:
        call()
    return [tuple(_seconds_warm(call, times) for call in calls) for _ in range(rounds)]


def _seconds_warm(call: Call, times: int) -> float:
    call()
    return seconds(call, times)


def fastest(rounds: list[tuple[float, ...]]) -> int:
    """Return the index of the call with the least median time."""
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    return medians.index(min(medians))


def ratio(a: Call, b: Call, rounds: int, times: int) -> float:
    """Return the median over rounds of the time of a divided by that of b."""
    return statistics.median(x / y for x, y in paired(a, b, rounds, times))
