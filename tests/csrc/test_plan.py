"""A plan as another extension module uses it: pointers that move, and norms from outside.

The functions are those that `fastopt/_core.pxd` exports, called with the structs of
`csrc/fastopt.h`.
"""

import ctypes
from ctypes import POINTER, c_double, c_int, c_int32, c_int64, c_uint64, c_void_p
from itertools import chain
from math import inf, isnan, nan

import numpy as np
import pytest

import fastopt
from fastopt import _core

TAKEN, NONFINITE, NO_SCRATCH = range(3)
CODES = {"float32": 0, "float64": 1, "float16": 2}
SETTINGS = dict(lr=0.1, beta1=0.9, beta2=0.999, eps=1e-8, correct_m=1, correct_v=1)


class Layout(ctypes.Structure):
    _fields_ = [
        ("n_axes", c_int),
        *((name, c_int64 * 16) for name in ("shape", "param", "grad", "own", "index")),
        *((name, c_int) for name in ("row_axis", "param_dtype", "grad_dtype", "state_dtype")),
        ("code", c_int * 4),
    ]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("dtype", c_int),
        ("group", c_int32),
        ("size", c_int64),
        ("param", c_void_p),
        ("grad", c_void_p),
        *((name, c_void_p * 4) for name in ("state", "scale")),
        *((name, c_void_p) for name in ("row_state", "master", "ema", "step", "saved")),
        ("layout", POINTER(Layout)),
        ("rows", c_void_p),
        ("factored", c_void_p),
    ]


class Group(ctypes.Structure):
    _fields_ = [
        *((name, c_int) for name in ("rule", "decay", "maximize")),
        *((name, c_double) for name in ("weight_decay", "base_lr", "l1")),
        ("is_bounded", c_int),
        *((name, c_double) for name in ("low", "high")),
        ("hp", c_double * 16),
    ]


class Extras(ctypes.Structure):
    _fields_ = [
        *((name, c_double) for name in ("grad_scale", "max_grad_norm", "max_grad_value")),
        *((name, c_int) for name in ("needs_norm", "needs_finite", "norm_is_given")),
        ("given_norm", c_double),
        *((name, c_int) for name in ("clears_skipped", "zero_grads", "stochastic")),
        ("ema_decay", c_double),
        ("lookahead_steps", c_int64),
        ("lookahead_alpha", c_double),
        *((name, c_uint64) for name in ("seed", "step")),
        *((name, c_double) for name in ("grad_norm", "clip")),
        ("nonfinite", c_int64),
    ]


def exported(name, result, *arguments):
    """Return a function that _core exports to Cython modules."""
    capsule = _core.__pyx_capi__[name]
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.CFUNCTYPE(result, *arguments)(pointer_of(capsule, name_of(capsule)))


plan_new = exported("plan_new", c_void_p, POINTER(Tensor), c_int64, c_int64, c_int64)
plan_free = exported("plan_free", None, c_void_p)
plan_tensors = exported("plan_tensors", POINTER(Tensor), c_void_p)
plan_groups = exported("plan_groups", POINTER(Group), c_void_p)
plan_reserve = exported("plan_reserve", c_int, c_void_p)
step = exported("step", c_int, c_void_p, POINTER(Extras), c_int)
norm = exported("norm", c_int, c_void_p, POINTER(Extras), c_int)


class Adam:
    """One plan of vectors; every call points at the arrays that the attributes hold then."""

    def __init__(self, *params):
        self.params = [p.copy() for p in params]
        self.reals = [np.dtype("f8" if p.dtype == np.float64 else "f4") for p in params]
        self.states = [
            [np.zeros(p.size, real), np.zeros(p.size, real)]
            for p, real in zip(params, self.reals, strict=True)
        ]
        self.counts = [np.zeros(1, np.int64) for _ in params]
        self.saved = [np.zeros(_core.N_SAVED) for _ in params]
        sizes = (Tensor * len(params))(*(Tensor(size=p.size) for p in params))
        self.plan = plan_new(sizes, len(params), 1, 1000)
        group, (rule, _, names) = plan_groups(self.plan)[0], _core.RULES["adam"]
        group.rule = rule
        for i, name in enumerate(names):
            group.hp[i] = SETTINGS.get(name, 0.0)

    def __del__(self):
        plan_free(self.plan)

    def arrays(self):
        """Return the bytes of everything that a step changes."""
        arrays = [*self.params, *chain(*self.states), *self.counts]
        return [array.tobytes() for array in arrays]

    def move(self):
        """Copy every array to other memory, and spoil the old one."""
        for arrays in (self.params, *self.states, self.counts, self.saved):
            for i, array in enumerate(arrays):
                arrays[i] = array.copy()
                array.fill(99)

    def call(self, function, grads, **options):
        """Call step or norm with gradients, each an array or None; return its result."""
        layouts = []
        for i, grad in enumerate(grads):
            tensor = plan_tensors(self.plan)[i]
            ctypes.memset(ctypes.addressof(tensor), 0, ctypes.sizeof(Tensor))
            tensor.size = self.params[i].size
            if grad is None:
                continue
            param, states = self.params[i], self.states[i]
            tensor.dtype = CODES[self.reals[i].name]
            tensor.param, tensor.grad = param.ctypes.data, grad.ctypes.data
            tensor.state[0], tensor.state[1] = (state.ctypes.data for state in states)
            tensor.step, tensor.saved = self.counts[i].ctypes.data, self.saved[i].ctypes.data
            if param.dtype == grad.dtype == states[0].dtype == self.reals[i]:
                continue
            layout = Layout(n_axes=1)
            layout.shape[0], layout.own[0], layout.index[0] = param.size, 1, 1
            layout.param[0], layout.grad[0] = param.itemsize, grad.itemsize
            layout.param_dtype, layout.grad_dtype = CODES[param.dtype.name], CODES[grad.dtype.name]
            layout.state_dtype = CODES[states[0].dtype.name]
            layouts.append(layout)
            tensor.layout = ctypes.pointer(layout)
        defaults = {"grad_scale": 1, "max_grad_norm": inf, "max_grad_value": inf, "nonfinite": -1}
        extras = Extras(**{**defaults, **options})
        found = function(self.plan, extras, 2)
        if found == NO_SCRATCH:
            assert plan_reserve(self.plan) == 0
            found = function(self.plan, extras, 2)
        return found, extras


def vectors(*sizes, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=n).astype(dtype) for n in sizes]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("bad", [0.5, 3e38, inf, nan])  # 3e38 / grad_scale is infinite in float32
@pytest.mark.parametrize("needs_finite", [0, 1])
def test_a_step_given_its_own_norm_has_equal_bits(dtype, bad, needs_finite):
    params, grads = vectors(5, 20000, 70, dtype=dtype), vectors(5, 20000, 70, dtype=dtype, seed=1)
    is_bad = bad > 1e38 + (dtype == "float64") * 1e300 or isnan(bad)
    with np.errstate(over="ignore"):
        grads[1][-1] = bad
    options = {"grad_scale": 0.25, "max_grad_norm": 3.0, "needs_finite": needs_finite}
    one, other = Adam(*params), Adam(*params)
    found, own = one.call(step, grads, needs_norm=1, **options)

    before = other.arrays()
    assert other.call(norm, [None, *grads[1:]], **options)[0] == TAKEN
    given = other.call(norm, grads, **options)[1]
    assert other.arrays() == before
    np.testing.assert_equal(given.grad_norm, own.grad_norm)
    assert given.nonfinite == own.nonfinite == (1 if is_bad else -1)

    given_found, after = other.call(
        step, grads, norm_is_given=1, given_norm=given.grad_norm, nonfinite=given.nonfinite,
        **options,
    )  # fmt: skip
    assert given_found == found == (NONFINITE if is_bad and needs_finite else TAKEN)
    np.testing.assert_equal(after.grad_norm, own.grad_norm)
    assert other.arrays() == one.arrays()


def test_two_plans_clip_by_their_common_norm():
    params, grads = vectors(2, 1), [np.float32([3, -4]), np.float32([12])]
    whole, parts = Adam(*params), [Adam(params[0]), Adam(params[1])]
    assert whole.call(step, grads, needs_norm=1, max_grad_norm=1.0)[1].grad_norm == 13
    norms = [part.call(norm, [g])[1].grad_norm for part, g in zip(parts, grads, strict=True)]
    assert norms == [5, 12]
    for i, part in enumerate(parts):
        part.call(step, [grads[i]], norm_is_given=1, given_norm=13, max_grad_norm=1.0)
        assert part.params[0].tobytes() == whole.params[i].tobytes()
        assert part.states[0][1].tobytes() == whole.states[i][1].tobytes()


@pytest.mark.parametrize("given", [inf, nan])
def test_a_nonfinite_norm_from_elsewhere(given):
    """The gradients of this plan are finite."""
    adam, grads = Adam(*vectors(3)), vectors(3, seed=1)
    before, options = adam.arrays(), {"norm_is_given": 1, "given_norm": given, "max_grad_norm": 1.0}
    found, extras = adam.call(step, grads, needs_finite=1, **options)
    assert (found, extras.nonfinite, adam.arrays()) == (NONFINITE, -1, before)
    assert adam.call(step, grads, **options)[0] == TAKEN
    assert np.isnan(adam.states[0][0]).all() if isnan(given) else (adam.states[0][0] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_pointer_may_change_between_steps(dtype):
    params, steps = vectors(7, 40000, dtype=dtype), 4
    grads = [vectors(7, 40000, dtype=dtype, seed=1 + i) for i in range(steps)]
    adam, known = Adam(*params), fastopt.Adam([p.copy() for p in params], lr=0.1)
    for i, of_step in enumerate(grads):
        if i == 2:
            of_step[0] = None  # and every other pointer of this tensor is NULL
        adam.call(step, of_step)
        known.step(of_step)
        adam.move()
    for ours, theirs in zip(adam.params, known.params, strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_dtypes_may_change_between_steps():
    """A model that is converted after its first step goes on in the new dtype."""
    adam, grads = Adam(*vectors(600)), vectors(600, seed=1)
    adam.call(step, grads)
    double = Adam(adam.params[0].astype("f8"))
    double.states = [[state.astype("f8") for state in adam.states[0]]]
    double.counts = [adam.counts[0].copy()]
    adam.params, adam.reals = [adam.params[0].astype("f8")], [np.dtype("f8")]
    adam.states = [[state.astype("f8") for state in adam.states[0]]]
    for of_both in (adam, double):
        of_both.call(step, [grads[0].astype("f8")])
    assert adam.arrays() == double.arrays()


@pytest.mark.parametrize("param", ["float32", "float16"])
@pytest.mark.parametrize("grad", ["float32", "float16", "float64"])
def test_states_in_float16(param, grad):
    """Each state is rounded to one of its neighbours, on average to itself, and anew each step."""
    params, grads = vectors(5000, dtype=param), vectors(5000, dtype=grad, seed=1)
    exact, found = Adam(*params), []
    exact.call(step, grads)
    for number in range(2):
        adam = Adam(*params)
        adam.states = [[np.zeros(5000, "f2"), np.zeros(5000, "f2")]]
        adam.call(step, grads, step=number)
        assert adam.params[0].tobytes() == exact.params[0].tobytes()
        for ours, wanted in zip(adam.states[0], exact.states[0], strict=True):
            units = np.spacing(np.maximum(np.abs(wanted), 2**-14).astype("f2")).astype("f4")
            error = (ours.astype("f4") - wanted) / units
            assert np.abs(error).max() <= 1
            assert abs(error.mean()) < 0.03
        found.append(adam.states[0][0].tobytes())
    assert found[0] != found[1]
