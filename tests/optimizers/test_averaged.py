"""averaged(), which puts averages into the parameters, and ema_warmup, their first decays."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest
from support import LAYOUTS, RULES, arrays, bits, everything, make, unchanged

from fastopt import SGD, Adam, FastoptError

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


def stepped(params, steps=3, **options):
    """Return an optimizer of a list that has taken steps."""
    opt = Adam(params, lr=0.1, **{"ema_decay": 0.9, **options})
    for seed in range(steps):
        opt.step([np.asarray(g) for g in arrays(*(w.shape for w in params), seed=seed)])
    return opt


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=[*LAYOUTS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_are_their_averages_in_the_block_and_restored_after_it(dtype, layout):
    params = [layout(w) for w in arrays((3, 4), (5,), dtype=dtype)] + [np.array(0.5, dtype)]
    opt = stepped(params)
    with unchanged(opt):
        averages = [np.array(ema, dtype) for ema in opt.ema]
        with opt.averaged():
            assert bits([np.array(w) for w in params]) == bits(averages)
            params[0][...] = 7.0  # an evaluation should not write to the parameters


def test_every_bit_is_restored():
    w = np.array([1.0, -0.0, np.nan, np.inf])
    opt = SGD(w, ema_decay=0.5)
    with unchanged(opt), opt.averaged():
        w[...] = 0.0


@pytest.mark.parametrize("rule", [rule for rule in RULES if make(rule, arrays(3)).has_averages])
def test_the_average_before_the_first_step_is_the_parameter(rule):
    """Also that of a parameter without a gradient."""
    w, skipped = arrays(3, 4)
    opt = make(rule, [w, skipped])
    with unchanged(opt), opt.averaged():
        assert bits([w, skipped]) == bits(arrays(3, 4))
    opt.step([arrays(3)[0], None])
    with opt.averaged():
        assert bits([skipped]) == bits(arrays(3, 4)[1:])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_in_the_block_restores_the_parameters(error):
    opt = stepped(arrays(3))
    with unchanged(opt), pytest.raises(error), opt.averaged():
        raise error
    opt.step(arrays(3))
    assert opt.step_count == 4


def test_steps_after_the_block_are_those_without_it():
    (w,), (other,) = arrays(5), arrays(5)
    opt, plain = stepped([w]), stepped([other])
    for seed in range(3):
        with opt.averaged():
            pass
        for one in (opt, plain):
            one.step(arrays(5, seed=seed))
    assert everything(opt) == everything(plain)


FORBIDDEN = {
    "step": lambda opt, path: opt.step(arrays(3)),
    "step with bound gradients": lambda opt, path: opt.step(),
    "save": lambda opt, path: opt.save(path),
    "load": lambda opt, path: opt.load(path),
    "load_state_dict": lambda opt, path: opt.load_state_dict(opt.state_dict()),
    "pickle": lambda opt, path: pickle.dumps(opt),
    "deepcopy": lambda opt, path: copy.deepcopy(opt),
    "sync_master": lambda opt, path: opt.sync_master(),
    "add_param_group": lambda opt, path: opt.add_param_group({"params": arrays(2)}),
    "averaged": lambda opt, path: opt.averaged().__enter__(),
}


@pytest.mark.parametrize("call", FORBIDDEN.values(), ids=[*FORBIDDEN])
def test_calls_that_need_the_parameters_are_refused_in_the_block(call, tmp_path):
    opt = stepped(arrays(3))
    opt.bind(arrays(3))
    opt.save(tmp_path / "saved.npz")
    with unchanged(opt), opt.averaged():
        before = bits(opt.params)
        with pytest.raises(FastoptError, match=r"averaged\(\)"):
            call(opt, tmp_path / "saved.npz")
        assert bits(opt.params) == before
    opt.step()
    assert opt.step_count == 4


def test_the_blocks_exclude_each_other():
    opt = SGD(
        arrays(3), momentum=0.9, nesterov="lookahead", lr_in_buffer=True, lr=0.1, ema_decay=0.5
    )
    with unchanged(opt), opt.averaged():
        with pytest.raises(FastoptError, match=r"averaged\(\) is already"), opt.extrapolated():
            pass
        with pytest.raises(FastoptError, match=r"without extrapolated"):
            opt.step(arrays(3))
    with opt.extrapolated():
        with pytest.raises(FastoptError, match=r"extrapolated\(\) is already"), opt.averaged():
            pass
        grads = arrays(3, seed=1)
    with opt.averaged(), pytest.raises(FastoptError, match=r"inside averaged\(\)"):
        opt.step(grads)
    opt.step(grads)


def test_averaged_needs_averages():
    opt = SGD(arrays(3))
    with pytest.raises(FastoptError, match="ema_decay"), opt.averaged():
        pass


# Warm-up


def warmed_up(path, decay):
    """Return the average after each step: decay min(decay, (1 + t)/(10 + t)) at step t."""
    average, averages = path[0], []
    for t, w in enumerate(path[1:], start=1):
        d = min(decay, (1 + t) / (10 + t))
        average = d * average + (1 - d) * w
        averages.append(average)
    return averages


@pytest.mark.parametrize("decay", [0.3, 0.5, 0.9999, 1.0])
def test_decay_grows_with_the_step(decay):
    (w,) = arrays(7)
    opt = Adam(w, lr=0.1, ema_decay=decay, ema_warmup=True)
    path, averages = [w.copy()], []
    for seed in range(12):
        opt.step(arrays(7, seed=seed)[0])
        path.append(w.copy())
        averages.append(opt.ema.copy())
    for found, expected in zip(averages, warmed_up(path, decay), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


def test_warm_up_that_ends_at_once_has_the_bits_of_none():
    opts = [SGD(arrays(5), lr=0.1, ema_decay=2 / 11, ema_warmup=on) for on in (False, True)]
    for seed in range(3):
        for opt in opts:
            opt.step(arrays(5, seed=seed))
    assert everything(opts[0]) == everything(opts[1])


@pytest.mark.parametrize("how", ["state dict", "deepcopy", "pickle", "grad_scale", "raise"])
def test_warm_up_continues(how):
    """It continues after loading, copying, and calls that set the options of all parameters."""
    opts = [SGD(arrays(5), lr=0.1, ema_decay=0.5, ema_warmup=True) for _ in range(2)]
    for seed in range(15):  # the decay reaches .5 at step 8
        if seed == 4:
            made = {
                "state dict": lambda: SGD(arrays(5), lr=9.0, ema_decay=0.5, ema_warmup=True),
                "deepcopy": lambda: copy.deepcopy(opts[0]),
                "pickle": lambda: pickle.loads(pickle.dumps(opts[0])),
            }.get(how, lambda: opts[1])()
            if how == "state dict":
                made.params[0][...] = opts[0].params[0]
                made.load_state_dict(opts[0].state_dict())
            opts[1] = made
        if how == "grad_scale":
            opts[1].grad_scale = 1.0
        if how == "raise":
            with pytest.raises(FastoptError):
                opts[1].step(arrays(6))
        for opt in opts:
            opt.step(arrays(5, seed=seed))
    assert everything(opts[0]) == everything(opts[1])


@pytest.mark.parametrize(
    ("options", "error"),
    [({"ema_warmup": True}, FastoptError), ({"ema_decay": 0.9, "ema_warmup": 10}, TypeError)],
)
def test_bad_warm_up_is_refused(options, error):
    with pytest.raises(error, match="ema_warmup"):
        SGD(arrays(3), **options)
