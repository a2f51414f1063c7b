"""Adagrad(rowwise=True) and Adam(rowwise=True): one number of state for each row."""

import pickle

import ml_dtypes
import numpy as np
import pytest
from support import LAYOUTS, bits, everything, printed, unchanged

import fastopt
from fastopt import FastoptError, RowSparse

BF16 = np.dtype(ml_dtypes.bfloat16)
OPTIONS = {
    "lr_decay": 0.2,
    "initial_accumulator_value": 0.1,
    "eps": 1e-3,
    "eps_root": 0.05,
    "rowwise": True,
}
OF_ADAM = {"betas": (0.7, 0.9), "eps": 1e-3, "eps_root": 0.05, "rowwise": True}
RULES = {"adagrad": (fastopt.Adagrad, OPTIONS), "adam": (fastopt.Adam, OF_ADAM)}
BY_ROW = {"adagrad": "sum", "adam": "exp_avg_sq"}
every_rule = pytest.mark.parametrize("rule", RULES)


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def run(w, grads, rule="adagrad", **options):
    cls, own = RULES[rule]
    opt = cls([w], **{**own, **options})
    for i, grad in enumerate(grads):
        opt.lr = 0.3 / (1 + i)
        opt.step([grad])
    return opt


def by_hand(w, grads, rule="adagrad", coupled=0.0, decoupled=0.0, scale=1.0, limit=np.inf):
    """Return the parameters and row states that the formula gives in float64."""
    w = np.array(w, np.float64)
    s, m = np.full(len(w), 0.1 if rule == "adagrad" else 0.0), np.zeros_like(w)
    for i, grad in enumerate(grads):
        lr = 0.3 / (1 + i)
        g = np.clip(scale * np.array(grad, np.float64), -limit, limit) + coupled * w
        w *= 1 - lr * decoupled
        squares = (g**2).reshape(len(w), -1).mean(axis=1)
        if rule == "adagrad":
            s += squares
            rates, m = lr / (1 + 0.2 * i) / (np.sqrt(s + 0.05) + 1e-3), g
        else:
            c1, c2 = 1 - 0.7 ** (i + 1), 1 - 0.9 ** (i + 1)
            s, m = 0.9 * s + 0.1 * squares, 0.7 * m + 0.3 * g
            rates = lr / c1 / (np.sqrt(s / c2 + 0.05) + 1e-3)
        w -= rates.reshape(-1, *(1,) * (w.ndim - 1)) * m
    return w, s


SHAPES = [(5,), (4, 1), (6, 2), (3, 511), (3, 512), (3, 513), (2, 16383), (2, 16385), (3, 4, 5),
          (2, 30, 40), (2, 3, 1, 300)]  # fmt: skip


@every_rule
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_formula(shape, rule):
    w, grads = normal(shape), [normal(shape, seed=seed) for seed in (1, 2, 3)]
    for given, meant in [
        ({}, {}),
        ({"weight_decay": 0.1, "maximize": True}, {"coupled": 0.1, "scale": -1.0}),
        ({"weight_decay": 0.1, "decoupled_weight_decay": True}, {"decoupled": 0.1}),
        ({"max_grad_value": 0.4, "grad_scale": 2.0}, {"limit": 0.4, "scale": 0.5}),
    ]:
        found = w.copy()
        opt = run(found, grads, rule, **given)
        expected, sums = by_hand(w, grads, rule, **meant)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(opt.state[0][BY_ROW[rule]], sums, rtol=1e-13)
        assert opt.state[0][BY_ROW[rule]].shape == shape[:1]


def test_norm_of_all_rows_is_clipped():
    w, g = normal((4, 30)), normal((4, 30), seed=1)
    scale = 0.5 / (np.linalg.norm(g) + 1e-6)
    expected, _ = by_hand(w, [g], scale=scale)
    run(w, [g], max_grad_norm=0.5)
    np.testing.assert_allclose(w, expected, rtol=1e-12)


@every_rule
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float16, BF16, np.float32, np.float64], ids=str)
def test_layouts_and_sparse_gradients_of_all_rows_give_equal_bits(shape, dtype, rule):
    grads = [normal(shape, dtype, seed) for seed in (1, 2)]
    w = normal(shape, dtype)

    def found(layout, grads):
        own = layout(w)
        opt = run(own, grads, rule, weight_decay=0.1, n_threads=2)
        return bits([np.array(own), np.array(opt.state[0][BY_ROW[rule]])])

    expected = found(np.array, grads)
    order = np.random.default_rng(0).permutation(len(w))
    assert found(np.array, [RowSparse(order, g[order]) for g in grads]) == expected
    for name, layout in LAYOUTS.items():
        assert found(layout, grads) == expected, name
        assert found(np.array, [layout(g) for g in grads]) == expected, name
        assert found(layout, [layout(g) for g in grads]) == expected, name


@every_rule
@pytest.mark.parametrize("dtype", [np.float16, BF16, np.float32], ids=str)
def test_low_precision_is_rounded_once(dtype, rule):
    w, g = normal((6, 70), dtype), normal((6, 70), dtype, 1)
    expected, sums = by_hand(w, [g], rule)
    opt = run(w, [g], rule)
    assert opt.state[0][BY_ROW[rule]].dtype == np.float32
    np.testing.assert_allclose(opt.state[0][BY_ROW[rule]], sums, rtol=1e-6)
    eps = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(w.astype(float), expected, rtol=eps, atol=1e-6)


@every_rule
def test_rows_without_gradient_are_unchanged(rule):
    w = normal((9, 33), np.float32)
    before = w.copy()
    values = normal((3, 33), np.float32, 1)
    opt = run(w, [RowSparse([7, 2, 7], values)], rule)
    rest, start = np.delete(np.arange(9), [2, 7]), 0.1 if rule == "adagrad" else 0.0
    assert bits(w[rest]) == bits(before[rest])
    assert bits(np.array(opt.state[0][BY_ROW[rule]][rest])) == bits(np.full(7, start, np.float32))
    alone = before[[2, 7]]
    other = run(alone, [np.stack([values[1], values[0] + values[2]])], rule)
    assert bits(w[[2, 7]]) == bits(alone)
    state = np.array(opt.state[0][BY_ROW[rule]][[2, 7]])
    assert bits(state) == bits(np.array(other.state[0][BY_ROW[rule]]))


BITS = """
import hashlib, sys, numpy as np, fastopt
rng = np.random.default_rng(0)
w, g = (rng.normal(size=(700, 101)).astype(np.float32) for _ in range(2))
opt = fastopt.Adagrad(w, rowwise=True, weight_decay=0.1, max_grad_norm=1.0,
                      n_threads=int(sys.argv[1]))
for _ in range(3):
    opt.step(g)
print(hashlib.sha256(w.tobytes() + opt.state[0]["sum"].tobytes()).hexdigest())
"""


def test_threads_and_instruction_sets_give_equal_bits():
    found = {printed(BITS, threads) for threads in (1, 2, 3)}
    found |= {printed(BITS, 2, FASTOPT_ISA=isa) for isa in fastopt._core.isas()}
    assert len(found) == 1


@every_rule
def test_master_average_and_clearing(rule):
    g = normal((6, 40), np.float32, 1)
    w, exact = normal((6, 40), BF16), normal((6, 40), BF16).astype(np.float32)
    opt = run(w, [g, g], rule, master="float32", ema_decay=0.9)
    other = run(exact, [g, g], rule, ema_decay=0.9)
    assert bits(w) == bits(exact.astype(BF16))
    assert bits(opt.ema) == bits(other.ema)
    for layout in LAYOUTS.values():
        cleared = layout(g)
        run(normal((6, 40), np.float32), [cleared], zero_grads=True)
        assert not cleared.any()
        skipped = layout(g)
        skipped[2, 3] = np.nan
        own = normal((6, 40), np.float32)
        before = own.copy()
        opt = run(own, [skipped], zero_grads=True, on_nonfinite="skip")
        assert opt.skipped_steps == 1
        assert not skipped.any()
        assert bits(own) == bits(before)


def test_rowwise_group_with_another_group():
    one, two = normal((6, 40)), normal((6, 40))
    grads = [normal((6, 40), seed=1), normal((6, 40), seed=2)]
    expected = [one.copy(), two.copy()]
    opt = fastopt.Adagrad([{"params": [one], "rowwise": True}, {"params": [two]}])
    opt.step(grads)
    fastopt.Adagrad([expected[0]], rowwise=True).step([grads[0]])
    fastopt.Adagrad([expected[1]]).step([grads[1]])
    assert bits([one, two]) == bits(expected)
    with unchanged(opt), pytest.raises(FastoptError, match="make the optimizer with rowwise=True"):
        opt.param_groups[1]["rowwise"] = True


@every_rule
def test_copies_and_files_continue_with_equal_bits(tmp_path, rule):
    g, (cls, own) = normal((6, 40), seed=1), RULES[rule]
    opt = run(normal((6, 40)), [g], rule)
    copied = pickle.loads(pickle.dumps(opt))
    loaded = cls([opt.params[0].copy()], **own)
    loaded.load_state_dict(opt.state_dict())
    opt.save(tmp_path / "run")
    read = cls([np.zeros((6, 40))], **own)
    read.load(tmp_path / "run")
    for each in (opt, copied, loaded, read):
        each.step([g])
    assert everything(opt) == everything(copied) == everything(loaded) == everything(read)


def test_bad_options_state_dicts_and_shapes_are_refused():
    with pytest.raises(FastoptError, match=r"shape \(\)"):
        fastopt.Adagrad(np.zeros(()), rowwise=True)
    with pytest.raises(FastoptError, match="bfloat16"):
        fastopt.Adagrad(np.zeros((2, 2), np.float32), rowwise=True, state_dtype="bfloat16")
    with pytest.raises(FastoptError, match="bfloat16"):
        fastopt.Adam(np.zeros((2, 2), np.float32), rowwise=True, state_dtype="bfloat16")
    with pytest.raises(TypeError, match="rowwise"):
        fastopt.Adagrad(np.zeros((2, 2)), rowwise=1)
    opt, plain = fastopt.Adagrad(np.ones((2, 3)), rowwise=True), fastopt.Adagrad(np.ones((2, 3)))
    for one, other in ((opt, plain), (plain, opt)):
        with unchanged(one), pytest.raises(FastoptError, match="make the optimizer with rowwise="):
            one.load_state_dict(other.state_dict())
    longer = fastopt.Adagrad(np.ones((4, 3)), rowwise=True)
    with unchanged(opt), pytest.raises(FastoptError, match=r"shape \(4,\)"):
        opt.load_state_dict(longer.state_dict())
    with unchanged(opt), pytest.raises(FastoptError, match="shape"):
        opt.step(np.ones((3, 2)))
    empty = fastopt.Adagrad([np.ones((0, 3)), np.ones((3, 0))], rowwise=True)
    empty.step([np.ones((0, 3)), np.ones((3, 0))])
    assert empty.step_count == 1


def test_read_only_gradient_is_not_cleared():
    g = normal((6, 40), np.float32)
    opt = fastopt.Adagrad([normal((6, 40), np.float32)], rowwise=True, zero_grads=True)
    opt.step([g])
    g[...] = 1
    g.flags.writeable = False
    with pytest.raises(fastopt.FastoptError, match="read-only"):
        opt.step([g])
    assert (g == 1).all()
