"""lookahead_steps: slow weights around every rule, Zhang et al. 2019, Algorithm 1."""

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest
from support import LAYOUTS, RULES, arrays, bits, everything, make, takes, unchanged

import fastopt
from fastopt import SGD, Adam, FastoptError, RowSparse, _core

SHAPES = [(3, 5), (7,), ()]
LOW = [np.float16, ml_dtypes.bfloat16]


def looking_ahead(rule, params, period, alpha, rates, **options):
    """Return the fast and slow weights after each step; the rule's steps are those of fastopt."""
    fast = [np.array(w, np.float64) for w in params]
    slow = [w.copy() for w in fast]
    opt, path = make(rule, fast, **options), []
    for t, lr in enumerate(rates, start=1):
        opt.lr = lr
        opt.step(arrays(*(w.shape for w in params), seed=t))
        if t % period == 0:
            for w, s in zip(fast, slow, strict=True):
                s += alpha * (w - s)
                w[...] = s
        path.append(([w.copy() for w in fast], [s.copy() for s in slow]))
    return path


@pytest.mark.parametrize("rule", [rule for rule in RULES if takes(rule, {"lookahead_steps": 3})])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [*LAYOUTS])
def test_follows_the_algorithm(rule, dtype, layout):
    if "rowwise" in rule and dtype == np.float32 and layout != "C":
        return
    shapes = SHAPES[:2] if "rowwise" in rule else SHAPES
    params = [LAYOUTS[layout](w) if w.ndim else w for w in arrays(*shapes, dtype=dtype)]
    rates = [0.01, 0.02, 0.02, 0.005, 0.01, 0.03, 0.01]
    expected = looking_ahead(rule, params, 3, 0.3, rates)
    opt = make(rule, params, lookahead_steps=3, lookahead_alpha=0.3)
    rtol = 1e-13 if dtype == np.float64 else 1e-3 if "centered" in rule else 1e-5
    for t, (lr, (fast, slow)) in enumerate(zip(rates, expected, strict=True), start=1):
        opt.lr = lr
        opt.step([g.astype(dtype) for g in arrays(*shapes, seed=t)])
        for i, w in enumerate(params):
            np.testing.assert_allclose(w, fast[i], rtol, rtol)
            np.testing.assert_allclose(opt.state[i]["slow"], slow[i], rtol, rtol)
            if t % 3 == 0:
                assert bits(w) == bits(opt.state[i]["slow"])


def test_all_paths_have_equal_bits():
    """Chunks, tiles, panels, other gradient dtypes and threads."""
    (w,) = arrays((300, 130), dtype=np.float32)
    found = []
    for layout in LAYOUTS.values():
        for n_threads in (1, 3):
            param = layout(w)
            opt = Adam(param, lr=0.1, lookahead_steps=2, lookahead_alpha=0.3, n_threads=n_threads)
            for seed in range(5):
                g = arrays((300, 130), seed=seed, dtype=np.float32)[0]
                opt.step(layout(g) if seed % 2 else g.astype(np.float64))
            found.append(bits([np.array(param), np.array(opt.state[0]["slow"])]))
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_one_step_is_the_formula_to_the_last_bit(alpha):
    w, slow = np.array([1.0, -3.0, np.inf]), np.array([1.0, -3.0, 2.0])
    opt = SGD(w, lr=1.0, lookahead_steps=1, lookahead_alpha=alpha)
    opt.state[0]["slow"][...] = slow
    for _ in range(3):
        fast = w - np.array([0.7, 0.3, 0.0])
        opt.step(np.array([0.7, 0.3, 0.0]))
        with np.errstate(invalid="ignore"):
            slow = slow + alpha * (fast - slow)
        assert bits(w) == bits(slow) == bits(opt.state[0]["slow"])


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("master", [None, "float32"])
@pytest.mark.parametrize("dtype", LOW)
def test_low_precision_rounds_the_slow_weights(dtype, master, rounding):
    """slow is float32 and moves towards the result of the rule before it is rounded."""
    (w,) = arrays(50, dtype=dtype)
    opt = SGD(w, lr=0.1, lookahead_steps=2, lookahead_alpha=0.3, master=master, rounding=rounding)
    state = opt.state[0]
    exact, slow = (w.astype(np.float32) for _ in range(2))
    for t in range(1, 7):
        (g,) = arrays(50, seed=t, dtype=np.float32)
        opt.step(g)
        exact = exact - np.float32(0.1) * g
        if t % 2 == 0:
            slow += np.float32(0.3) * (exact - slow)
            exact = slow.copy()
        assert bits(state["slow"]) == bits(slow)
        if master:
            assert bits(state["master"]) == bits(exact)
        if rounding == "nearest":
            assert bits(w) == bits(exact.astype(dtype))
        gap = np.abs(w.astype(np.float32) - exact)
        assert (gap <= np.float32(ml_dtypes.finfo(dtype).eps) * np.abs(exact)).all()
        if not master:
            exact = w.astype(np.float32)


def test_stochastic_rounding_is_unbiased_after_a_period():
    w = np.ones(20_000, ml_dtypes.bfloat16)
    opt = SGD(w, lr=1.0, lookahead_steps=1, lookahead_alpha=0.5, rounding="stochastic")
    opt.step(np.full(20_000, -(2.0**-8)))  # slow = 1 + 2^-9, a quarter of the way to the next
    assert opt.state[0]["slow"][0] == 1 + 2.0**-9
    assert np.mean(w > 1) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_slow_weights_stay_inside_the_bounds(dtype, alpha):
    """With alpha = 1, slow + (w - slow) is 0 for slow = 1e20 and w = 1; NaN stays NaN."""
    w, free = (np.array([-4.0, 0.5, 8.0, 1e20, np.nan], dtype) for _ in range(2))
    groups = [{"params": [w], "bounds": (0.25, 1.0)}, {"params": [free]}]
    opt = SGD(groups, lr=1.0, lookahead_steps=2, lookahead_alpha=alpha)
    for _ in range(2):
        opt.step([np.zeros(5), np.zeros(5)])
    for values in (w, opt.state[0]["slow"]):
        inside = (values >= 0.25) & (values <= 1.0)
        assert list(inside) == [True, True, True, True, False]
        assert np.isnan(values[4])
    assert free[2] == 8.0


def test_slow_weights_are_clipped_after_they_have_moved():
    """Those at the beginning of a chunk, too."""
    w = np.full(_core.CHUNK + 1, 5.0)
    opt = SGD(w, lr=1.0, bounds=(-1.0, 1.0), lookahead_steps=1, lookahead_alpha=0.5)
    opt.step(np.full(w.size, 4.5))
    assert (w == 1.0).all()


def test_periods_are_of_each_parameter():
    """None as a gradient, and skipped steps, do not count."""
    params = a, b = arrays(3, 3)
    opt = SGD(params, lr=0.1, lookahead_steps=2, on_nonfinite="skip")
    grads = arrays(3, 3, seed=1)
    opt.step([grads[0], None])
    opt.step([np.full(3, np.nan), grads[1]])
    slow = [opt.state[i]["slow"] for i in range(2)]
    assert bits(slow) == bits(arrays(3, 3))
    opt.step(grads)
    assert bits(slow[0]) == bits(a) != bits(arrays(3)[0])
    assert bits(slow[1]) == bits(arrays(3, 3)[1]) != bits(b)
    opt.step([None, grads[1]])
    assert bits(slow[1]) == bits(b)


COPIES = {
    "state dict": lambda opt: loaded(opt),
    "deepcopy": copy.deepcopy,
    "pickle": lambda opt: pickle.loads(pickle.dumps(opt)),
}


def loaded(opt):
    other = Adam(arrays(5), lookahead_steps=3, lookahead_alpha=0.3)
    other.params[0][...] = opt.params[0]
    other.load_state_dict(opt.state_dict())
    return other


@pytest.mark.parametrize("how", COPIES.values(), ids=[*COPIES])
def test_copies_continue(how):
    opt = Adam(arrays(5), lr=0.1, lookahead_steps=3, lookahead_alpha=0.3)
    opts = [opt]
    for seed in range(9):
        if seed == 4:
            opts.append(how(opt))
        for one in opts:
            one.step(arrays(5, seed=seed))
    assert everything(opts[0]) == everything(opts[1])


def test_save_and_load(tmp_path):
    opts = [Adam(arrays(5), lr=0.1, lookahead_steps=3) for _ in range(2)]
    for seed in range(4):
        opts[0].step(arrays(5, seed=seed))
    opts[0].save(tmp_path / "saved.npz")
    opts[1].load(tmp_path / "saved.npz")
    for seed in range(4):
        for opt in opts:
            opt.step(arrays(5, seed=seed))
    assert everything(opts[0]) == everything(opts[1])


def test_averaged_is_at_the_slow_weights():
    (w,) = arrays(5)
    opt = SGD(w, lr=0.1, lookahead_steps=2)
    for seed in range(3):
        opt.step(arrays(5, seed=seed)[0])
    with unchanged(opt), opt.averaged():
        assert bits(w) == bits(opt.state[0]["slow"])
    with pytest.raises(FastoptError, match="ema_decay"):
        _ = opt.ema


BAD = [
    ({"lookahead_steps": 0}, FastoptError, "lookahead_steps is 0"),
    ({"lookahead_steps": 2.0}, TypeError, "lookahead_steps is 2.0"),
    ({"lookahead_steps": 2, "lookahead_alpha": 1.5}, FastoptError, "lookahead_alpha is 1.5"),
    ({"lookahead_alpha": 0.8}, FastoptError, "lookahead_alpha is 0.8; it needs"),
    ({"lookahead_steps": 5, "ema_decay": 0.9}, FastoptError, "5 and ema_decay is 0.9; only one"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SGD(arrays(3), **options)


def test_row_sparse_gradients_are_refused():
    opt = SGD(np.ones((3, 2)), lookahead_steps=5)
    with unchanged(opt), pytest.raises(FastoptError, match="lookahead_steps"):
        opt.step(RowSparse([1], np.ones((1, 2))))


def test_options_can_be_read_and_not_set():
    opt = fastopt.SGD(arrays(3), lookahead_steps=5)
    assert (opt.extras["lookahead_steps"], opt.extras["lookahead_alpha"]) == (5, 0.5)
    with pytest.raises(FastoptError, match="lookahead_steps can only be set"):
        opt.lookahead_steps = 3
