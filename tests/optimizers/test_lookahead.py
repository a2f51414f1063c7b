"""extrapolated(): gradients at Nesterov's look-ahead point; parameters are restored exactly."""

import copy
import pickle

import numpy as np
import pytest
from support import RULES, arrays, bits, make, unchanged

from fastopt import SGD, FastoptError

LOOP = r"with opt\.extrapolated\(\):\n +grads = gradient\(opt\.params\)\n +opt\.step\(grads\)"


def nesterov(params, **options):
    return SGD(
        params, **{"lr": 0.1, "momentum": 0.9, "lr_in_buffer": True, "nesterov": "lookahead",
                   **options}
    )  # fmt: skip


def step(opt, *grads):
    with opt.extrapolated():
        pass
    opt.step(list(grads))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loop_equals_the_textbook(dtype):
    """D = a*D + lr*g(theta - a*D), theta -= D, in the parameters' own precision."""
    (w,) = arrays(5, dtype=dtype)
    theta, d = w.copy(), np.zeros(5, dtype)
    opt = nesterov(w)
    for lr in (0.1, 0.1, 0.05, 0.2):
        opt.lr = lr
        with opt.extrapolated():
            g = np.sin(w)
        opt.step(g)
        d = dtype(0.9) * d + dtype(lr) * np.sin(theta - dtype(0.9) * d)
        theta = theta - d
    assert bits(w) == bits(theta)


def test_parameters_are_at_the_look_ahead_point_and_restored():
    a = np.array([1.0, -0.0, 0.1, np.inf, np.nan])
    b = np.array(0.3, np.float32)  # 0-d
    opt = nesterov([a, b])
    step(opt, np.array([1.0, 0.0, 3.0, 1.0, 1.0]), np.float32(2.0))
    with unchanged(opt):
        ahead_a = a - 0.9 * opt.state[0]["momentum_buffer"]
        ahead_b = b - np.float32(0.9) * opt.state[1]["momentum_buffer"]
        with opt.extrapolated():
            assert bits([a, b]) == bits([ahead_a, np.array(ahead_b)])
            a[...] = 7.0  # a gradient function should not write to the parameters


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_in_the_block_restores_parameters_and_needs_a_new_block(error):
    opt = nesterov(arrays(3))
    step(opt, *arrays(3, seed=1))
    with unchanged(opt):
        with pytest.raises(error), opt.extrapolated():
            raise error
        with pytest.raises(FastoptError, match=f"without extrapolated.*\n.*{LOOP}"):
            opt.step(arrays(3, seed=2))
    step(opt, *arrays(3, seed=2))
    assert opt.step_count == 2


def test_step_inside_or_without_the_block_is_refused():
    opt = nesterov(arrays(3))
    grads = arrays(3, seed=1)
    with unchanged(opt), pytest.raises(FastoptError, match=f"without extrapolated.*\n.*{LOOP}"):
        opt.step(grads)
    inside = pytest.raises(FastoptError, match=f"inside extrapolated.*\n.*{LOOP}")
    with unchanged(opt), opt.extrapolated(), inside:
        opt.step(grads)
    opt.step(grads)  # the block has ended without an error
    with unchanged(opt), pytest.raises(FastoptError, match="without extrapolated"):
        opt.step(grads)


def test_step_may_be_repeated_after_an_error():
    opt = nesterov(arrays(3))
    with opt.extrapolated():
        pass
    with unchanged(opt), pytest.raises(FastoptError, match="shape"):
        opt.step(arrays(4))
    opt.step(arrays(3))
    assert opt.step_count == 1


def test_bound_gradients_with_extrapolated():
    (w,), (other,) = arrays(3), arrays(3)
    opt, unbound = nesterov(w), nesterov(other)
    g = np.zeros(3)
    opt.bind(g)
    for _ in range(3):
        with opt.extrapolated():
            g[...] = np.cos(w)
        opt.step()
        with unbound.extrapolated():
            own = np.cos(other)
        unbound.step(own)
    assert bits(w) == bits(other)


def test_nested_blocks_are_refused():
    opt = nesterov(arrays(3))
    step(opt, *arrays(3, seed=1))
    refused = pytest.raises(FastoptError, match="already in use")
    with unchanged(opt), opt.extrapolated(), refused, opt.extrapolated():
        pass
    step(opt, *arrays(3, seed=2))
    assert opt.step_count == 2


@pytest.mark.parametrize("rule", RULES)
def test_extrapolated_is_refused_for_other_rules(rule):
    opt = make(rule, arrays(3))
    refused = pytest.raises(FastoptError, match="nesterov='lookahead'")
    with unchanged(opt), refused, opt.extrapolated():
        pass
    opt.step(arrays(3, seed=1))


def test_only_the_groups_that_look_ahead_move():
    a, b = np.ones(2), np.ones(2)
    opt = nesterov([{"params": [a], "nesterov": False}, {"params": [b]}])
    step(opt, np.ones(2), np.ones(2))
    before = bits(a), bits(b)
    with opt.extrapolated():
        assert bits(a) == before[0]
        assert bits(b) != before[1]
    assert (bits(a), bits(b)) == before


@pytest.mark.parametrize("load", [False, True])
def test_look_ahead_may_be_switched_on(load):
    (w,), (other,) = arrays(3), arrays(3)
    opt, ahead = nesterov(w, nesterov=False), nesterov(other)
    opt.step(arrays(3, seed=1)[0])
    with ahead.extrapolated():
        pass
    ahead.step(arrays(3, seed=1)[0])
    if load:
        opt.load_state_dict(ahead.state_dict())
    else:
        opt.param_groups[0]["nesterov"] = "lookahead"
    with pytest.raises(FastoptError, match="without extrapolated"):
        opt.step(np.ones(3))
    for one, array in ((opt, w), (ahead, other)):
        with one.extrapolated():
            g = np.sin(array)
        one.step(g)
    assert bits(w) == bits(other)


def test_look_ahead_may_be_switched_off():
    opt = nesterov(arrays(3))
    opt.param_groups[0]["nesterov"] = True
    refused = pytest.raises(FastoptError, match="nesterov='lookahead'")
    with unchanged(opt), refused, opt.extrapolated():
        pass
    opt.step(arrays(3, seed=1))
    assert opt.step_count == 1


def test_gradients_taken_before_loading_are_refused():
    """They were taken at the look-ahead point of another buffer."""
    opt, other = nesterov(arrays(3)), nesterov(arrays(3))
    for one in (opt, other):
        step(one, *arrays(3, seed=1))
    with opt.extrapolated():
        grads = arrays(3, seed=2)
    opt.load_state_dict(other.state_dict())
    with unchanged(opt), pytest.raises(FastoptError, match="without extrapolated"):
        opt.step(grads)


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))],
    ids=["copy", "pickle"],
)
def test_copy_knows_that_gradients_were_taken(duplicate):
    opt = nesterov(arrays(3))
    step(opt, *arrays(3, seed=1))
    with opt.extrapolated():
        pass
    other = duplicate(opt)
    for one in (opt, other):
        one.step(arrays(3, seed=2))
        with pytest.raises(FastoptError, match="without extrapolated"):
            one.step(arrays(3, seed=3))
    assert bits(opt.params) == bits(other.params)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps], ids=["copy", "pickle"])
def test_copying_inside_the_block_is_refused(duplicate):
    """The parameters of the copy would stay at the look-ahead point."""
    opt = nesterov(arrays(3))
    step(opt, *arrays(3, seed=1))
    with opt.extrapolated(), pytest.raises(FastoptError, match="extrapolated"):
        duplicate(opt)


def test_sync_master_inside_the_block_is_refused():
    w = np.ones(3, np.float16)
    opt = SGD([w], momentum=0.9, nesterov="lookahead", lr_in_buffer=True, master="float32")
    step(opt, np.ones(3))
    with unchanged(opt), opt.extrapolated(), pytest.raises(FastoptError, match="extrapolated"):
        opt.sync_master()
