"""The options that all rules share: scaling, clipping, checks, averages, clearing, sums."""

import copy
import pickle
import warnings
import weakref

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from support import RULES, SEPARATE, arrays, bits, everything, make, takes, unchanged

import fastopt
from fastopt import FastoptError, RowSparse, _core

BF16 = np.dtype(ml_dtypes.bfloat16)
SHAPES = [(), (3,), (40, 33), (_core.CHUNK + 5,), (0,)]


def tensors(dtype=np.float64, seed=0):
    return arrays(*SHAPES, seed=seed, dtype=dtype)


def transposed(a):
    """Return the same values with transposed axes in memory, or with a stride of two."""
    return np.array(a.T).T if a.ndim > 1 else np.repeat(a, 2)[::2].reshape(a.shape)


def norm_of(grads):
    return np.sqrt(sum(np.sum(np.square(g.astype(np.float64))) for g in grads))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", [np.array, transposed], ids=["contiguous", "transposed"])
def test_scale_then_norm_then_value_then_the_rule(rule, dtype, layout):
    """The step equals a plain step with gradients that NumPy has scaled and clipped."""
    params, grads = tensors(dtype), tensors(dtype, seed=1)
    options = {"grad_scale": 4.0, "max_grad_norm": 2.0, "max_grad_value": 0.02, "maximize": True,
               "weight_decay": 0.1}  # fmt: skip
    opt = make(rule, [layout(w) for w in params], **options)
    plain = make(rule, [w.astype(np.float64) for w in params], maximize=True, weight_decay=0.1)
    for step in range(3):
        opt.lr = plain.lr = 0.1 / (1 + step)
        scaled = [np.asarray(g, np.float64) / 4 * (1 + step) for g in grads]
        norm = norm_of(scaled)
        opt.step([layout((g * (1 + step)).astype(dtype)) for g in grads])
        clipped = [np.clip(g * min(1, 2 / (norm + 1e-6)), -0.02, 0.02) for g in scaled]
        plain.step([np.asarray(g) for g in clipped])
        assert opt.grad_norm == pytest.approx(norm, rel=1e-6 if dtype == np.float32 else 1e-14)
    if "centered" in rule:
        return  # v - m^2 cancels, so that the last digits of a gradient matter
    for w, start, expected in zip(opt.params, params, plain.params, strict=True):
        tolerance = 200 * np.finfo(dtype).eps
        assert np.allclose(w, expected, rtol=tolerance, atol=tolerance * 10)
        assert w.size == 0 or not np.array_equal(w, start)


def test_clipping_by_norm_equals_torch():
    """The factor is min(1, max_norm / (norm + 1e-6))."""
    w, g = np.zeros(4), np.array([3.0, 0, 4.0, 0])
    opt = fastopt.SGD(w, lr=1.0, max_grad_norm=1.0)
    opt.step(g)
    assert w == pytest.approx(-g / (5 + 1e-6), rel=1e-15)
    assert opt.grad_norm == 5.0
    w[...] = 0
    opt = fastopt.SGD(w, lr=1.0, max_grad_norm=6.0)
    opt.step(g)
    assert (w == -g).all()


@pytest.mark.parametrize("layout", [np.array, transposed], ids=["contiguous", "transposed"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside float32"])
@pytest.mark.parametrize(
    "size", [1.7e308, 3e200, 1e160, 1e-130, 1e-140, 1e-160, 1e-200, 1e-300, 5e-324]
)
def test_the_norm_of_gradients_whose_squares_overflow_or_underflow(size, beside, layout):
    """The gradients are 3, 4 and 0 times `size`: their norm is 5 times `size` if it is finite."""
    g = layout(np.array([[3.0, 0.0], [0.0, -4.0]])) * (size / 8 if size > 1e300 else size)
    norm = 5.0 * (size / 8 if size > 1e300 else size)
    grads = [g, np.zeros(2, np.float32)] if beside else [g]
    params = [np.zeros(a.shape, a.dtype) for a in grads]
    opt = fastopt.SGD(params, lr=1.0, max_grad_norm=1.0, on_nonfinite="raise")
    opt.step(grads)
    assert opt.grad_norm == pytest.approx(norm, rel=1e-14, abs=5e-324)
    factor = min(1.0, 1 / (norm + 1e-6))
    assert params[0] == pytest.approx(-g * factor, rel=1e-14, abs=5e-324)


@pytest.mark.parametrize("rule", ["sgd", "adagrad_rowwise"])
def test_clipping_where_the_norm_itself_overflows(rule):
    """grad_norm is then infinite, but the clipped gradients have norm 1."""
    big = np.finfo(np.float64).max
    for grad in (np.full((2, 2), big), RowSparse([1, 0], np.full((2, 2), big))):
        w = np.zeros((2, 2))
        opt = make(rule, [w], lr=1.0, max_grad_norm=1.0, on_nonfinite="raise")
        opt.step([grad])
        assert opt.grad_norm == np.inf
        assert w == pytest.approx(-0.5 if rule == "sgd" else -1.0, rel=1e-9)


def test_the_norm_of_sparse_rows_whose_squares_overflow():
    w = np.zeros((3, 2))
    opt = fastopt.SGD(w, lr=1.0, max_grad_norm=10.0)
    opt.step(RowSparse([2, 0, 2], np.array([[1e200, 0], [0, 4e200], [2e200, 0]])))
    assert opt.grad_norm == pytest.approx(5e200, rel=1e-14)
    assert w == pytest.approx(np.array([[0, -8.0], [0, 0], [-6.0, 0]]), rel=1e-14)


def test_an_infinity_beside_gradients_whose_squares_overflow():
    opt = fastopt.SGD([np.zeros(2)], max_grad_norm=1.0)
    for bad in (np.inf, np.nan):
        opt.step([np.array([1e200, bad])])
        assert opt.grad_norm == np.inf or (np.isnan(bad) and np.isnan(opt.grad_norm))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, BF16])
def test_norm_has_equal_bits_on_any_number_of_threads(dtype):
    """Tensors are smaller and larger than a chunk; instruction sets are tested elsewhere."""
    grads = [g.astype(dtype) for g in tensors(np.float32, seed=1)]
    big = np.random.default_rng(2).normal(size=200_001).astype(dtype)
    norms = set()
    for threads in (1, 2, 3):
        real = np.float64 if dtype == np.float64 else np.float32
        opt = fastopt.SGD([np.zeros(g.shape, real) for g in [*grads, big]],
                          max_grad_norm=1.0, n_threads=threads)  # fmt: skip
        opt.step([*grads, big])
        norms.add(opt.grad_norm)
    assert len(norms) == 1
    assert norms.pop() == pytest.approx(norm_of([*grads, big]), rel=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BF16])
@pytest.mark.parametrize("where", [0, 5, _core.CHUNK + 4, 15])
@pytest.mark.parametrize("layout", [np.array, transposed], ids=["contiguous", "transposed"])
def test_gradients_that_are_not_finite(bad, dtype, where, layout):
    size = _core.CHUNK + 5
    for rule in ("sgd", "adam"):
        good, spoilt = np.ones(size, dtype), np.ones(size, dtype)
        spoilt[where] = bad
        for mode in ("raise", "skip"):
            opt = make(rule, {"a": np.ones(3, dtype), "b": np.ones(size, dtype)}, on_nonfinite=mode)
            opt.step({"a": None, "b": layout(good)})
            before = everything(opt)
            if mode == "raise":
                with pytest.raises(FastoptError, match="parameter 'b' has a NaN or an infinity"):
                    opt.step({"a": np.ones(3, dtype), "b": layout(spoilt)})
                assert everything(opt) == before
            else:
                opt.step({"a": np.ones(3, dtype), "b": layout(spoilt)})
                assert (opt.step_count, opt.skipped_steps) == (1, 1)
                after = opt.state_dict()
                assert bits({**after, "skipped_steps": 0}) == bits(
                    {**pickle.loads(pickle.dumps(opt)).state_dict(), "skipped_steps": 0}
                )
                assert bits(opt.params["b"]) == bits(copy.deepcopy(opt).params["b"])
            opt.step({"a": np.ones(3, dtype), "b": good})
            assert opt.step_count == 2
        opt = make(rule, [np.ones(size, dtype)])
        opt.step([spoilt])
        assert not np.isfinite(opt.params[0].astype(np.float64)[where]) or np.isinf(bad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BF16])
def test_message_says_which_elements_are_not_finite(dtype):
    grads = [np.ones((3, 4), dtype), np.ones((3, 4), dtype), np.ones((), dtype)]
    opt = fastopt.SGD([w.copy() for w in grads], on_nonfinite="raise")
    grads[1][1, 2], grads[1][2, 0], grads[1][2, 3] = np.inf, np.nan, -np.inf
    found = (
        r"parameter 1 has .*\(3 of its 12 elements, the first at \[1, 2\]\); nothing was changed"
    )
    with pytest.raises(FastoptError, match=found):
        opt.step(grads)
    rows = fastopt.RowSparse([2, 0], grads[1][1:])
    with pytest.raises(FastoptError, match=r"\(3 of its 8 stored values, the first at \[0, 2\]"):
        opt.step([None, rows, None])
    matrix = scipy.sparse.csr_array(np.diag([1.0, np.nan, np.inf, 1.0])[:3])
    with pytest.raises(FastoptError, match=r"\(2 of its 3 stored values, the first at \[1\]"):
        opt.step([matrix, None, None])
    with pytest.raises(
        FastoptError, match=r"parameter 2 .*1 of its 1 elements, the first at \[0\]"
    ):
        opt.step([None, None, np.array(np.nan, dtype)])
    opt.bind(grads)
    with pytest.raises(FastoptError, match=r"\(3 of its 12 elements"):
        opt.step()


def test_skipped_step_changes_only_its_count():
    opt = make("adam", [np.ones(3)], on_nonfinite="skip")
    opt.step([np.ones(3)])
    before = bits([opt.params, opt.state_dict()["state"]])
    opt.step([np.array([1.0, np.nan, 1.0])])
    assert bits([opt.params, opt.state_dict()["state"]]) == before
    assert (opt.step_count, opt.skipped_steps) == (1, 1)


def test_finite_gradients_with_overflowing_squares_are_finite():
    w = np.zeros(2)
    fastopt.SGD(w, lr=1e-200, on_nonfinite="raise").step(np.full(2, 1e200))
    assert (w == -1).all()


@pytest.mark.parametrize(
    ("dtype", "size"), [(np.float32, 1e27), (BF16, 1e27), (np.float16, 6e4), (np.float64, 1e300)]
)
@pytest.mark.parametrize("layout", [np.array, transposed], ids=["contiguous", "transposed"])
@pytest.mark.parametrize("max_grad_norm", [None, 1.0])
def test_gradients_that_grad_scale_makes_infinite(dtype, size, layout, max_grad_norm):
    """on_nonfinite checks gradients after division by grad_scale, in the step's precision."""
    scale = 2.0**-40 if dtype in (np.float32, BF16) else 2.0**-126
    grads = [layout(np.ones((3, 40), dtype)), layout(np.ones((3, 40), dtype))]
    grads[1][2, 1] = size
    params = [np.zeros((3, 40), dtype) for _ in grads]
    options = {"lr": 1e-30, "grad_scale": scale, "max_grad_norm": max_grad_norm}
    opt = fastopt.SGD(params, **options, on_nonfinite="raise")
    with pytest.raises(FastoptError, match="parameter 1 divided by grad_scale has a NaN or an inf"):
        opt.step(grads)
    assert not any(w.any() for w in params)
    skips = fastopt.SGD(params, **options, on_nonfinite="skip")
    skips.step(grads)
    assert skips.skipped_steps == 1
    grads[1][2, 1] = 2.0**-10
    opt.step(grads)
    assert opt.step_count == 1


def test_gradients_that_grad_scale_makes_small_enough():
    """float64 gradients of float32 parameters are rounded to float32 first."""
    opt = fastopt.SGD(np.zeros(1, np.float32), lr=1.0, grad_scale=2.0**100, on_nonfinite="raise")
    opt.step(np.array([3e38]))
    with pytest.raises(FastoptError, match="has a NaN or an infinity"):
        opt.step(np.array([1e39]))


@pytest.mark.parametrize("rule", [rule for rule in RULES if takes(rule, {"ema_decay": 0.9})])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, BF16])
@pytest.mark.parametrize("layout", [np.array, transposed], ids=["contiguous", "transposed"])
def test_averages_over_steps(rule, dtype, layout):
    real = np.float64 if dtype == np.float64 else np.float32
    params = [layout(w.astype(dtype)) for w in tensors()]
    opt = make(rule, params, ema_decay=0.9)
    expected = [w.astype(real) for w in params]
    for w, average in zip(params, opt.ema, strict=True):
        assert bits(np.array(average)) == bits(w.astype(real))
    for seed in (1, 2, 3):
        opt.step([g.astype(dtype) for g in tensors(seed=seed)])
        rest = real(1.0 - 0.9)
        expected = [e + rest * (w.astype(real) - e) for e, w in zip(expected, params, strict=True)]
    for e, average in zip(expected, opt.ema, strict=True):
        assert bits(np.array(average)) == bits(np.asarray(e))
    assert bits(copy.deepcopy(opt).ema) == bits(opt.ema)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BF16])
@pytest.mark.parametrize("decay", [0.9, 0.999, 0.9999, 1 / 3])
def test_the_average_of_a_constant_stays_that_constant(dtype, decay):
    w = np.array([0.7, -0.3, 1e-3, 1e4, 0.1]).astype(dtype)
    opt = fastopt.SGD(w, ema_decay=decay)
    for _ in range(100):
        opt.step(np.zeros(5, dtype))
    assert (opt.ema == w).all()


@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_the_average_approaches_a_new_constant(decay):
    w = np.zeros(3, np.float32)
    opt = fastopt.SGD(w, lr=1.0, ema_decay=decay)
    opt.step(np.float32([-0.7, -1e3, 1e-3]))
    for _ in range(4000):
        opt.step(np.zeros(3, np.float32))
    assert opt.ema == pytest.approx(w, rel=1e-5)


def test_the_decay_of_each_step_may_differ():
    w = np.zeros(1)
    opt = fastopt.SGD(w, lr=1.0, ema_decay=0.5)
    opt.step(np.zeros(1))  # this step passes the options, among them the decay, to C
    expected = 0.0
    for t, decay in enumerate((0.1, 0.5, 0.9, 0.0, 1.0), 1):
        opt._plan.ema_decay = decay
        opt.step(np.array([-1.0]))
        expected += (1.0 - decay) * (t - expected)
        assert opt.ema[0] == expected
    assert opt._plan.ema_decay == 1.0


def test_averages_have_the_structure_of_the_parameters():
    assert fastopt.SGD(np.zeros(3), ema_decay=0.5).ema.shape == (3,)
    assert list(fastopt.SGD({"a": np.zeros(3)}, ema_decay=0.5).ema) == ["a"]
    with pytest.raises(FastoptError, match="ema_decay"):
        _ = fastopt.SGD(np.zeros(3)).ema


@pytest.mark.parametrize("dtype", [np.float32, np.float64, BF16])
@pytest.mark.parametrize("layout", [np.array, transposed], ids=["contiguous", "transposed"])
def test_gradients_are_cleared_after_the_step(dtype, layout):
    grads = [layout(g.astype(dtype)) for g in tensors()]
    opt = fastopt.SGD([np.zeros(g.shape, dtype) for g in grads], zero_grads=True)
    opt.step([*grads[:-1], None])
    assert not any(g.astype(float).any() for g in grads)
    opt = fastopt.SGD(np.zeros(3), zero_grads=True, on_nonfinite="skip")
    g = np.array([1.0, np.nan, 2.0])
    opt.step(g)
    assert (opt.skipped_steps, g.tolist()) == (1, [0, 0, 0])
    opt = fastopt.SGD(np.zeros(3), zero_grads=True, on_nonfinite="raise")
    g = np.array([1.0, np.nan, 2.0])
    with pytest.raises(FastoptError):
        opt.step(g)
    assert g[0] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, BF16])
@pytest.mark.parametrize("layout", [np.array, transposed], ids=["contiguous", "transposed"])
def test_all_gradients_of_a_skipped_step_are_cleared(dtype, layout):
    grads = [layout(g.astype(dtype)) for g in tensors()]
    grads[0][...] = np.nan
    opt = fastopt.SGD([np.zeros(g.shape, dtype) for g in grads], zero_grads=True,
                      on_nonfinite="skip")  # fmt: skip
    opt.step([*grads[:-1], None])
    assert opt.skipped_steps == 1
    assert not any(g.astype(float).any() for g in grads)


def test_gradients_that_cannot_be_cleared():
    opt = fastopt.SGD([np.zeros(3), np.zeros(3)], zero_grads=True)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    one = np.ones(3)
    for grads, reason in [([one, frozen], "read-only"), ([one, one], "share memory")]:
        before = everything(opt)
        with pytest.raises(FastoptError, match=reason):
            opt.step(grads)
        assert everything(opt) == before
        assert (one == 1).all()
    with pytest.raises(TypeError, match="number"):
        fastopt.SGD(np.zeros(()), zero_grads=True).step(1.0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, BF16])
def test_accumulated_gradients_are_summed(rule, dtype):
    real = np.float64 if dtype == np.float64 else np.float32
    parts = [[g.astype(dtype) for g in tensors(seed=seed)] for seed in (1, 2, 3)]
    opt = make(rule, [w.astype(dtype) for w in tensors()])
    other = make(rule, [w.astype(dtype) for w in tensors()])
    for _ in range(2):
        for part in parts:
            opt.accumulate([transposed(g) for g in part])
        saved = copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))
        opt.step()
        for each in saved:
            each.step()
            assert everything(each) == everything(opt)
        other.step([np.asarray((a.astype(real) + b.astype(real)) + c.astype(real))
                    for a, b, c in zip(*parts, strict=True)])  # fmt: skip
    assert everything(opt) == everything(other)


def test_accumulation_refuses_bad_gradients_and_is_saved():
    opt = fastopt.SGD({"a": np.zeros(2), "b": np.zeros(2)}, lr=1.0)
    opt.accumulate({"a": np.ones(2), "b": None})
    before = everything(opt)
    for bad in ({"a": np.ones(3), "b": None}, {"a": np.ones(2)}):
        with pytest.raises(FastoptError):
            opt.accumulate(bad)
    with pytest.raises(FastoptError, match="accumulated"):
        opt.step({"a": np.ones(2), "b": np.ones(2)})
    assert everything(opt) == before
    other = fastopt.SGD({"a": np.zeros(2), "b": np.zeros(2)}, lr=1.0)
    other.load_state_dict(opt.state_dict())
    for each in (opt, other):
        each.step()
        assert each.params["a"].tolist() == [-1, -1]
        assert each.state["b"]["step"] == 0
        with pytest.raises(FastoptError, match="bind"):
            each.step()
    opt = fastopt.SGD(np.zeros(2), on_nonfinite="skip")
    opt.accumulate(np.array([1.0, np.inf]))
    opt.step()
    opt.accumulate(np.ones(2))
    opt.step()
    assert (opt.step_count, opt.skipped_steps) == (1, 1)


def test_numpys_error_state_does_not_interrupt_accumulation():
    opt = fastopt.SGD([np.zeros(2), np.zeros(2)])
    opt.accumulate([np.ones(2), np.array([np.inf, 1.0])])
    with np.errstate(all="raise"), warnings.catch_warnings(action="error"):
        opt.accumulate([np.ones(2), np.array([-np.inf, 1.0])])
    assert opt.state_dict()["accumulated"][0].tolist() == [2.0, 2.0]
    assert np.isnan(opt.state_dict()["accumulated"][1]).tolist() == [True, False]


def test_grad_scale_can_be_set():
    w = np.zeros(2)
    opt = fastopt.SGD(w, lr=1.0, grad_scale=2.0)
    opt.step(np.ones(2))
    opt.grad_scale = 4.0
    opt.step(np.ones(2))
    assert w.tolist() == [-0.75, -0.75]
    for bad in (0.0, -1.0, np.nan, 1e-40, 1e39, 1e-300):
        with pytest.raises(FastoptError, match="grad_scale"):
            opt.grad_scale = bad
    assert opt.grad_scale == 4.0


@pytest.mark.parametrize("scale", [2.0**-126, 2.0**126])
def test_extreme_grad_scales_are_exact_in_float32(scale):
    w = np.zeros(2, np.float32)
    fastopt.SGD(w, lr=1.0, grad_scale=scale).step(np.full(2, scale, np.float32))
    assert w.tolist() == [-1.0, -1.0]


def test_zero_decay_with_an_overflowing_rate_ratio():
    """lr / lr_base overflows; its product with a decay of 0 would be NaN."""
    for extra in ({}, {"grad_scale": 2.0}):
        w = np.ones(3)
        opt = fastopt.SGD(w, lr=1e-300, decoupled_weight_decay="schedule_only", **extra)
        opt.lr = 1e10
        opt.step(np.zeros(3))
        assert w.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "options",
    [{"max_grad_norm": 0.0}, {"max_grad_norm": -1.0}, {"max_grad_value": np.nan},
     {"grad_scale": 0.0}, {"grad_scale": 1e-40}, {"grad_scale": 1e39},
     {"on_nonfinite": "ignore"}, {"zero_grads": 1}, {"ema_decay": 1.5},
     {"state_dtype": "float16"}, {"master": "float64"}, {"rounding": "up"}, {"seed": -1},
     {"seed": 1.5}, {"clip": 1.0}],
    ids=str,
)  # fmt: skip
def test_bad_options_are_refused(options):
    with pytest.raises((FastoptError, TypeError), match=next(iter(options))):
        fastopt.SGD(np.zeros(3), **options)
    with pytest.raises(FastoptError, match="differ by group"):
        fastopt.SGD([{"params": [np.zeros(3)], **options}])


def test_copies_continue_with_equal_bits():
    options = dict(ema_decay=0.9, on_nonfinite="skip", rounding="stochastic", seed=3,
                   state_dtype="bfloat16", max_grad_norm=1.0)  # fmt: skip
    w = np.ones(50, BF16)
    opt = fastopt.Adam([w], **options)
    grads = [g.astype(np.float32) for g in arrays((50,), (50,), (50,))]
    opt.step([grads[0]])
    opt.step([np.full(50, np.nan, np.float32)])
    other = fastopt.Adam([w.copy()], **options)
    other.load_state_dict(opt.state_dict())
    others = [other, copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))]
    for each in (opt, *others):
        each.step([grads[1]])
        each.step([grads[2]])
        assert everything(each) == everything(opt)
        assert bits(each.ema) == bits(opt.ema)
        assert each.skipped_steps == 1


def test_grad_norm_is_nan_if_it_was_not_computed():
    opt = fastopt.SGD(np.zeros(2), lr=0.1)
    assert np.isnan(opt.grad_norm)
    opt.step(np.ones(2))
    assert np.isnan(opt.grad_norm)


def test_a_gradient_whose_elements_share_memory_is_not_cleared():
    opt = fastopt.SGD(np.zeros(5000), lr=1.0, zero_grads=True)
    g = np.lib.stride_tricks.as_strided(np.ones(1), (5000,), (0,))
    with unchanged(opt), pytest.raises(FastoptError, match="elements of the gradient"):
        opt.step(g)
    assert g[0] == 1


def test_gradients_to_clear_are_checked_at_each_step():
    w, room = [np.zeros(4), np.zeros(4)], np.ones(9)
    opt = fastopt.SGD(w, lr=1.0, zero_grads=True)
    grads = [room[:4], room[4:8]]
    opt.step(grads)
    opt.step([None, room[4:8]])
    room[...] = 1
    for clash in (room[3:7], room[:4], room[1:9:2]):
        with unchanged(opt), pytest.raises(FastoptError, match="share memory"):
            opt.step([room[:4], clash])
    grads[1].flags.writeable = False
    with unchanged(opt), pytest.raises(FastoptError, match="read-only"):
        opt.step(grads)
    assert (room == 1).all()
    with unchanged(opt), pytest.raises(TypeError, match="an ndarray is needed"):
        opt.step([room[:4], Copying()])


class Copying:
    def __array__(self, dtype=None, copy=None):
        return np.ones(4)


def test_optimizer_keeps_no_reference_to_cleared_gradients():
    opt = fastopt.SGD(np.zeros(4), lr=1.0, zero_grads=True)
    g = np.ones(4)
    ref = weakref.ref(g)
    opt.step(g)
    del g
    assert ref() is None


def test_zero_grad_discards_sums_that_are_not_finite():
    w = np.zeros(3)
    opt = fastopt.SGD(w, lr=1.0, on_nonfinite="raise")
    opt.accumulate(np.full(3, np.nan))
    with unchanged(opt), pytest.raises(FastoptError, match="NaN"):
        opt.step()
    opt.zero_grad()
    opt.accumulate(np.ones(3))
    opt.step()
    assert list(w) == [-1, -1, -1]


@pytest.mark.parametrize("dtype", [np.float16, BF16])
@pytest.mark.parametrize("extra", [{}, {"master": "float32"}, {"state_dtype": "bfloat16"}])
def test_look_ahead_point_in_low_precision_is_rounded_once(dtype, extra):
    w = np.linspace(0.5, 2, 50).astype(dtype)[::-1]
    opt = fastopt.SGD(w, lr=0.3, momentum=0.9, nesterov="lookahead", lr_in_buffer=True, **extra)
    for g in arrays(*3 * [(50,)]):
        with opt.extrapolated():
            ahead = w.copy()
        state = opt.state[0]
        exact = state.get("master", w).astype(np.float32)
        exact = exact - np.float32(0.9) * state["momentum_buffer"].astype(np.float32)
        assert bits(ahead) == bits(exact.astype(dtype))
        opt.step(g)


@pytest.mark.parametrize("rule", SEPARATE)
def test_parameters_together_equal_each_alone(rule):
    """Parameters with other dtypes, groups and numbers of steps do not change a bit."""
    dtypes = [np.float32, np.float64, BF16, np.float32, np.float32]
    rates = [0.1, 0.1, 0.2, 0.2, 0.2]
    params = [w.astype(d) for w, d in zip(arrays(*[(20,)] * 5), dtypes, strict=True)]
    alone = [make(rule, [w.copy()], lr=lr) for w, lr in zip(params, rates, strict=True)]
    opt = make(rule, [{"params": params[:2], "lr": 0.1}, {"params": params[2:], "lr": 0.2}])
    for step in range(6):
        grads = [g.astype(d) for g, d in zip(arrays(*[(20,)] * 5, seed=step), dtypes, strict=True)]
        given = [None if (step + i) % (i + 2) == 0 else g for i, g in enumerate(grads)]
        opt.step(given)
        for one, g in zip(alone, given, strict=True):
            if g is not None:
                one.step([g])
    for w, one in zip(params, alone, strict=True):
        assert bits(w) == bits(one.params[0])


def test_parameters_with_different_momentum_products_equal_each_alone():
    """They share the number of steps and the group, but not the product of NAdam's momenta."""
    params, grads = arrays((20,), (20,)), arrays((20,), (20,), seed=1)
    alone = [fastopt.NAdam(w.copy()) for w in params]
    opt = fastopt.NAdam(params)
    for i, beta1 in enumerate([0.9, 0.5]):
        for each in (opt, *alone):
            each.param_groups[0]["betas"] = (beta1, 0.999)
        opt.step([g if i == k else None for k, g in enumerate(grads)])
        alone[i].step(grads[i])
    opt.step(grads)
    for w, g, one in zip(params, grads, alone, strict=True):
        one.step(g)
        assert bits(w) == bits(one.params)


def test_seeds_and_steps_have_separate_random_numbers():
    """They must not be combined as seed ^ step: seeds 0 and 1 would exchange pairs of steps."""
    found = set()
    for seed in range(4):
        w = np.ones(256, ml_dtypes.bfloat16)
        opt = fastopt.SGD(w, lr=1.0, rounding="stochastic", seed=seed)
        for _ in range(4):
            w[...] = 1
            opt.step(np.full(256, -(2.0**-8), np.float32))
            found.add(bits(w))
    assert len(found) == 16


def test_parameter_with_a_master_is_rounded_stochastically():
    w = np.ones(10_000, BF16)
    fastopt.SGD(w, lr=1.0, master="float32", rounding="stochastic").step(
        np.full(10_000, 2.0**-10, np.float32)
    )
    assert 0.1 < np.mean(w.astype(np.float32) == 1) < 0.9


def test_states_are_rounded_with_different_random_bits():
    """m and v of one element are equal numbers and are rounded differently."""
    w = np.zeros(10_000, np.float32)
    opt = fastopt.Adam(w, betas=(0.5, 0.5), state_dtype="bfloat16")
    opt.step(np.full(10_000, 1 + 2.0**-10, np.float32))
    low = [np.array(opt.state[0][name]).astype(np.float32) for name in ("exp_avg", "exp_avg_sq")]
    up = [state > state.min() for state in low]
    assert all(0.05 < np.mean(each) < 0.95 for each in up)
    assert abs(np.corrcoef(*up)[0, 1]) < 0.1
