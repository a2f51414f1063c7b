"""perturbed(), the point at which sharpness-aware minimization takes its gradients."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from support import LAYOUTS, RULES, arrays, bits, everything, make, unchanged

from fastopt import SGD, Adam, FastoptError, RowSparse

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
SHAPES = [(3, 4), (5,), ()]
ADAPTIVE = pytest.mark.parametrize("adaptive", [False, True])


def ascent(ws, grads, rho, adaptive=False):
    """Return the points in float64: Foret et al. 2021, eq. 2; Kwon et al. 2021, eq. 6."""
    sizes = [np.abs(np.array(w, np.float64)) if adaptive else 1.0 for w in ws]
    grads = [np.asarray(g, np.float64) for g in grads]
    norm = np.sqrt(sum(np.sum((t * g) ** 2) for t, g in zip(sizes, grads, strict=True)))
    return [
        np.asarray(w, np.float64) + rho * t**2 * g / norm
        for w, t, g in zip(ws, sizes, grads, strict=True)
    ]


@ADAPTIVE
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=[*LAYOUTS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_are_uphill_in_the_block_and_restored_after_it(dtype, layout, adaptive):
    params = [layout(w) if w.ndim else w for w in arrays(*SHAPES, dtype=dtype)]
    grads = [g.T.copy().T for g in arrays(*SHAPES, seed=1, dtype=dtype)]
    opt = SGD(params, lr=0.1)
    with unchanged(opt):
        expected = ascent(params, grads, 0.3, adaptive)
        with opt.perturbed(0.3, grads, adaptive=adaptive):
            for w, e in zip(params, expected, strict=True):
                assert np.all(np.abs(w - e) <= 2 * ml_dtypes.finfo(dtype).eps * (1 + np.abs(e)))
            params[0][...] = 7.0


@pytest.mark.parametrize("rule", RULES)
def test_loop_takes_the_step_with_gradients_of_the_point_uphill(rule):
    params, others = arrays(*SHAPES), arrays(*SHAPES)
    opt, plain = make(rule, params), make(rule, others)
    for _ in range(3):
        with opt.perturbed(0.1, [np.sin(w) for w in params]):
            grads = [np.sin(w) for w in params]
        opt.step(grads)
        there = ascent(others, [np.sin(w) for w in others], 0.1)
        plain.step([np.sin(w) for w in there])
        for w, other in zip(params, others, strict=True):
            np.testing.assert_allclose(w, other, rtol=1e-9)
            other[...] = w


def test_options_that_scale_gradients_do_not_change_the_point():
    points = []
    for scale, others in ((1.0, {}), (2.0**16, {"max_grad_norm": 0.1, "max_grad_value": 0.1})):
        (w,) = arrays(5)
        opt = SGD(w, grad_scale=scale, **others)
        with opt.perturbed(0.5, scale * np.cos(w)):
            points.append(w.copy())
    assert bits(points[0]) == bits(points[1])


def test_maximize_goes_downhill_in_its_group():
    params = a, b = arrays(2, 2)
    grads = arrays(2, 2, seed=1)
    opt = SGD([{"params": [a]}, {"params": [b], "maximize": True}])
    up, down = ascent(params, grads, 0.5), ascent(params, grads, -0.5)
    with opt.perturbed(0.5, grads):
        np.testing.assert_allclose(a, up[0])
        np.testing.assert_allclose(b, down[1])


def test_maximize_of_a_part_that_a_mask_splits_off():
    """The groups are then not in the order of the parameters."""
    params = b, w = arrays(2, 2)
    grads = arrays(2, 2, seed=1)
    named = [{"params": {"b": b, "w": w}}]
    opt = SGD(named, weight_decay=0.1, weight_decay_mask=lambda name: name == "w")
    opt.param_groups[0]["maximize"] = True  # of w
    up, down = ascent(params, grads, 0.5), ascent(params, grads, -0.5)
    with opt.perturbed(0.5, grads):
        np.testing.assert_allclose(params, [up[0], down[1]], rtol=1e-12)


def test_parameter_without_gradient_and_dict():
    a, b = arrays(3, 3)
    opt = Adam({"a": a, "b": b})
    before = bits(b)
    with opt.perturbed(2.0, {"b": None, "a": np.array([3.0, 0.0, -4.0])}):
        np.testing.assert_allclose(a, arrays(3)[0] + [1.2, 0.0, -1.6])
        assert bits(b) == before


@pytest.mark.parametrize("grads", [[np.zeros(3), np.zeros(3)], [None, None]], ids=["0", "None"])
def test_nothing_moves_without_a_direction(grads):
    params = arrays(3, 3)
    params[0][0] = -0.0
    opt = SGD(params)
    before = bits(params)
    with opt.perturbed(0.5, grads):
        assert bits(params) == before


@ADAPTIVE
@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300])
def test_size_of_gradients_does_not_matter(size, adaptive):
    points = []
    for factor in (1.0, size):
        (w,) = arrays(5)
        with SGD(w).perturbed(0.5, factor * np.cos(w), adaptive=adaptive):
            points.append(w.copy())
    np.testing.assert_allclose(*points, rtol=1e-14)


def test_nan_reaches_every_parameter():
    params = arrays(3, 3)
    with SGD(params).perturbed(0.5, [np.array([0.0, np.nan, 1.0]), np.ones(3)]):
        assert np.isnan(params).all()
    assert bits(params) == bits(arrays(3, 3))


def test_master_is_moved_and_rounded_once():
    w = np.linspace(0.5, 2.0, 50).astype(np.float16)
    opt = SGD(w, lr=1e-4, master="float32")
    opt.step(np.linspace(-1, 1, 50))
    master, g = opt.state[0]["master"], np.linspace(1, 2, 50)
    assert (master != w).any()
    step = 1e-3 * (g / np.sqrt(np.sum(g**2)))
    with unchanged(opt), opt.perturbed(1e-3, g):
        assert bits(w) == bits((master + step.astype(np.float32)).astype(np.float16))


def test_accumulated_gradients_are_used_and_discarded():
    opt, plain = SGD(arrays(4), lr=0.1), SGD(arrays(4), lr=0.1)
    for seed in (1, 2):
        opt.accumulate(arrays(4, seed=seed))
    total = [a + b for a, b in zip(arrays(4, seed=1), arrays(4, seed=2), strict=True)]
    with opt.perturbed(0.5), plain.perturbed(0.5, total):
        assert bits(opt.params) == bits(plain.params)
        opt.accumulate(arrays(4, seed=3))
    opt.step()
    plain.step(arrays(4, seed=3))
    assert everything(opt) == everything(plain)


def test_bound_gradients_are_used():
    (w,), (other,) = arrays(4), arrays(4)
    g = np.ones(4)
    opt, plain = SGD(w, lr=0.1), SGD(other, lr=0.1)
    opt.bind(g)
    with opt.perturbed(0.5), plain.perturbed(0.5, np.ones(4)):
        assert bits(w) == bits(other)
        g[...] = 2.0
    opt.step()
    plain.step(np.full(4, 2.0))
    assert everything(opt) == everything(plain)


def test_threads_do_not_change_a_bit():
    size = 3 * 16384 + 5
    points = []
    for n_threads in (1, 2, 3):
        (w,) = arrays((size,), dtype=np.float32)
        with SGD(w, n_threads=n_threads).perturbed(0.5, np.cos(w)):
            points.append(bits(w))
    assert points[0] == points[1] == points[2]


REFUSED = {
    "rho": (lambda opt: opt.perturbed(-0.1, arrays(3)), "rho is -0.1"),
    "adaptive": (lambda opt: opt.perturbed(0.1, arrays(3), adaptive=1), "adaptive"),
    "no gradients": (lambda opt: opt.perturbed(0.1), r"accumulate\(grads\) or bind\(grads\)"),
    "shape": (lambda opt: opt.perturbed(0.1, arrays(4)), "shape"),
    "number": (lambda opt: opt.perturbed(0.1, arrays(3, 3)), "2 gradients for 1"),
    "rows": (lambda opt: opt.perturbed(0.1, [RowSparse([0], np.ones(1))]), "RowSparse"),
    "scipy": (lambda opt: opt.perturbed(0.1, [scipy.sparse.csr_array((3, 1))]), "csr_array"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=[*REFUSED])
def test_bad_arguments_are_refused(call, message):
    opt = SGD(arrays(3))
    with unchanged(opt), pytest.raises((FastoptError, TypeError), match=message), call(opt):
        pass
    opt.step(arrays(3))


def test_gradients_beside_accumulated_ones_are_refused():
    opt = SGD(arrays(3))
    opt.accumulate(arrays(3))
    refused = pytest.raises(FastoptError, match="accumulated")
    with unchanged(opt), refused, opt.perturbed(0.1, arrays(3)):
        pass


FORBIDDEN = {
    "step": lambda opt, path: opt.step(arrays(3)),
    "save": lambda opt, path: opt.save(path),
    "pickle": lambda opt, path: pickle.dumps(opt),
    "deepcopy": lambda opt, path: copy.deepcopy(opt),
    "averaged": lambda opt, path: opt.averaged().__enter__(),
    "perturbed": lambda opt, path: opt.perturbed(0.1, arrays(3)).__enter__(),
}


@pytest.mark.parametrize("call", FORBIDDEN.values(), ids=[*FORBIDDEN])
def test_calls_that_need_the_parameters_are_refused_in_the_block(call, tmp_path):
    opt = SGD(arrays(3), ema_decay=0.5)
    refused = pytest.raises(FastoptError, match=r"perturbed\(\)")
    with unchanged(opt), opt.perturbed(0.5, arrays(3, seed=1)), refused:
        call(opt, tmp_path / "saved.npz")
    opt.step(arrays(3))


def test_perturbed_inside_averaged_is_refused():
    opt = SGD(arrays(3), ema_decay=0.5)
    refused = pytest.raises(FastoptError, match=r"averaged\(\)")
    with opt.averaged(), refused, opt.perturbed(0.5, arrays(3)):
        pass


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_in_the_block_restores_the_parameters(error):
    opt = SGD(arrays(3))
    with unchanged(opt), pytest.raises(error), opt.perturbed(0.5, arrays(3)):
        raise error
