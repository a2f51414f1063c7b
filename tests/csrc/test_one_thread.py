"""An optimizer is for one thread at a time: calls during a call of another thread are refused."""

import contextlib
import copy
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import arrays, bits

from fastopt import SGD, Adam, FastoptError, checkpoint
from fastopt.optimizers.base import attributes, saving
from fastopt.optimizers.base.state import accumulated
from fastopt.optimizers.base.state.groups import ParamGroup

N = 20_000


def elsewhere(call):
    """Make a call in another thread; return the exception that it raises, or None."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).exception()


class Calls:
    """A gradient whose conversion to an array calls something in another thread."""

    def __init__(self, call):
        self.call, self.raised = call, []

    def __array__(self, dtype=None, copy=None):
        self.raised.append(elsewhere(self.call))
        return np.ones(3)


def calling(original, call, raised):
    """Return a function that calls something in another thread, then the original."""

    def function(*args, **kwargs):
        raised.append(elsewhere(call))
        return original(*args, **kwargs)

    return function


SAVED = Adam(arrays(3)).state_dict()

# For each call: how to make it, and the function during which the test runs another thread.
CALLS = {
    "step()": (lambda opt, _: opt.step([np.ones(3)]), (ParamGroup, "for_c")),
    "accumulate()": (lambda opt, _: opt.accumulate([np.ones(3)]), (accumulated, "add_all")),
    "state_dict()": (lambda opt, _: opt.state_dict(), (saving, "state_dict_of")),
    "load_state_dict()": (
        lambda opt, _: opt.load_state_dict(SAVED),
        (saving, "checked"),
    ),
    "save()": (lambda opt, path: opt.save(path), (checkpoint, "write")),
    "load()": (lambda opt, path: opt.load(path), (saving, "load_all")),
    "add_param_group()": (
        lambda opt, _: opt.add_param_group({"params": [np.ones(2)]}),
        (attributes, "plan_of"),
    ),
}


@pytest.mark.parametrize("other", CALLS)
@pytest.mark.parametrize("running", CALLS)
def test_a_call_during_another_is_refused(running, other, tmp_path, monkeypatch):
    (w,) = arrays(3)
    opt = Adam([w])
    opt.step([np.ones(3)])
    opt.lr = 0.5  # so that the next step passes options
    path = tmp_path / "opt.npz"
    opt.save(path)
    call, (holder, name) = CALLS[running]
    raised = []

    def interfere():
        before = bits([w, opt._accumulated.sums, opt.step_count])
        try:
            CALLS[other][0](opt, path)
        finally:
            assert bits([w, opt._accumulated.sums, opt.step_count]) == before

    with monkeypatch.context() as patch:
        patch.setattr(holder, name, calling(getattr(holder, name), interfere, raised))
        call(opt, path)
    assert [type(error) for error in raised] == [FastoptError]
    assert str(raised[0]).startswith(f"{other} while {running} of this optimizer is running")
    opt.zero_grad() if opt._accumulated.sums else None
    CALLS["state_dict()"][0](opt, path)  # not refused, because the call has ended


def test_a_call_in_a_gradient_is_refused():
    opt = Adam([np.zeros(3)])
    for call in (lambda: opt.step([np.ones(3)]), lambda: opt.accumulate([np.ones(3)])):
        for method in (opt.step, opt.accumulate):
            gradient = Calls(call)
            method([gradient])
            opt._accumulated.sums = {}
            assert [type(error) for error in gradient.raised] == [FastoptError]


def test_an_error_ends_the_call(tmp_path):
    opt = Adam([np.zeros(3)])
    for call in (
        lambda: opt.step([np.ones(4)]),
        lambda: opt.accumulate([np.ones(4)]),
        lambda: opt.load_state_dict({}),
        lambda: opt.load(tmp_path / "missing.npz"),
        lambda: opt.save(tmp_path / "no folder" / "opt.npz"),
        lambda: opt.add_param_group({}),
        lambda: opt.bind([np.ones(4)]),
        opt.zero_grad,
        opt.step,
    ):
        with pytest.raises((FastoptError, TypeError, OSError)):
            call()
    opt.step([np.ones(3)])
    assert opt.step_count == 1


class Stepping:
    """A schedule that, when it is pickled or copied, takes a step in another thread."""

    def __call__(self, step):
        return 0.1

    def __reduce__(self):
        if self.opt is not None:
            assert elsewhere(lambda: self.opt.step([np.ones(3)])) is None
        return Stepping, ()

    opt = None


@pytest.mark.parametrize("how", [copy.deepcopy, pickle.dumps], ids=["deepcopy", "pickle"])
def test_a_step_during_a_copy_is_taken_and_the_copy_is_refused(how):
    schedule = Stepping()
    opt = Adam([np.zeros(3)], lr=schedule)
    how(opt)
    schedule.opt = opt
    with pytest.raises(FastoptError, match=r"step\(\) of this optimizer ran while it was pickled"):
        how(opt)
    assert opt.step_count == 1
    schedule.opt = None
    how(opt)


def test_accumulating_in_two_threads_loses_nothing():
    opt = SGD(np.zeros(N), lr=1.0)
    barrier = threading.Barrier(2)

    def add():
        n_added = 0
        barrier.wait()
        for _ in range(200):
            with contextlib.suppress(FastoptError):
                opt.accumulate(np.ones(N))
                n_added += 1
        return n_added

    with ThreadPoolExecutor(2) as pool:
        added = sum(future.result() for future in [pool.submit(add), pool.submit(add)])
    opt.step()
    assert (opt.params == -added).all()


@pytest.mark.parametrize("name", ["state_dict", "deepcopy", "pickle", "save"])
def test_copies_beside_a_training_thread_are_of_one_step(name, tmp_path):
    """In a consistent copy, all elements of the parameter and of the state are the same number."""
    opt = SGD([np.zeros(N) for _ in range(20)], lr=1.0, momentum=0.5)
    done = threading.Event()

    def train():
        while not done.is_set():
            with contextlib.suppress(FastoptError):
                opt.step([np.ones(N)] * 20)

    def copied():
        if name == "state_dict":
            return [own["momentum_buffer"] for own in opt.state_dict()["state"].values()]
        if name == "deepcopy":
            return copy.deepcopy(opt).params
        if name == "pickle":
            return pickle.loads(pickle.dumps(opt)).params
        opt.save(tmp_path / "opt.npz")
        other = SGD([np.zeros(N) for _ in range(20)], lr=1.0, momentum=0.5)
        other.load(tmp_path / "opt.npz")
        return other.params

    opt.step([np.ones(N)] * 20)
    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(10):
            with contextlib.suppress(FastoptError):
                assert len({x for w in copied() for x in (w[0], w[-1])}) == 1
    finally:
        done.set()
        thread.join()
    copied()


# Options


def test_an_option_set_while_options_are_passed_takes_effect_at_the_next_step(monkeypatch):
    w = np.zeros(3)
    opt = SGD([w], lr=1.0)

    def set_lr():
        opt.param_groups[0]["lr"] = 10.0

    with monkeypatch.context() as patch:
        original = ParamGroup.for_c
        patch.setattr(ParamGroup, "for_c", calling(original, set_lr, []))
        opt.step([np.ones(3)])
    before = w[0]
    opt.step([np.ones(3)])
    assert before in (-1.0, -10.0)
    assert w[0] == before - 10.0


def test_options_are_passed_by_the_step_after_one_that_failed():
    w = np.zeros(3)
    opt = SGD([w], lr=1.0)
    inner = []

    class Fails:
        def __array__(self, dtype=None, copy=None):
            inner.append(elsewhere(lambda: opt.step([np.ones(3)])))
            raise ValueError("no gradient")

    with pytest.raises((ValueError, TypeError)):
        opt.step([Fails()])
    assert [type(error) for error in inner] == [FastoptError]
    opt.step([np.ones(3)])
    assert (w == -1).all()


def test_two_threads_first_steps_are_taken_or_refused():
    for _ in range(200):
        w = np.zeros(3)
        opt = SGD([w], lr=1.0)
        barrier = threading.Barrier(2)

        def step(opt=opt, barrier=barrier):
            barrier.wait()
            with contextlib.suppress(FastoptError):
                opt.step([np.ones(3)])

        threads = [threading.Thread(target=step) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (w == -opt.step_count).all()


# Forks


def in_child(call):
    """Return what call() returns in a forked child: a string."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writing, call().encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.wait()
    with os.fdopen(reading) as file:
        return file.read()


def refusal(call):
    try:
        call()
    except FastoptError as error:
        return str(error)
    return "taken"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # from Python 3.12 on
def test_a_process_forked_during_a_step(tmp_path):
    """Only some elements may have been updated, so only load() is allowed: it replaces them all."""
    w = np.zeros(3)
    opt = SGD([w], lr=1.0)
    opt.save(tmp_path / "opt.npz")

    def child():
        found = [refusal(lambda: opt.step([np.ones(3)])), refusal(opt.state_dict)]
        opt.load(tmp_path / "opt.npz")
        opt.step([np.ones(3)])
        return "\n".join([*found, str(w)])

    said = []

    class Forks:
        def __array__(self, dtype=None, copy=None):
            said.append(elsewhere_in_child())
            return np.ones(3)

    def elsewhere_in_child():
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(in_child, child).result()

    opt.step([Forks()])
    step, state_dict, after = said[0].splitlines()
    assert step.startswith("step() in a process that was forked while step() of this optimizer")
    assert state_dict.startswith("state_dict() in a process that was forked while step()")
    assert after == "[-1. -1. -1.]"
    opt.step([np.ones(3)])
    assert (w == -2).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # from Python 3.12 on
def test_a_process_forked_during_a_call_that_reads(monkeypatch):
    """The child's arrays are consistent, so it can take steps."""
    w = np.zeros(3)
    opt = SGD([w], lr=1.0)
    said = []

    def child():
        opt.step([np.ones(3)])
        return str(w)

    def forks(*args):
        with ThreadPoolExecutor(1) as pool:
            said.append(pool.submit(in_child, child).result())
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(saving, "state_dict_of", forks)
        opt.state_dict()
    assert said == ["[-1. -1. -1.]"]
    opt.step([np.ones(3)])
