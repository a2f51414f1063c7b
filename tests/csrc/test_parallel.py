"""Threads, forks and instruction sets do not change a result."""

import contextlib
import copy
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import RULES, arrays, bits, make, printed, python

from fastopt import SGD, Adam, FastoptError, _core

MANY = max(3 * _core.SERIAL_BELOW, 8 * _core.CHUNK) + 1  # elements, large enough for threads


@pytest.mark.parametrize("rule", RULES)
def test_any_number_of_threads_gives_the_same_bits(rule):
    shapes = [MANY, (3, 70_001), (), 5, 0, _core.CHUNK]
    results = []
    for n_threads in (1, 2, 3, 7):
        params = arrays(*shapes, dtype=np.float32)
        opt = make(rule, params, lr=0.1, n_threads=n_threads)
        for t in (1, 2):
            opt.step([np.sin(w + np.float32(t)) for w in params])
        results.append(bits([params, opt.state]))
    assert all(result == results[0] for result in results)


# Instruction sets

RESULT = """
import hashlib, numpy, fastopt
w = numpy.linspace(-1, 1, 1003, dtype=numpy.float32)
opt = fastopt.Adam(w, lr=0.1, weight_decay=0.1)
for t in range(3):
    opt.step(numpy.sqrt(numpy.abs(w)))
print(fastopt._core.isa(), hashlib.sha256(w.tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def widest():
    return printed(RESULT).split()


@pytest.mark.parametrize("isa", _core.isas())
def test_fastopt_isa_selects_the_instruction_set(isa, widest):
    used, result = printed(RESULT, FASTOPT_ISA=isa).split()
    assert used == isa
    assert result == widest[1]


def test_the_widest_instruction_set_is_the_default(widest):
    assert widest[0] == _core.isas()[-1]


MISSING = sorted({"baseline", "v3", "v4"} - set(_core.isas()))


@pytest.mark.parametrize("isa", ["v0", "V3", "avx512", "native", *MISSING])
def test_an_unsupported_instruction_set_is_an_import_error(isa):
    done = python("import fastopt", FASTOPT_ISA=isa)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"ImportError: FASTOPT_ISA={isa!r}: this CPU has {', '.join(_core.isas())}"


# Forks

FORK = """
import os, signal, sys, threading, numpy, fastopt
def opts():
    return [fastopt.Adam(numpy.ones(n), n_threads=2) for n in (200_000, 5)]
def step(opts):
    for opt in opts:
        opt.step(numpy.full(opt.params.size, 0.5))
def result(opts):
    return [opt.params.tobytes() for opt in opts], [opt.step_count for opt in opts]
def fork():
    parent, same = opts(), opts()
    for one in (parent, same):
        step(one)
    step(same)
    reading, writing = os.pipe()
    if os.fork() == 0:
        signal.alarm(15)  # end a child that waits for threads that fork did not copy
        step(parent)
        fresh = opts()  # made in the child
        step(fresh), step(fresh)
        ok = result(parent) == result(same) == result(fresh)
        os.write(writing, b"ok" if ok else b"differs")
        os._exit(0)
    os.wait()
    os.close(writing)
    print(os.read(reading, 10).decode())
    step(parent)
    assert result(parent) == result(same), "the parent"
def steps():
    busy = opts()
    while not done.is_set():
        step(busy)
done = threading.Event()
if sys.argv[1] == "during a step":
    others = threading.Thread(target=steps)
    others.start()
    for _ in range(5):
        fork()
    done.set(), others.join()
elif sys.argv[1] == "in a thread":
    thread = threading.Thread(target=fork)
    thread.start(), thread.join()
else:
    fork()
"""

POOL = """
import multiprocessing, sys
import numpy, fastopt

def stepped(opt):
    opt.step(numpy.full(opt.params.size, 0.5))
    return opt.params.tobytes(), opt.step_count

if __name__ == "__main__":
    opt = fastopt.Adam(numpy.ones(200_000), n_threads=2)
    stepped(opt)
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        results = pool.map_async(stepped, [opt, opt]).get(timeout=30)
    here = stepped(opt)
    print(results == [here, here])
"""
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@forks
@pytest.mark.parametrize(
    ("where", "times"), [("in the main thread", 1), ("in a thread", 1), ("during a step", 5)]
)
def test_a_forked_child_can_take_steps(where, times):
    assert printed(FORK, where).split() == ["ok"] * times


@pytest.mark.parametrize(
    "method",
    [pytest.param("fork", marks=forks), pytest.param("forkserver", marks=forks), "spawn"],
)
def test_a_pool_of_processes(method, tmp_path):
    script = tmp_path / "pool.py"  # spawn and forkserver import it again
    script.write_text(POOL)
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], None, '__main__')"
    )
    assert printed(code, script, method) == "True"


# Threads of the caller


class BlockingGradient:
    """A gradient whose conversion to an array blocks, so that the step waits until `released`."""

    def __init__(self, array):
        self.array = array
        self.requested, self.released = threading.Event(), threading.Event()

    def __array__(self, dtype=None, copy=None):
        self.requested.set()
        assert self.released.wait(20)
        return self.array


@contextlib.contextmanager
def during_a_step_of(opt):
    """Run a block while another thread is in opt.step with a gradient of ones."""
    gradient = BlockingGradient(np.ones(3))
    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(opt.step, [gradient])
        assert gradient.requested.wait(20)
        try:
            yield
        finally:
            gradient.released.set()
        step.result()


def lookahead(w):
    opt = SGD([w], momentum=0.9, lr_in_buffer=True, nesterov="lookahead")
    with opt.extrapolated():
        pass
    return opt


def look_ahead(opt):
    with opt.extrapolated():
        pass


@pytest.mark.parametrize(
    ("make_one", "call"),
    [
        (lambda w: Adam([w]), lambda opt: opt.step([np.full(3, 7.0)])),
        (lambda w: Adam([w]), lambda opt: opt.add_param_group({"params": arrays(2)})),
        (lambda w: Adam([w]), lambda opt: opt.load_state_dict(Adam(arrays(3)).state_dict())),
        (lambda w: Adam([w]), lambda opt: opt.bind([np.ones(3)])),
        (lambda w: Adam([w]), lambda opt: opt.state_dict()),
        (lambda w: Adam([w]), copy.deepcopy),
        (lookahead, look_ahead),
    ],
    ids=["step", "add_param_group", "load_state_dict", "bind", "state_dict", "deepcopy",
         "extrapolated"],
)  # fmt: skip
def test_calls_that_need_a_consistent_state_are_refused_during_a_step(make_one, call):
    (w,), (other,) = arrays(3), arrays(3)
    opt, alone = make_one(w), make_one(other)
    with during_a_step_of(opt), pytest.raises(FastoptError, match=r"step.*running"):
        call(opt)
    alone.step([np.ones(3)])
    assert bits([w, opt.state_dict()]) == bits([other, alone.state_dict()])
    call(opt)


def test_an_option_set_during_a_step_takes_effect_at_the_next():
    w = np.zeros(3)
    opt = SGD([w], lr=1.0)
    with during_a_step_of(opt):
        opt.param_groups[0]["lr"] = 10.0
    assert w[0] == -1.0
    opt.step([np.ones(3)])
    assert w[0] == -11.0


def test_concurrent_steps_are_taken_or_refused():
    (w,), (other,) = arrays(MANY), arrays(MANY)
    opt, alone = Adam(w), Adam(other)
    gradient = np.ones(MANY)

    def steps():
        taken = 0
        for _ in range(50):
            with contextlib.suppress(FastoptError):
                opt.step(gradient)
                taken += 1
        return taken

    with ThreadPoolExecutor(2) as pool:
        taken = sum(future.result() for future in [pool.submit(steps), pool.submit(steps)])
    assert opt.step_count == opt.state[0]["step"] == taken
    for _ in range(taken):
        alone.step(gradient)
    assert bits(w) == bits(other)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_optimizers_step_concurrently(n_threads):
    def train(rule):
        (w,) = arrays(MANY)
        opt = make(rule, w, lr=0.1, n_threads=n_threads)
        for t in range(5):
            opt.step(w + t)
        return bits(w)

    rules = ["adam", "nadam", "momentum", "rmsprop"]
    with ThreadPoolExecutor(len(rules)) as pool:
        together = list(pool.map(train, rules))
    assert together == [train(rule) for rule in rules]
