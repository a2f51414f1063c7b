"""Schedules: compared with independent formulas and with numbers computed by hand."""

import copy
import dataclasses
import json
import math
import pickle
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

import fastopt
from fastopt import schedules
from fastopt._errors import FastoptError

STEPS = range(1, 41)


def linear(a, b, share):
    return a + (b - a) * share


def half_cosine(a, b, share):
    return (a + b) / 2 + (a - b) / 2 * math.cos(math.pi * share)


# Each formula in terms of n = t - 1; every argument differs from its default.
FORMULAS = [
    (schedules.constant(0.3), lambda n: 0.3 + 0 * n),
    (schedules.step_decay(0.3, 4, 0.7), lambda n: 0.3 * 0.7 ** (n // 4)),
    (schedules.exponential(0.3, 0.93), lambda n: 0.3 * math.exp(n * math.log(0.93))),
    (schedules.inverse_time(0.3, 0.2, 0.6), lambda n: 0.3 * (1 + 0.2 * n) ** -0.6),
    (
        schedules.polynomial(0.3, 9, 2.5, 0.02),
        lambda n: linear(0.02, 0.3, max(0, 1 - n / 9) ** 2.5),
    ),
    (schedules.cosine(0.3, 9, 0.02), lambda n: half_cosine(0.3, 0.02, min(n / 9, 1))),
    (
        schedules.cosine_restarts(0.3, 5, 1, 0.02),
        lambda n: half_cosine(0.3, 0.02, n % 5 / 5),
    ),
    (
        schedules.cosine_restarts(0.3, 2, 3, 0.02),  # cycles of 2, 6, 18, 54 steps
        lambda n: next(
            half_cosine(0.3, 0.02, (n - start) / (end - start))
            for start, end in ((0, 2), (2, 8), (8, 26), (26, 80))
            if n < end
        ),
    ),
    (
        schedules.cosine_restarts(0.3, 4, 1.5, 0.02, 0.5),  # cycles of 4, 6, 9, 13.5, 20.25 steps
        lambda n: next(
            0.02 + (half_cosine(0.3, 0.02, (n - start) / (end - start)) - 0.02) * 0.5**i
            for i, (start, end) in enumerate(pairwise((0, 4, 10, 19, 32.5, 52.75)))
            if n < end
        ),
    ),
    (
        schedules.cosine_restarts(0.3, 5, 1, 0.0, 0.7),
        lambda n: half_cosine(0.3, 0.0, n % 5 / 5) * 0.7 ** (n // 5),
    ),
    (
        schedules.exponential(0.3, 0.7, 4),
        lambda n: 0.3 * math.exp(n / 4 * math.log(0.7)),
    ),
    (schedules.exponential(0.3, 0.7, 4, True), lambda n: 0.3 * 0.7 ** (n // 4)),
    (schedules.inverse_time(0.3, 0.2, 0.6, 4), lambda n: 0.3 * (1 + 0.2 * n / 4) ** -0.6),
    (
        schedules.inverse_time(0.3, 0.2, 0.6, 4, True),
        lambda n: 0.3 * (1 + 0.2 * (n // 4)) ** -0.6,
    ),
    (
        schedules.cyclic(0.3, 0.02, 3, 5),
        lambda n: linear(0.02, 0.3, min(n % 8 / 3, (8 - n % 8) / 5)),
    ),
    (
        schedules.cyclic(0.3, 0.02, 3, None, "triangular2"),
        lambda n: linear(0.02, 0.3, (1 - abs(n % 6 - 3) / 3) / 2 ** (n // 6)),
    ),
    (
        schedules.cyclic(0.3, 0.02, 3, 5, "exp_range", 0.9),
        lambda n: linear(0.02, 0.3, min(n % 8 / 3, (8 - n % 8) / 5) * 0.9**n),
    ),
    (
        schedules.multi_step(0.3, [3, 7, 20], 0.4),
        lambda n: 0.3 * 0.4 ** ((n >= 3) + (n >= 7) + (n >= 20)),
    ),
    (
        schedules.piecewise_constant([3, 7], [0.1, 0.3, 0.0]),
        lambda n: 0.1 if n < 3 else 0.3 if n < 7 else 0.0,
    ),
    (
        schedules.join(
            [schedules.exponential(0.3, 0.9), schedules.constant(0.2), schedules.cosine(0.1, 9)],
            [4, 11],
        ),
        lambda n: (
            0.3 * 0.9**n if n < 4 else 0.2 if n < 11 else half_cosine(0.1, 0, min(1, (n - 11) / 9))
        ),
    ),
    (
        schedules.one_cycle(0.3, 20, 0.25, "cos", 10.0, 100.0),
        lambda n: (
            half_cosine(0.03, 0.3, n / 4)
            if n < 4
            else half_cosine(0.3, 0.0003, (min(n, 19) - 4) / 15)
        ),
    ),
    (
        schedules.one_cycle(0.3, 21, 0.3, "linear", 10.0, 100.0),  # the peak is at t = 6.3
        lambda n: (
            linear(0.03, 0.3, n / 5.3)
            if n < 5.3
            else linear(0.3, 0.0003, (min(n, 20) - 5.3) / 14.7)
        ),
    ),
    (
        schedules.warmup(schedules.exponential(0.3, 0.9), 6, 0.1),
        lambda n: 0.3 * (0.1 + 0.9 * n / 6) if n < 6 else 0.3 * 0.9 ** (n - 6),
    ),
    (
        schedules.warmup(schedules.inverse_time(0.3, 1.0), 6),
        lambda n: 0.3 * (n + 1) / 7 if n < 6 else 0.3 / (n - 5),
    ),
]
ALL = [schedule for schedule, _ in FORMULAS] + [
    schedules.ReduceOnPlateau(0.3, 0.5, 2, 0.01, "abs", 1, 0.02, "max"),
    schedules.warmup(schedules.ReduceOnPlateau(0.3), 5),
    schedules.join([schedules.ReduceOnPlateau(0.3), schedules.ReduceOnPlateau(0.2)], [5]),
]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=[repr(s) for s, _ in FORMULAS])
def test_formula(schedule, formula):
    for t in STEPS:
        assert schedule(t) == pytest.approx(formula(t - 1), rel=1e-14, abs=1e-16)
        assert type(schedule(t)) is float


@pytest.mark.parametrize(
    ("schedule", "lrs"),
    [
        (schedules.step_decay(1.0, 3), [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01]),
        (schedules.polynomial(1.0, 4), [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        (schedules.polynomial(1.0, 2, power=0.0), [1.0, 1.0, 0.0, 0.0]),
        (schedules.polynomial(1.0, 4, 2.0, 0.2), [1.0, 0.65, 0.4, 0.25, 0.2, 0.2]),
        (schedules.cosine(1.0, 3), [1.0, 0.75, 0.25, 0.0, 0.0]),
        (schedules.cosine(1.0, 2, 0.5), [1.0, 0.75, 0.5, 0.5]),
        (schedules.cosine_restarts(1.0, 3), [1.0, 0.75, 0.25, 1.0, 0.75, 0.25, 1.0]),
        (
            schedules.cosine_restarts(1.0, 1, 2),
            [1.0, 1.0, 0.5, 1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 1.0],
        ),
        (schedules.one_cycle(1.0, 6, 0.5), [0.04, 0.52, 1.0, 0.750001, 0.250003, 4e-6, 4e-6]),
        (
            schedules.one_cycle(1.0, 4, 0.0, "linear", final_div_factor=1.0),
            [0.76, 0.52, 0.28, 0.04, 0.04],
        ),
        (schedules.warmup(schedules.polynomial(1.0, 2), 1), [0.5, 1.0, 0.5, 0.0, 0.0]),
        (schedules.warmup(schedules.constant(1.0), 4, 0.0), [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]),
        (
            schedules.warmup(schedules.warmup(schedules.constant(1.0), 1), 2, 0.5),
            [0.25, 0.375, 0.5, 1.0, 1.0],
        ),
    ],
    ids=repr,
)
def test_values_computed_by_hand(schedule, lrs):
    got = [schedule(t) for t in range(1, len(lrs) + 1)]
    assert got == pytest.approx(lrs, rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("lr", [0.1, 0.3, 1e-3, 7.7e5])
def test_both_ends_are_exact(lr):
    lr_min = lr / 3
    for schedule in (
        schedules.polynomial(lr, 7, 1.3, lr_min),
        schedules.cosine(lr, 7, lr_min),
    ):
        assert schedule(1) == lr
        assert schedule(8) == schedule(10**15) == lr_min
    assert schedules.cosine_restarts(lr, 7, 2, lr_min)(1 + 7 * (2**40 - 1)) == lr
    assert schedules.one_cycle(lr, 40, 0.25)(10) == lr
    assert schedules.warmup(schedules.constant(lr), 7)(8) == lr


def test_lr_is_the_base_learning_rate():
    assert [schedule.lr for schedule in ALL] == [0.3] * len(ALL)
    assert schedules.warmup(schedules.warmup(schedules.cosine(0.7, 5), 2), 3).lr == 0.7


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_copies(schedule):
    for twin in (
        pickle.loads(pickle.dumps(schedule)),
        copy.deepcopy(schedule),
        eval(repr(schedule), vars(schedules)),
    ):
        assert twin is not schedule
        assert repr(twin) == repr(schedule)
        assert [twin(t) for t in STEPS] == [schedule(t) for t in STEPS]


def test_pickles_name_the_public_module():
    """Pickles can then be loaded after a class has moved to another module of the package."""
    for name in schedules.__all__:
        assert getattr(schedules, name).__module__ == "fastopt.schedules"
    assert b"schedules.decays" not in pickle.dumps(schedules.cosine(0.1, 10))


def test_repr():
    cosine = schedules.cosine(0.1, 100)
    assert repr(cosine) == "cosine(lr=0.1, total_steps=100, lr_min=0.0)"
    assert repr(schedules.warmup(cosine, 4)) == (
        f"warmup(schedule={cosine!r}, steps=4, start_factor=0.2)"
    )
    assert repr(schedules.ReduceOnPlateau(0.1)) == (
        "ReduceOnPlateau(lr=0.1, factor=0.1, patience=10, threshold=0.0001, "
        "threshold_mode='rel', cooldown=0, lr_min=0.0, mode='min')"
    )


def test_schedules_without_state_are_immutable_and_compared_by_arguments():
    assert schedules.cosine(0.1, 100) == schedules.cosine(0.1, 100)
    assert hash(schedules.cosine(0.1, 100)) == hash(schedules.cosine(0.1, 100))
    assert schedules.cosine(0.1, 100) != schedules.cosine(0.1, 101)
    with pytest.raises(AttributeError):
        schedules.cosine(0.1, 100).lr = 0.2


def test_numpy_scalars_become_python_numbers():
    schedule = schedules.cosine(np.float32(0.1), np.int32(100))
    assert schedule == schedules.cosine(float(np.float32(0.1)), 100)
    assert repr(schedule) == f"cosine(lr={float(np.float32(0.1))}, total_steps=100, lr_min=0.0)"
    assert type(schedule(np.int64(50))) is float


def run(schedule, metrics):
    """Return the learning rate after each report."""
    lrs = []
    for metric in metrics:
        schedule.report(metric)
        lrs.append(schedule(1))
    return lrs


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("options", "metrics", "lrs"),
    [
        # The first report is the first best; more than `patience` without improvement reduce.
        ({"patience": 0}, [5, 5, 4, 4, 4], [8, 4, 4, 2, 1]),
        ({"patience": 1}, [5, 5, 5, 5, 5], [8, 8, 4, 4, 2]),
        ({"patience": 2}, [5, 6, 6, 4, 6, 6, 6, 6], [8, 8, 8, 8, 8, 8, 4, 4]),
        ({"patience": 0, "factor": 0.25}, [5, 5, 5], [8, 2, 0.5]),
        ({"patience": 0, "lr_min": 3}, [5, 5, 5, 5], [8, 4, 3, 3]),
        # An improvement by exactly the threshold does not count. The comparison is with the best.
        ({"patience": 0, "threshold": 0.5}, [8, 4, 3, 2, 1], [8, 4, 4, 2, 2]),
        (
            {"patience": 0, "threshold": 1, "threshold_mode": "abs"},
            [8, 7, 6.5, 5.5, 5],
            [8, 4, 4, 2, 2],
        ),
        ({"patience": 0, "threshold": 0}, [8, 8, 7.999, 7.999], [8, 4, 4, 2]),
        # Below zero an improvement is still a decrease.
        ({"patience": 0, "threshold": 0.5}, [-4, -4, -6, -7, -3], [8, 4, 2, 2, 1]),
        ({"patience": 0, "threshold": 0.5}, [0, 0, -1], [8, 4, 4]),
        ({"patience": 0, "threshold": 0.5, "mode": "max"}, [2, 3, 4, 1, 6.5], [8, 4, 4, 2, 2]),
        ({"patience": 0, "threshold": 0.5, "mode": "max"}, [-4, -2, -1, -1], [8, 4, 4, 2]),
        (
            {"patience": 0, "threshold": 1, "threshold_mode": "abs", "mode": "max"},
            [2, 3, 3.5, 4.5],
            [8, 4, 4, 2],
        ),
        # During the cooldown reports without improvement are not counted; the best is updated.
        ({"patience": 0, "cooldown": 2}, [5, 5, 5, 5, 5, 5], [8, 4, 4, 4, 2, 2]),
        ({"patience": 1, "cooldown": 1}, [5, 5, 5, 5, 5, 5, 5], [8, 8, 4, 4, 4, 2, 2]),
        ({"patience": 0, "cooldown": 2}, [5, 5, 3, 4, 4], [8, 4, 4, 4, 2]),
        # Neither NaN nor infinity is an improvement, not even in the first report.
        ({"patience": 0}, [NAN, 5, NAN, 4], [4, 4, 2, 2]),
        ({"patience": 1}, [5, NAN, NAN], [8, 8, 4]),
        ({"patience": 0}, [INF, 5, 5], [4, 4, 2]),
        ({"patience": 0, "mode": "max"}, [-INF, NAN, 5, 5], [4, 2, 2, 1]),
    ],
)
def test_reduce_on_plateau(options, metrics, lrs):
    schedule = schedules.ReduceOnPlateau(8.0, **{"factor": 0.5, **options})
    assert run(schedule, metrics) == lrs
    assert schedule.lr == 8.0
    assert schedule(10**6) == lrs[-1]


def test_reduce_on_plateau_with_default_arguments():
    lrs = run(schedules.ReduceOnPlateau(1.0), [2.0] + [2.0 * (1 - 1e-4)] * 11)
    assert lrs == [1.0] * 11 + [0.1]
    lrs = run(schedules.ReduceOnPlateau(1.0), [2.0] + [2.0 * (1 - 1.1e-4)] * 11)
    assert lrs == [1.0] * 12


METRICS = [5.0, 4.0, 4.0, 4.0, NAN, 3.0, 3.0, 3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("cut", range(len(METRICS)))
@pytest.mark.parametrize("wrap", [0, 1, 2, "join"])
def test_reduce_on_plateau_resumes(cut, wrap):
    def make():
        schedule = schedules.ReduceOnPlateau(8.0, factor=0.5, patience=1, cooldown=1)
        if wrap == "join":
            other = schedules.ReduceOnPlateau(4.0, patience=0)
            return schedules.join([schedules.warmup(schedule, 3), other], [50])
        for steps in range(wrap):
            schedule = schedules.warmup(schedule, steps + 1)
        return schedule

    whole, first, second = make(), make(), make()
    expected = [(whole.report(m), whole(1), whole(100))[1:] for m in METRICS][cut:]
    for metric in METRICS[:cut]:
        first.report(metric)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for resumed in (second, pickle.loads(pickle.dumps(first)), copy.deepcopy(first), first):
        got = [(resumed.report(m), resumed(1), resumed(100))[1:] for m in METRICS[cut:]]
        assert got == expected


def test_warmup_rises_to_the_current_rate_of_the_plateau():
    plateau = schedules.ReduceOnPlateau(8.0, factor=0.5, patience=0)
    schedule = schedules.warmup(plateau, 3)
    schedule.report(1.0)
    assert [schedule(t) for t in (1, 2, 3, 4)] == [2.0, 4.0, 6.0, 8.0]
    schedule.report(1.0)
    assert plateau(1) == 4.0
    assert [schedule(t) for t in (1, 2, 3, 4)] == [1.0, 2.0, 3.0, 4.0]
    assert schedule.lr == 8.0


@pytest.mark.parametrize("schedule", [s for s, _ in FORMULAS], ids=repr)
def test_schedules_without_state_ignore_reports(schedule):
    before = [schedule(t) for t in STEPS]
    schedule.report(1.0)
    schedule.load_state_dict(schedule.state_dict())
    assert schedule.state_dict() == {}
    assert [schedule(t) for t in STEPS] == before
    with pytest.raises(FastoptError, match=r"the state has the keys \['best'\]; .* has no state"):
        schedule.load_state_dict({"best": 1.0})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"current_lr": -1.0}, FastoptError, "current_lr is -1.0; allowed: 0.5 <= value <= 8"),
        ({"current_lr": 9.0}, FastoptError, "current_lr is 9.0; allowed: 0.5 <= value <= 8"),
        ({"current_lr": "1"}, TypeError, "current_lr is '1'; a number is needed"),
        ({"best": NAN}, FastoptError, "best is nan; allowed: any finite number"),
        ({"best": None}, TypeError, "best is None; a number is needed"),
        ({"num_bad_epochs": -1}, FastoptError, "num_bad_epochs is -1; allowed: 0 or more"),
        ({"cooldown_counter": 0.5}, TypeError, "cooldown_counter is 0.5; a whole number is"),
        ({"more": 1}, FastoptError, "the state has the keys .*'more'.*; allowed: .*'best'"),
    ],
)
def test_a_damaged_state_changes_nothing(change, error, message):
    schedule = schedules.ReduceOnPlateau(8.0, lr_min=0.5)
    run(schedule, [3.0, 2.0, 2.0])
    before = schedule.state_dict()
    good = {"current_lr": 1.0, "best": 1.0, "num_bad_epochs": 5, "cooldown_counter": 3}
    with pytest.raises(error, match=message):
        schedule.load_state_dict(good | change)
    assert schedule.state_dict() == before
    schedule.load_state_dict(good)
    assert schedule.state_dict() == good


BELOW_1 = "allowed: 0 <= value < 1$"
PLATEAU = schedules.ReduceOnPlateau


@pytest.mark.parametrize(
    ("make", "args", "error", "message"),
    [
        (schedules.constant, (NAN,), FastoptError, "lr is nan; allowed: finite, >= 0"),
        (schedules.constant, (INF,), FastoptError, "lr is inf; allowed: finite, >= 0"),
        (schedules.constant, ("0.1",), TypeError, "lr is '0.1'; a number is needed"),
        (schedules.constant, (True,), TypeError, "lr is True; a number is needed"),
        (schedules.step_decay, (1, 0), FastoptError, "step_size is 0; allowed: 1 or more"),
        (schedules.step_decay, (1, 2.0), TypeError, "step_size is 2.0; a whole number is"),
        (schedules.step_decay, (1, 2, -1), FastoptError, "gamma is -1; allowed: finite, >= 0"),
        (schedules.exponential, (1, -0.9), FastoptError, "gamma is -0.9"),
        (schedules.inverse_time, (1, -0.1), FastoptError, "decay is -0.1"),
        (schedules.inverse_time, (1, 0.1, -1), FastoptError, "power is -1"),
        (schedules.polynomial, (1, 0), FastoptError, "total_steps is 0; allowed: 1 or more"),
        (schedules.polynomial, (1, 9, -1), FastoptError, "power is -1"),
        (
            schedules.polynomial,
            (1, 9, 1, 2),
            FastoptError,
            "lr_min is 2; allowed: 0 <= value <= 1",
        ),
        (
            schedules.cosine,
            (1, True),
            TypeError,
            "total_steps is True; a whole number is needed",
        ),
        (schedules.cosine, (0.1, 9, 0.2), FastoptError, "lr_min is 0.2; .* 0 <= value <= 0.1"),
        (schedules.cosine, (0.1, 9, -0.2), FastoptError, "lr_min is -0.2"),
        (
            schedules.cosine_restarts,
            (1, 0),
            FastoptError,
            "first_cycle is 0; allowed: 1 or more",
        ),
        (schedules.cosine_restarts, (1, 9, 0.9), FastoptError, "cycle_mult is 0.9; .* >= 1"),
        (schedules.cosine_restarts, (1, 9, True), TypeError, "cycle_mult is True; a number"),
        (schedules.cosine_restarts, (1, 9, 1, 0, -1), FastoptError, "peak_mult is -1; .* >= 0"),
        (schedules.exponential, (1, 0.9, 0), FastoptError, "decay_steps is 0; allowed: 1 or"),
        (schedules.exponential, (1, 0.9, 2, 1), TypeError, "staircase is 1; True or False"),
        (schedules.inverse_time, (1, 1, 1, 0), FastoptError, "decay_steps is 0; allowed: 1"),
        (schedules.inverse_time, (1, 1, 1, 2, 1), TypeError, "staircase is 1; True or False"),
        (schedules.cyclic, (1, 2), FastoptError, "lr_min is 2; allowed: 0 <= value <= 1"),
        (schedules.cyclic, (1, 0, 0), FastoptError, "step_size_up is 0; allowed: 1 or more"),
        (schedules.cyclic, (1, 0, 2, 0), FastoptError, "step_size_down is 0; allowed: 1 or"),
        (schedules.cyclic, (1, 0, 2, 2, "up"), FastoptError, "mode is 'up'; .*'triangular2'"),
        (schedules.cyclic, (1, 0, 2, 2, "triangular", 2), FastoptError, "gamma is 2; allowed"),
        (schedules.multi_step, (1, 3), TypeError, "milestones is 3; a sequence of whole"),
        (schedules.multi_step, (1, "12"), TypeError, "milestones is '12'; a sequence of"),
        (schedules.multi_step, (1, [2.5]), TypeError, r"milestones\[0\] is 2.5; a whole number"),
        (schedules.multi_step, (1, [0]), FastoptError, r"milestones\[0\] is 0; allowed: 1 or"),
        (schedules.multi_step, (1, [3, 3]), FastoptError, r"is \[3, 3\]; increasing numbers"),
        (schedules.multi_step, (1, [3], -1), FastoptError, "gamma is -1; allowed: finite, >="),
        (schedules.piecewise_constant, ([3], [1]), FastoptError, "has 1 elements; 2 are needed"),
        (schedules.piecewise_constant, ([3], 1), TypeError, "values is 1; a sequence is needed"),
        (
            schedules.piecewise_constant,
            ([3], [1, -1]),
            FastoptError,
            r"values\[1\] is -1; allowed: finite, >= 0",
        ),
        (schedules.join, ([0.1, 0.2], [3]), TypeError, r"schedules\[0\] is 0.1; one of fast"),
        (schedules.join, ([schedules.constant(1)], [3]), FastoptError, "1 elements; 2 are"),
        (schedules.cosine_restarts, (1, 9, 1, 2), FastoptError, "lr_min is 2"),
        (schedules.one_cycle, (1, 1), FastoptError, "total_steps is 1; allowed: 2 or more"),
        (schedules.one_cycle, (1, 9, 1.0), FastoptError, f"pct_start is 1.0; {BELOW_1}"),
        (
            schedules.one_cycle,
            (1, 9, 0.3, "s"),
            FastoptError,
            "anneal_strategy is 's'; .* 'cos'",
        ),
        (schedules.one_cycle, (1, 9, 0.3, "cos", 0.5), FastoptError, "^div_factor is .* >= 1"),
        (schedules.one_cycle, (1, 9, 0.3, "cos", 1, 0), FastoptError, "^final_div_factor is 0"),
        (schedules.warmup, (0.1, 9), TypeError, "schedule is 0.1; one of fastopt.schedules is"),
        (
            schedules.warmup,
            (schedules.constant(1), 0),
            FastoptError,
            "steps is 0; allowed: 1 or",
        ),
        (
            schedules.warmup,
            (schedules.constant(1), 9, 1.1),
            FastoptError,
            "start_factor is 1.1",
        ),
        (PLATEAU, (1, 1.0), FastoptError, f"factor is 1.0; {BELOW_1}"),
        (PLATEAU, (1, 0.1, -1), FastoptError, "patience is -1; allowed: 0 or more"),
        (PLATEAU, (1, 0.1, 0.5), TypeError, "patience is 0.5; a whole number is needed"),
        (PLATEAU, (1, 0.1, 1, 1), FastoptError, f"threshold is 1; {BELOW_1}"),
        (PLATEAU, (1, 0.1, 1, -1, "abs"), FastoptError, "threshold is -1; .* finite, >= 0"),
        (PLATEAU, (1, 0.1, 1, 0, "a"), FastoptError, "threshold_mode is 'a'; .* 'rel', 'abs'"),
        (
            PLATEAU,
            (1, 0.1, 1, 0, "rel", -1),
            FastoptError,
            "cooldown is -1; allowed: 0 or more",
        ),
        (PLATEAU, (1, 0.1, 1, 0, "rel", 0, 2), FastoptError, "lr_min is 2"),
        (
            PLATEAU,
            (1, 0.1, 1, 0, "rel", 0, 0, "best"),
            FastoptError,
            "mode is 'best'; .* 'min'",
        ),
    ],
)
def test_bad_arguments(make, args, error, message):
    with pytest.raises(error, match=message):
        make(*args)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_bad_lr(schedule):
    if isinstance(schedule, schedules.warmup):
        schedule = schedule.schedule
    if isinstance(schedule, (schedules.join, schedules.piecewise_constant)):
        return  # these schedules have no lr
    with pytest.raises(FastoptError, match=r"lr is -0\.1; allowed: finite, >= 0"):
        dataclasses.replace(schedule, lr=-0.1)


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        (schedules.exponential(1.0, 2.0), 1024),
        (schedules.exponential(1e300, 1e7), 2),  # inf without an OverflowError
        (schedules.exponential(1.0, 2.0, 4, True), 4096),
        (schedules.step_decay(1.0, 2, 2.0), 2048),
        (schedules.multi_step(1.0, [1, 5], 1e300), 5),
        (schedules.cosine_restarts(1.0, 1, 1, 0.0, 2.0), 1024),
        (schedules.warmup(schedules.exponential(1.0, 2.0), 3), 1027),
    ],
)
def test_infinite_learning_rates_are_refused(schedule, last):
    assert math.isfinite(schedule(last))
    with pytest.raises(FastoptError, match=r"the learning rate of step .* is infinite: "):
        schedule(last + 1)


def test_a_denominator_that_overflows_gives_0():
    assert schedules.inverse_time(1.0, 1.0, 400.0)(1000) == 0.0


@pytest.mark.parametrize("mult", [1 + 1e-9, 1.1, 1.25, 1.5, 2.5, 3.7])
def test_cycles_that_grow_by_a_fraction_start_where_exact_arithmetic_says(mult):
    schedule = schedules.cosine_restarts(1.0, 7, mult)
    begin, length = Fraction(0), Fraction(7)
    for _ in range(40):
        end = begin + length
        first = math.ceil(begin)
        assert schedule(first + 1) == pytest.approx(
            half_cosine(1.0, 0.0, float((first - begin) / length)), abs=1e-9
        )
        if end - 1 > begin:
            last = math.ceil(end) - 1
            assert schedule(last + 1) == pytest.approx(
                half_cosine(1.0, 0.0, float((last - begin) / length)), abs=1e-9
            )
        if end > 10**9:
            break
        begin, length = end, length * Fraction(mult)


def test_a_state_of_another_join_changes_nothing():
    schedule = schedules.join([schedules.constant(1), schedules.ReduceOnPlateau(8.0)], [5])
    schedule.report(3.0)
    before = schedule.state_dict()
    assert sorted(before) == [
        f"1.{name}" for name in ("best", "cooldown_counter", "current_lr", "num_bad_epochs")
    ]
    for state, message in (
        ({}, "the state has the keys"),
        ({"best": 1.0}, "the state has the key 'best'; allowed: "),
        ({**before, "2.best": 1.0}, "the state has the key '2.best'"),
        ({**before, "0.best": 1.0}, "has no state"),
        ({**before, "1.best": math.nan}, "best is nan"),
    ):
        with pytest.raises(FastoptError, match=message):
            schedule.load_state_dict(state)
        assert schedule.state_dict() == before


def test_a_join_with_two_plateaus_loads_both_or_none():
    def make():
        return schedules.join([schedules.ReduceOnPlateau(8.0) for _ in range(2)], [5])

    schedule = make()
    state = {**schedule.state_dict(), "0.best": 1.0, "1.best": math.nan}
    before = schedule.state_dict()
    with pytest.raises(FastoptError, match="best is nan"):
        schedule.load_state_dict(state)
    assert schedule.state_dict() == before


@pytest.mark.parametrize("schedule", ALL, ids=repr)
@pytest.mark.parametrize("step", [0, -1])
def test_step_numbers_below_1_are_refused(schedule, step):
    with pytest.raises(FastoptError, match=f"step is {step}; allowed: 1"):
        schedule(step)


def test_a_schedule_is_called_only_for_steps_that_are_taken(tmp_path):
    rates = [0.1, 0.05, 0.01]

    def listed(step):
        return rates[step - 1]

    opt, other = (fastopt.Adam([np.ones(3)], lr=listed) for _ in range(2))
    for _ in rates:
        opt.step([np.ones(3)])
    assert "listed" in repr(opt)
    assert "listed" in repr(opt.param_groups[0])
    assert "lr" not in opt.state_dict()["param_groups"][0]
    opt.save(tmp_path / "x.npz")
    other.load(tmp_path / "x.npz")
    assert (other.step_count, other.params[0].tolist()) == (3, opt.params[0].tolist())

    def squares(x):
        return float(x @ x), 2 * x

    run = {"schedule": listed, "max_steps": 3, "checkpoint": tmp_path / "run.npz"}
    assert fastopt.minimize(squares, np.ones(2), **run).nit == 3
