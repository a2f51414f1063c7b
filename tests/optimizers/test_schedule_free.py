"""The point x of the Schedule-Free rules, where they are evaluated, and what they refuse."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest
from support import LAYOUTS, arrays, bits, everything, unchanged

import fastopt
from fastopt import (
    FastoptError,
    RowSparse,
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
    ScheduleFreeSGD,
)

CLASSES = [ScheduleFreeSGD, ScheduleFreeAdamW, ScheduleFreeRAdam]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def curve(w):
    return np.sin(3 * w) + w


def stepped(cls, params, steps=5, **options):
    opt = cls(params, **{"lr": 0.1, **options})
    for _ in range(steps):
        opt.step([curve(w.astype(np.float64)) for w in params])
    return opt


@every_class
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=[*LAYOUTS])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_averaged_is_at_x_and_restores_y(cls, dtype, layout):
    beta = 0.75
    own = {"momentum": beta} if cls is ScheduleFreeSGD else {"betas": (beta, 0.5)}
    own |= {"silent_sgd_phase": False} if cls is ScheduleFreeRAdam else {}
    params = [layout(w) for w in arrays((3, 4), (5,), dtype=dtype)]
    opt = stepped(cls, params, **own)
    with unchanged(opt):
        ys = [np.array(w, np.float64) for w in params]
        zs = [np.array(opt.state[i]["z"], np.float64) for i in range(2)]
        with opt.averaged():
            for w, y, z in zip(params, ys, zs, strict=True):
                x = (y - (1 - beta) * z) / beta  # Defazio et al., Alg. 1, line 4
                bound = 8 * float(ml_dtypes.finfo(dtype).eps) * (np.abs(x) + np.abs(z))
                assert (np.abs(np.array(w, np.float64) - x) <= bound).all()
                assert (np.abs(x - y) > 1e-3).any()


@every_class
@pytest.mark.parametrize("name", ["r", "weight_lr_power"])
def test_powers_that_would_overflow_are_refused(cls, name):
    (w,) = arrays(5)
    stepped(cls, [w], **{name: 30.0})
    assert np.isfinite(w).all()
    for value in (30.5, 1000.0, -1.0):
        with pytest.raises(FastoptError, match=rf"{name} is {value}; allowed: 0 <= value <= 30"):
            stepped(cls, [w], **{name: value})


@pytest.mark.parametrize("cls", [ScheduleFreeSGD, ScheduleFreeAdamW])
def test_x_is_the_weighted_average_of_z(cls):
    """The weights are t^r * lr_max^power, Defazio et al., eq. 6 and sec. 4.2."""
    (w,) = arrays(5)
    opt = cls(w, warmup_steps=4, r=1.5, weight_lr_power=1.0)
    total, weights, largest = np.zeros(5), 0.0, 0.0
    for t, lr in enumerate([0.1, 0.3, 0.2, 0.1, 0.1, 0.4], start=1):
        opt.lr = lr
        opt.step(curve(w))
        largest = max(largest, lr * min(1.0, t / 4))
        total += t**1.5 * largest * opt.state[0]["z"]
        weights += t**1.5 * largest
        with opt.averaged():
            np.testing.assert_allclose(w, total / weights, rtol=1e-12)
    assert opt.state[0]["weight_sum"] == pytest.approx(weights, rel=1e-14)
    assert opt.state[0]["lr_max"] == largest


@every_class
def test_a_learning_rate_of_0_keeps_a_parameter_that_was_changed(cls):
    """Without weights, there is no average of z to move it to."""
    w = np.ones(3)
    opt = cls(w, lr=0.0)
    for value in (1.0, 2.0):
        w[...] = value
        opt.step(np.ones(3))
        assert list(w) == [value] * 3


@every_class
def test_each_group_has_its_own_x(cls):
    own = [{"momentum": 0.5}, {}] if cls is ScheduleFreeSGD else [{"betas": (0.5, 0.9)}, {}]
    params, others = arrays(3, 3), arrays(3, 3)
    opt = stepped(cls, others[:1], **own[0]), stepped(cls, others[1:], **own[1])
    both = cls([{"params": [w], **of_one} for w, of_one in zip(params, own, strict=True)], lr=0.1)
    for _ in range(5):
        both.step([curve(w) for w in params])
    with both.averaged(), opt[0].averaged(), opt[1].averaged():
        assert bits(params) == bits(others)


@every_class
@pytest.mark.parametrize("how", [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))])
def test_copies_and_state_dicts_continue(cls, how):
    opt = stepped(cls, arrays(5), r=1.5)
    opts = [opt, how(opt), stepped(cls, arrays(5, seed=1), steps=1, r=1.5)]
    opts[2].params[0][...] = opt.params[0]
    opts[2].load_state_dict(opt.state_dict())
    for one in opts:
        for seed in range(4):
            one.step(arrays(5, seed=seed))
    assert everything(opts[0]) == everything(opts[1]) == everything(opts[2])


@every_class
def test_a_learning_rate_of_0_moves_neither_y_nor_x(cls):
    (w,) = arrays(5)
    opt = cls(w, lr=0.0)
    for _ in range(3):
        opt.step(curve(w))
    assert bits(w) == bits(arrays(5)[0])
    with opt.averaged():
        assert bits(w) == bits(arrays(5)[0])


REFUSED = {
    "momentum": (ScheduleFreeSGD, {"momentum": 0.0}, "momentum is 0.0; allowed: 0 < momentum < 1"),
    "betas": (ScheduleFreeAdamW, {"betas": (0.0, 0.9)}, r"betas\[0\] is 0.0; allowed: 0 <"),
    "decoupled": (ScheduleFreeSGD, {"decoupled_weight_decay": True}, "decay is True"),
    "l1": (ScheduleFreeAdamW, {"l1": 0.1}, "l1 is 0.1"),
    "bounds": (ScheduleFreeSGD, {"bounds": (0, None)}, r"bounds are \(0.0, None\)"),
    "ema": (ScheduleFreeSGD, {"ema_decay": 0.9}, "ema_decay is 0.9; allowed: None, because Sche"),
    "slow": (ScheduleFreeAdamW, {"lookahead_steps": 5}, "lookahead_steps is 5; allowed: None"),
}


@pytest.mark.parametrize(("cls", "options", "message"), REFUSED.values(), ids=[*REFUSED])
def test_options_that_are_refused(cls, options, message):
    with pytest.raises(FastoptError, match=message):
        cls(arrays(3), **options)
    if options.keys() & {"ema_decay", "lookahead_steps"}:
        return
    opt = cls(arrays(3))
    with unchanged(opt), pytest.raises(FastoptError, match=message):
        opt.param_groups[0].update(options)


@every_class
def test_row_sparse_gradients_are_refused(cls):
    opt = cls(np.ones((3, 2)))
    with unchanged(opt), pytest.raises(FastoptError, match="Schedule-Free step moves all rows"):
        opt.step(RowSparse([1], np.ones((1, 2))))


def test_steps_and_saving_at_x_are_refused(tmp_path):
    opt = stepped(ScheduleFreeSGD, arrays(3))
    with unchanged(opt), opt.averaged():
        for call in (lambda: opt.step(arrays(3)), lambda: opt.save(tmp_path / "x.npz")):
            with pytest.raises(FastoptError, match=r"averaged\(\)"):
                call()


def test_other_rules_have_no_averages():
    assert not fastopt.Adam(arrays(3)).has_averages
    assert fastopt.Adam(arrays(3), ema_decay=0.9).has_averages
    assert fastopt.Adam(arrays(3), lookahead_steps=2).has_averages
    assert ScheduleFreeSGD(arrays(3)).has_averages


@every_class
def test_a_learning_rate_whose_square_is_0(cls):
    """Such a step has no weight in the average, like one with a learning rate of 0."""
    found = [np.ones(3), np.ones(3)]
    for w, first in zip(found, (1e-200, 0.0), strict=True):
        opt = cls(w, lr=first, weight_lr_power=2.0)
        for lr in (first, *[0.1] * 8):
            opt.lr = lr
            opt.step(curve(w))
    assert (found[0] == found[1]).all()
    assert (found[0] != 1.0).all()
