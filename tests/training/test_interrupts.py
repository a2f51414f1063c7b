"""KeyboardInterrupt at random times: it is raised within a second, and state stays consistent.

tests/training/test_minimize.py has the tests of `minimize`.
"""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from support import arrays, bits, everything
from threadpoolctl import threadpool_limits

from fastopt import SGD, Adam, Batches, KalmanSGD

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")


@pytest.fixture(autouse=True)
def alarm_raises_keyboard_interrupt():
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)


def interrupt(call, after):
    """Call repeatedly until KeyboardInterrupt is raised, ``after`` seconds later."""
    with suppress(KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, after)
        while True:
            call()


@contextmanager
def ignored_interrupts():
    """Yield a list with an entry for each KeyboardInterrupt that Python reports as ignored.

    Python cannot raise the exception of a handler that runs in a `__del__` or in a callback.
    """
    ignored, report = [], sys.unraisablehook

    def note(unraisable):
        if unraisable.exc_type is KeyboardInterrupt:
            ignored.append(True)
        else:
            report(unraisable)

    sys.unraisablehook = note
    try:
        yield ignored
    finally:
        sys.unraisablehook = report


def interrupt_once(call, after):
    """Call once; the signal is sent ``after`` seconds later, during the call or after it."""
    with ignored_interrupts() as ignored:
        try:
            signal.setitimer(signal.ITIMER_REAL, after)
            call()
            for _ in range(6000):  # a busy machine may be late
                if ignored:
                    return
                time.sleep(0.01)  # short, because a signal just before the sleep does not end it
        except KeyboardInterrupt:
            return
    pytest.fail("KeyboardInterrupt was neither raised nor reported as ignored")


def delays(longest, times):
    """Return random delays, some of which end during a call on a machine of any speed."""
    return np.random.default_rng(0).uniform(1e-6, longest, times)


def test_an_interrupted_step_is_taken_and_counted_or_neither():
    """Parameters, state and step_count agree; the signal is handled when C has returned."""
    w, g = np.zeros(4_000_000, np.float32), np.ones(4_000_000, np.float32)
    opt = SGD(w, lr=1.0, n_threads=1)
    for after in delays(0.01, 10):
        interrupt(lambda: opt.step(g), after)
        assert opt.step_count == opt.state[0]["step"] == -w[0] == -w[-1]


def test_an_interrupted_accumulation_adds_all_gradients_or_none():
    params = [np.zeros(300_000, np.float32) for _ in range(3)]
    grads = [np.ones_like(w) for w in params]
    opt = SGD(params, lr=1.0)
    opt.bind([np.zeros_like(w) for w in params])  # for steps when there are no accumulated sums

    def ends(tensors):
        return {float(x) for tensor in tensors for x in (tensor[0], tensor[-1])}

    for after in delays(0.005, 100):
        interrupt(lambda: opt.accumulate(grads), after)
        sums = opt.state_dict()["accumulated"]
        assert len(sums) in (0, 3)
        assert len(ends(sums.values())) <= 1
        assert 0.0 not in ends(sums.values())
        steps = opt.step_count
        interrupt(opt.step, after / 5)
        was_taken = opt.step_count > steps
        assert len(opt.state_dict()["accumulated"]) == (0 if was_taken else len(sums))
        assert ends(params) == ({-x for x in ends(sums.values())} if was_taken and sums else {0.0})
        for w in params:
            w[...] = 0
        opt.zero_grad()


def test_an_interrupted_look_ahead_restores_the_parameters():
    params = arrays(*[50_000] * 8)
    opt = SGD(params, lr=0.1, momentum=0.9, nesterov="lookahead", lr_in_buffer=True)

    def look():
        with opt.extrapolated():
            pass

    look()
    opt.step([w * 0 + 1 for w in params])
    before = everything(opt)
    for after in delays(0.002, 100):
        interrupt(look, after)
        assert everything(opt) == before


def test_an_interrupted_load_state_dict_loads_all_or_nothing():
    params = arrays(*[50_000] * 8)
    opt = Adam(params)
    states = [opt.state_dict()]
    opt.step([np.ones_like(w) for w in params])
    states.append(opt.state_dict())
    expected = [bits(state) for state in states]
    for i, after in enumerate(delays(0.004, 60)):
        opt.load_state_dict(states[i % 2])
        interrupt_once(lambda other=states[1 - i % 2]: opt.load_state_dict(other), after)
        assert bits(opt.state_dict()) in expected


@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_load_of_a_file_loads_all_or_nothing(tmp_path):
    """The file has many groups and the position in the epoch."""
    pair = (
        Adam([{"params": arrays(20_000)} for _ in range(20)]),
        Batches(np.arange(9), seed=0, batch_size=2),
    )
    opt, batches = pair
    files, expected = [tmp_path / "0.npz", tmp_path / "1.npz"], []
    for path in files:
        opt.save(path, batches=batches)
        expected.append((everything(opt), batches.state_dict()))
        for group in opt.param_groups:
            group["lr"] = 0.5
        opt.step([w * 0 + 1 for w in opt.params])
        next(iter(batches))
    for i, after in enumerate(delays(0.03, 60)):
        opt.load(files[i % 2], batches=batches)
        interrupt_once(lambda path=files[1 - i % 2]: opt.load(path, batches=batches), after)
        assert (everything(opt), batches.state_dict()) in expected


def test_an_interrupted_add_param_group_adds_all_or_nothing():
    opt = Adam(arrays(10), lr=0.1)
    for after in delays(0.0005, 200):
        interrupt_once(lambda: opt.add_param_group({"params": arrays(10)}), after)
        count = opt.step_count
        opt.step([w * 0 + 1 for w in opt.params])
        assert opt.step_count == count + 1
        assert len(opt.state) == len(opt.params) == len(opt.param_groups)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_an_interrupted_epoch_can_be_resumed(batch_size):
    rows = np.arange(9)
    batches = Batches(rows, batch_size=batch_size, seed=0)

    def epoch():
        for _ in batches:
            pass

    for after in delays(0.0005, 300):
        interrupt(epoch, after)
        assert 0 <= batches.position < len(batches)
        same = Batches(rows, batch_size=batch_size, seed=0)
        same.load_state_dict(batches.state_dict())
        assert [bits(batch) for batch in batches] == [bits(batch) for batch in same]


FILTERS = {
    "plain": dict(m0=1.0),
    "ud": dict(m0=1.0, mode="ud"),
    "qr": dict(mode="qr"),
    "diag": dict(m0=1.0, covariance="diag"),
}


@pytest.mark.parametrize("form", FILTERS)
def test_an_interrupted_partial_fit_absorbs_complete_blocks(form):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200_000, 20))
    y = X @ np.ones(20)
    for after in delays(0.1, 10):
        k = KalmanSGD(20, **FILTERS[form])
        interrupt_once(lambda k=k: k.partial_fit(X, y), after)
        assert k.n_passes == (k.n_obs > 0)
        if k.n_obs > 20:
            same = KalmanSGD(20, **FILTERS[form]).partial_fit(X[: k.n_obs], y[: k.n_obs])
            np.testing.assert_allclose(k.coef, same.coef, rtol=1e-9)
            np.testing.assert_allclose(k.stderr, same.stderr, rtol=1e-6, atol=1e-12)


def test_an_interrupted_load_of_a_filter_loads_all_or_nothing():
    X = np.random.default_rng(0).standard_normal((400, 20))
    k = KalmanSGD(20, m0=1.0)
    states = [k.state_dict(), k.partial_fit(X, X[:, 0]).state_dict()]
    expected = [bits(state) for state in states]
    for i, after in enumerate(delays(0.001, 200)):
        k.load_state_dict(states[i % 2])
        interrupt_once(lambda state=states[1 - i % 2]: k.load_state_dict(state), after)
        assert bits(k.state_dict()) in expected


def test_an_interrupted_partial_fit_keeps_correction_and_rows_consistent():
    X = np.vander(np.linspace(0, 1, 300), 9)
    y = X.sum(axis=1) + np.resize([1.0, -1.0], 300)
    first = KalmanSGD(9, mode="qr").partial_fit(X, y)
    assert first.state_dict()["correction"].any()
    for after in delays(0.0005, 300):
        k = first.copy()
        interrupt_once(lambda k=k: k.partial_fit(X[:3], y[:3]), after)
        assert k.state_dict()["correction"].any() == (k.n_obs == 300)


# Raised within a second


def assert_interruptible(call, has_begun):
    """Send SIGINT during an endless loop of calls; KeyboardInterrupt must come within a second."""
    pressed = []

    def press():
        while not has_begun():
            time.sleep(0.01)
        time.sleep(0.1)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def call_for_ever():
        while True:
            call()

    presser = threading.Thread(target=press)
    presser.start()
    # On a loaded machine, several threads of OpenBLAS would wait for each other.
    with threadpool_limits(1, "blas"), pytest.raises(KeyboardInterrupt):
        call_for_ever()
    assert time.monotonic() - pressed[0] < 1.0
    presser.join()


def test_steps_can_be_interrupted():
    opt = Adam(np.zeros(2_000_000))
    g = np.ones(2_000_000)
    assert_interruptible(lambda: opt.step(g), lambda: opt.step_count > 0)


def test_epochs_can_be_interrupted():
    batches = Batches(np.zeros((1_000_000, 10)), batch_size=1000, seed=0)

    def epoch():
        for _ in batches:
            pass

    assert_interruptible(epoch, lambda: batches.position > 0)


@pytest.mark.parametrize("form", FILTERS)
def test_partial_fit_can_be_interrupted(form):
    X = np.random.default_rng(0).standard_normal((20_000, 500))
    k = KalmanSGD(500, **FILTERS[form])
    assert_interruptible(lambda: k.partial_fit(X, X[:, 0]), lambda: k.n_obs > 0)


def test_fit_model_can_be_interrupted():
    X = np.random.default_rng(0).standard_normal((20_000, 100))
    k = KalmanSGD(np.full(100, 0.1), mode="qr")
    before, calls = bits(k.state_dict()), []

    def noise(w, rows):
        calls.append(w)
        rng = np.random.default_rng(len(calls))
        return rng.standard_normal(len(rows)), rows + rng.standard_normal(rows.shape)

    assert_interruptible(lambda: k.fit_model(noise, X, X[:, 0]), lambda: len(calls) > 2)
    assert bits(k.state_dict()) == before
