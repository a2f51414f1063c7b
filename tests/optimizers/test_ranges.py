"""Options that float32 cannot represent, and an epsilon of 0: refused, or a warning."""

import copy
import pickle
import warnings

import ml_dtypes
import numpy as np
import pytest
from support import arrays, everything, unchanged

import fastopt
from fastopt import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, FastoptError, NAdam, RMSprop

SINGLE = [np.float32, np.float16, ml_dtypes.bfloat16]
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
WITH_EPS = [Adagrad, Adadelta, RMSprop, Adam, AdamW, Adamax, NAdam, fastopt.RAdam]
WITH_ROOT = [Adagrad, RMSprop, Adam, AdamW, NAdam, fastopt.RAdam]


@pytest.mark.parametrize("dtype", SINGLE)
@pytest.mark.parametrize("cls", [SGD, *WITH_EPS])
@pytest.mark.parametrize("name", ["lr", "weight_decay", "eps"])
def test_options_that_are_infinite_in_float32_are_refused(cls, name, dtype):
    if name == "eps" and cls is SGD:
        return
    w = np.ones(3, dtype)
    with pytest.raises(FastoptError, match=rf"{name} is 1e\+39 .*float32.*infinite.*3.4e38"):
        cls(w, **{name: 1e39})
    cls(w, **{name: LARGEST})
    cls(np.ones(3), **{name: 1e39})
    with pytest.raises(FastoptError, match=name):
        cls([np.ones(3), w], **{name: 1e39})
    opt = cls(w)
    with unchanged(opt), pytest.raises(FastoptError, match=name):
        opt.param_groups[0][name] = 1e39


@pytest.mark.parametrize("value", [1e-50, 2.0**-150, 5e-324])
def test_an_epsilon_that_is_0_in_float32_is_refused(value):
    w = np.ones(3, np.float32)
    for cls, names in ((Adadelta, ["eps"]), *((cls, ["eps", "eps_root"]) for cls in WITH_ROOT)):
        for name in names:
            with pytest.raises(FastoptError, match=f"{name} is {value}.*float32.*0, and 1e-45"):
                cls(w, **{name: value})
            cls(np.ones(3), **{name: value})
            cls(w, **{name: SMALLEST})


def test_limits_are_those_of_numpy():
    from fastopt.optimizers.base.state.ranges import INFINITE, ZERO

    with np.errstate(all="ignore"):
        assert np.isinf(np.float32(INFINITE))
        assert np.float32(np.nextafter(INFINITE, 0.0)) == LARGEST
        assert np.float32(ZERO) == 0.0
        assert np.float32(np.nextafter(ZERO, 1.0)) == SMALLEST


def test_negative_option_and_pair():
    with pytest.raises(FastoptError, match=r"dampening is -1e\+39"):
        SGD(np.ones(3, np.float32), dampening=-1e39)


def test_rate_of_a_schedule_that_is_infinite_in_float32_is_refused():
    rates = {1: 0.1, 2: 1e39}.get
    opt = SGD([np.ones(3, np.float32)], lr=rates)
    opt.step(arrays(3, dtype=np.float32))
    before = opt.params[0].copy()
    with pytest.raises(FastoptError, match=r"rate for step 2 is 1e\+39"):
        opt.step(arrays(3, dtype=np.float32))
    assert (opt.params[0] == before).all()
    assert opt.step_count == 1


def test_loading_options_beyond_float32_is_refused():
    opt, wide = SGD([np.ones(3, np.float32)]), SGD([np.ones(3)], lr=1e39)
    saved = {**opt.state_dict(), "param_groups": wide.state_dict()["param_groups"]}
    with unchanged(opt), pytest.raises(FastoptError, match="lr is"):
        opt.load_state_dict(saved)


@pytest.mark.parametrize("cls", WITH_EPS)
def test_eps_of_0_warns(cls):
    with pytest.warns(UserWarning, match="eps is 0.*NaN"):
        opt = cls([np.ones(3)], eps=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        copies = [copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))]
        for one in (opt, *copies):
            one.step(arrays(3))
    assert caught == []
    opt = cls([np.ones(3)])
    with unchanged(opt), pytest.raises(UserWarning, match="eps is 0"):
        opt.param_groups[0]["eps"] = 0.0  # warnings are errors here
    assert everything(opt) == everything(cls([np.ones(3)]))


@pytest.mark.parametrize("cls", WITH_ROOT)
def test_eps_of_0_with_eps_root_does_not_warn(cls):
    w = np.ones(3)
    cls(w, eps=0.0, eps_root=1e-8).step(np.zeros(3))
    assert (w == (np.ones(3) * (0.99999 if cls is AdamW else 1.0))).all()


def test_eps_of_0_with_an_accumulator_that_does_not_start_at_0():
    w = np.ones(3)
    Adagrad(w, eps=0.0, initial_accumulator_value=0.1).step(np.zeros(3))
    assert (w == 1.0).all()
    with pytest.warns(UserWarning, match="eps is 0"):  # the mean decays to 0
        RMSprop(w, eps=0.0, initial_accumulator_value=0.1)
