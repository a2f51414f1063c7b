"""A dropped optimizer frees its state at once, without the cycle collector."""

import contextlib
import gc
import tracemalloc
import weakref

import numpy as np
import pytest

from fastopt import SGD, Adagrad, Adam, AdamW, FastoptError, schedules


@pytest.fixture(autouse=True)
def _without_the_cycle_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def plain(w, g):
    opt = Adam(w)
    opt.step(g)
    return opt


def amsgrad(w, g):
    opt = Adam([w], amsgrad=True)
    opt.step([g])
    return opt


def rowwise(w, g):
    opt = Adagrad({"w": w}, rowwise=True)
    opt.step({"w": g})
    return opt


def scheduled(w, g):
    opt = Adam(w, lr=schedules.cosine(0.1, total_steps=5))
    opt.step(g)
    opt.step(g)
    return opt


def bound(w, g):
    opt = Adam(w)
    opt.bind(g)
    opt.step()
    return opt


def extrapolated(w, g):
    opt = SGD(w, momentum=0.9, nesterov="lookahead", lr_in_buffer=True)
    with opt.extrapolated():
        pass
    opt.step(g)
    return opt


def accumulated(w, g):
    opt = Adam(w)
    opt.accumulate(g)
    opt.step()
    opt.accumulate(g)
    return opt


def option_set(w, g):
    opt = AdamW(w)
    opt.step(g)
    opt.lr = 0.5
    opt.param_groups[0]["betas"] = (0.5, 0.5)
    opt.step(g)
    return opt


def group_added(w, g):
    opt = Adam([{"params": [w]}])
    opt.add_param_group({"params": [w.copy()], "lr": 0.5})
    opt.step([g, g])
    return opt


def loaded(w, g):
    opt = plain(w, g)
    opt.load_state_dict(opt.state_dict())
    return opt


def bad_gradient(w, g):
    opt = plain(w, g)
    with contextlib.suppress(FastoptError):
        opt.step(g[1:])
    return opt


def bad_option(w, g):
    opt = plain(w, g)
    with contextlib.suppress(FastoptError):
        opt.param_groups[0]["lr"] = -1.0
    return opt


def bad_group(w, g):
    opt = Adam([w])
    with contextlib.suppress(FastoptError):
        opt.add_param_group({"params": [w.copy()], "eps": -1.0})
    return opt


def bad_state_dict(w, g):
    opt = scheduled(w, g)
    with contextlib.suppress(FastoptError):
        opt.load_state_dict({**opt.state_dict(), "step_count": "many"})
    return opt


def error_while_extrapolated(w, g):
    opt = SGD(w, momentum=0.9, nesterov="lookahead", lr_in_buffer=True)
    with contextlib.suppress(FastoptError), opt.extrapolated():
        opt.step(g)
    return opt


LIVES = [
    *(plain, amsgrad, rowwise, scheduled, bound, extrapolated, accumulated, option_set),
    *(group_added, loaded, bad_gradient, bad_option, bad_group, bad_state_dict),
    error_while_extrapolated,
]


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
def test_dropping_an_optimizer_frees_its_state(life):
    opt = life(np.ones((4, 3)), np.ones((4, 3)))
    states = [array for of_one in opt.state.values() for array in of_one.values()]
    watched = [weakref.ref(thing) for thing in (opt, *states, *(view.base for view in states))]
    assert len(watched) >= 5
    del opt, states
    assert [thing() for thing in watched] == [None] * len(watched)


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
def test_a_group_that_is_kept_does_not_hold_the_state(life):
    opt = life(np.ones((4, 3)), np.ones((4, 3)))
    states = [array for of_one in opt.state.values() for array in of_one.values()]
    watched = [weakref.ref(thing) for thing in (opt, *states, *(view.base for view in states))]
    groups, lr = opt.param_groups, opt.param_groups[0]["lr"]
    del opt, states
    assert [thing() for thing in watched] == [None] * len(watched)
    assert groups[0]["lr"] == lr  # with a schedule, that of the next step


def test_dropped_trials_do_not_accumulate_memory():
    w = np.zeros(1 << 22, np.float32)  # 32 MiB of state
    tracemalloc.start()
    try:
        for _ in range(30):
            opt = Adam(w)
            del opt
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 1 << 25 <= peak < 3 << 25
