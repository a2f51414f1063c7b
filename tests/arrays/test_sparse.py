"""A row-sparse step equals a dense step on those rows alone and changes nothing else."""

import itertools
import time

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from support import ALL_RULES, LAYOUTS, bits, everything, make, takes_rows, unchanged

import fastopt
from fastopt import FastoptError, RowSparse, _core

BF16 = np.dtype(ml_dtypes.bfloat16)
INDICES = np.array([7, 3, 7, 0, 11, 3, 7])
UNIQUE = np.unique(INDICES)


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def coalesced(values, real):
    """Return the sum of the values of each row, added in the order in which they occur."""
    sums = []
    for row in UNIQUE:
        own = [value.astype(real) for value in values[row == INDICES]]
        total = own[0]
        for value in own[1:]:
            total = total + value
        sums.append(total)
    return np.array(sums)


def state_of(opt):
    return {name: np.array(value) for name, value in opt.state[0].items() if value.ndim}


ROW_RULES = [rule for rule in ALL_RULES if takes_rows(rule)]


def check(rule, shape, param, grad, layout=np.array, steps=3, **options):
    """Compare row-sparse steps with dense steps on those rows alone."""
    real = np.float64 if param == np.float64 else np.float32
    w = layout(normal((12, *shape), param))
    start = np.array(w)
    opt, dense = make(rule, [w], **options), make(rule, [np.array(w[UNIQUE])], **options)
    for seed in range(steps):
        opt.lr = dense.lr = 0.1 / (1 + seed)
        values = normal((7, *shape), grad, seed + 1)
        opt.step([RowSparse(INDICES, values)])
        dense.step([coalesced(values, real)])
        assert bits(np.array(w[UNIQUE])) == bits(dense.params[0])
        for name, value in state_of(opt).items():
            assert bits(np.array(value[UNIQUE])) == bits(state_of(dense)[name])
            rest = np.delete(value, UNIQUE, 0)
            fresh = state_of(make(rule, [start], **options))[name]
            assert bits(rest) == bits(np.delete(fresh, UNIQUE, 0))
    assert bits(np.delete(w, UNIQUE, 0)) == bits(np.delete(start, UNIQUE, 0))
    assert opt.state[0]["step"] == steps


@pytest.mark.parametrize("rule", ROW_RULES)
@pytest.mark.parametrize("param", [np.float16, BF16, np.float32, np.float64], ids=str)
@pytest.mark.parametrize("grad", [np.float16, BF16, np.float32, np.float64], ids=str)
def test_a_step_changes_only_the_rows_of_its_gradient(rule, param, grad):
    check(rule, (5,), param, grad, weight_decay=0.1, maximize=True)


@pytest.mark.parametrize("shape", [(), (1,), (64,), (3, 4), (513,), (_core.CHUNK + 3,), (2, 700)])
@pytest.mark.parametrize("rule", ["sgd", "adam", "rmsprop_centered_momentum"])
def test_rows_of_any_length(rule, shape):
    check(rule, shape, np.float32, np.float32, decoupled_weight_decay=True, weight_decay=0.1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(5,), (3, 4), (600,), (300, 3)])
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_rows_of_any_layout(rule, shape, layout):
    check(rule, shape, np.float32, np.float64, layout=LAYOUTS[layout])


@pytest.mark.parametrize("rule", ROW_RULES)
def test_a_gradient_of_all_rows_equals_a_dense_gradient(rule):
    w, g = normal((40, 30), np.float32), normal((40, 30), np.float32, 1)
    one, other = make(rule, [w.copy()]), make(rule, [w.copy()])
    order = np.random.default_rng(0).permutation(40)
    for _ in range(3):
        one.step([g])
        other.step([RowSparse(order, g[order])])
    assert everything(one) == everything(other)


@pytest.mark.parametrize("param", [BF16, np.float32, np.float64], ids=str)
@pytest.mark.parametrize("keep_start", [False, True])
def test_rows_of_ftrl_equal_a_dense_gradient_that_is_0_elsewhere(param, keep_start):
    """For any start, or for a start of 0."""
    start = normal((12, 5), param) if keep_start else np.zeros((12, 5), param)
    opts = [
        fastopt.Ftrl([start.copy()], lr=0.1, keep_start=keep_start, l1_regularization_strength=0.3)
        for _ in range(2)
    ]
    for seed in range(5):
        rows = np.random.default_rng(seed).choice(12, 4, replace=False)
        g = np.zeros((12, 5), param)
        g[rows] = values = normal((4, 5), param, seed)
        opts[0].step([RowSparse(rows, values)])
        opts[1].step([g])
        assert everything(opts[0]) == everything(opts[1])
    assert (opts[0].params[0] != start).sum() > 30


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stochastic_rounding_of_rows_equals_that_of_a_dense_gradient(layout):
    start, g = normal((40, 30), BF16), normal((40, 30), np.float32, 1)
    one, other = (
        fastopt.Adam([LAYOUTS[layout](start)], rounding="stochastic", state_dtype="bfloat16")
        for _ in range(2)
    )
    order = np.random.default_rng(0).permutation(40)
    one.step([g])
    other.step([RowSparse(order, g[order])])
    assert everything(one) == everything(other)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_row_sparse_steps_have_the_same_bits_on_any_number_of_threads(threads):
    """The gradient has enough rows for several work items; rounding is stochastic."""
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 3000, size=4000)
    values = normal((4000, 33), np.float32)
    options = dict(rounding="stochastic", seed=9, max_grad_norm=1.0, state_dtype="bfloat16")

    def found(n_threads, layout=np.array):
        w = layout(normal((3000, 33), BF16))
        opt = fastopt.Adam([w], n_threads=n_threads, **options)
        for _ in range(2):
            opt.step([RowSparse(indices, values)])
        return bits([np.array(w), *(np.array(v) for v in opt.state[0].values())]), opt.grad_norm

    expected = found(1)
    assert found(threads) == expected
    transposed, norm = found(threads, LAYOUTS["Fortran"])
    assert transposed == expected[0]
    assert norm == pytest.approx(expected[1], rel=1e-13)


def sums_of(indices, values, n):
    w, sums = np.zeros(n, np.float32), np.zeros(n, np.float32)
    np.add.at(sums, indices, values)
    fastopt.SGD(w, lr=1.0, max_grad_value=100.0).step(RowSparse(indices, values))
    assert (w == -np.clip(sums, -100, 100)).all()
    return sums


@pytest.mark.parametrize("far", [2**11, 2**22])
def test_rows_of_a_large_parameter_are_summed_before_clipping(far):
    rng = np.random.default_rng(0)
    indices = rng.choice([5, 7, 5 + far, 2 * far], size=300)
    values = rng.choice([1.0, 2.0], size=300).astype(np.float32)
    assert sums_of(indices, values, 2 * far + 1).max() > 100


def test_rows_with_the_same_hash():
    """All of them hash to the last entry of a table of 32."""
    rows = np.arange(2000, dtype=np.uint64)
    last = rows[rows * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(59) == 31].astype(int)
    assert len(last) > 30
    indices = last[[0, 3, 1, 3, 2, 0, 4, 3]]
    sums_of(indices, np.arange(1.0, 9.0, dtype=np.float32), 2000)


def test_row_sparse_and_dense_gradients_in_one_step():
    shapes = [(4,), (12, 3), (5, 2), (20, 2)]
    grads = [normal(shape, np.float64, 1) for shape in shapes]
    rows = RowSparse(INDICES, normal((7, 3), np.float64, 2))
    opt = fastopt.Adam([np.ones(shape) for shape in shapes])
    alone = fastopt.Adam([np.ones(shape) for shape in shapes])
    for _ in range(2):
        opt.step([grads[0], rows, None, grads[3]])
        alone.step([grads[0], None, None, grads[3]])
        alone.step([None, rows, None, None])
    assert bits(opt.params) == bits(alone.params)
    others = RowSparse([3], np.ones((1, 2)))
    for one in (opt, alone):
        one.step(grads)  # dense again
    opt.step([grads[0], rows, grads[2], others])
    alone.step([grads[0], None, grads[2], others])
    alone.step([None, rows, None, None])
    assert bits([opt.params, opt.state]) == bits([alone.params, alone.state])
    assert [int(opt.state[i]["step"]) for i in range(4)] == [4, 4, 2, 4]


def test_norm_clipping_and_scaling_apply_to_the_sums():
    values = normal((7, 3), np.float64, 2)
    sums = coalesced(values, np.float64)
    w = np.zeros((12, 3))
    opt = fastopt.SGD(w, lr=1.0, grad_scale=2.0, max_grad_norm=0.5, max_grad_value=0.2)
    opt.step(RowSparse(INDICES, values))
    norm = np.sqrt(np.sum((sums / 2) ** 2))
    assert opt.grad_norm == pytest.approx(norm, rel=1e-14)
    clipped = np.clip(sums / 2 * (0.5 / (norm + 1e-6)), -0.2, 0.2)
    assert w[UNIQUE] == pytest.approx(-clipped, rel=1e-13)


def test_nonfinite_values_and_sums_are_refused():
    values = np.ones((3, 2))
    values[1, 1] = np.inf
    opt = fastopt.Adam([np.ones((12, 2)), np.ones(3)], on_nonfinite="raise")
    with unchanged(opt), pytest.raises(FastoptError, match="parameter 0 has a NaN"):
        opt.step([RowSparse([1, 5, 5], values), np.ones(3)])
    values[2, 1] = -np.inf  # inf - inf
    with unchanged(opt), pytest.raises(FastoptError, match="parameter 0 has a NaN"):
        opt.step([RowSparse([1, 5, 5], values), np.ones(3)])


def test_a_gradient_without_rows_counts_as_a_step():
    opt = fastopt.Adam(np.ones((12, 2)))
    opt.step(RowSparse([], np.ones((0, 2))))
    assert (opt.params == 1).all()
    assert opt.state[0]["step"] == opt.step_count == 1
    empty = fastopt.Adam([np.ones((5, 0)), np.ones((0, 5))], max_grad_norm=1.0)
    empty.step([RowSparse([1, 1], np.ones((2, 0))), RowSparse([], np.ones((0, 5)))])
    many = fastopt.SGD(np.ones((100_000, 0)), max_grad_norm=1.0)
    many.step(RowSparse(np.arange(100_000), np.ones((100_000, 0))))


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil"])
@pytest.mark.parametrize("make_matrix", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_scipy_sparse_matrices(kind, make_matrix):
    dense = np.zeros((12, 5))
    dense[[3, 7]] = normal((2, 5), np.float64)
    dense[3, 2] = 0
    one, other = fastopt.Adam(np.ones((12, 5))), fastopt.Adam(np.ones((12, 5)))
    one.step(make_matrix(dense).asformat(kind))
    other.step(RowSparse([3, 7], dense[[3, 7]]))
    assert everything(one) == everything(other)
    with unchanged(one), pytest.raises(FastoptError, match=r"\(5, 12\)"):
        one.step(make_matrix(dense.T))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_any_integer_dtype_of_indices(dtype):
    one, other = fastopt.SGD(np.ones((12, 2))), fastopt.SGD(np.ones((12, 2)))
    values = normal((7, 4), np.float64)[:, ::2]
    one.step(RowSparse(INDICES.astype(dtype)[::1], values))
    other.step(RowSparse(list(INDICES), values.copy()))
    assert everything(one) == everything(other)


@pytest.mark.parametrize(
    ("indices", "values", "error", "reason"),
    [
        ([0, 12], np.ones((2, 2)), FastoptError, r"indices\[1\].* 12; allowed: 0 to 11"),
        ([-1, 0], np.ones((2, 2)), FastoptError, r"indices\[0\].*-1"),
        (np.array([2**64 - 1], np.uint64), np.ones((1, 2)), FastoptError, r"indices\[0\]"),
        ([0], np.ones((1, 3)), FastoptError, r"rows of shape \(3,\); \(2,\)"),
        ([0], np.ones(1), FastoptError, r"rows of shape \(\)"),
    ],
)
def test_rows_that_do_not_match_the_parameter_are_refused(indices, values, error, reason):
    opt = fastopt.Adam([np.ones(3), np.ones((12, 2))])
    with unchanged(opt), pytest.raises(error, match=reason):
        opt.step([np.ones(3), RowSparse(indices, values)])


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        (([0.5], np.ones((1, 2))), TypeError, "integers"),
        (([[0]], np.ones((1, 2))), FastoptError, r"\(n,\)"),
        (([0, 1], np.ones((1, 2))), FastoptError, "2 indices"),
        (([0], np.ones((1, 2), int)), TypeError, "int64"),
        (([0], np.ma.masked_array(np.ones((1, 2)))), TypeError, "masked"),
        (([True], np.ones((1, 2))), TypeError, "bool"),
    ],
)
def test_indices_and_values_that_do_not_match_are_refused(arguments, error, reason):
    with pytest.raises(error, match=reason):
        RowSparse(*arguments)


def test_options_and_calls_that_refuse_rows():
    rows = RowSparse([0], np.ones((1, 2)))
    opt = fastopt.SGD(np.ones((3, 2)), ema_decay=0.9)
    with unchanged(opt), pytest.raises(FastoptError, match="ema_decay"):
        opt.step(rows)
    opt = fastopt.SGD(np.ones((3, 2)))
    for call in (opt.bind, opt.accumulate):
        with unchanged(opt), pytest.raises(TypeError, match="RowSparse"):
            call(rows)
    with unchanged(opt), pytest.raises(FastoptError, match="shares memory"):
        opt.step(RowSparse([0], opt.params[1:2]))
    opt = fastopt.SGD(np.ones(()))
    with unchanged(opt), pytest.raises(FastoptError, match="0-d and has no rows"):
        opt.step(RowSparse([0], np.ones(1)))


def test_zero_grads_does_not_clear_rows():
    rows, g = RowSparse([0], np.ones((1, 2))), np.ones(2)
    opt = fastopt.SGD([np.ones((3, 2)), np.ones(2)], zero_grads=True)
    opt.step([rows, g])
    assert rows.values.all()
    assert not g.any()


def test_rows_with_a_master_copy():
    w = normal((12, 5), BF16)
    exact = w.astype(np.float32)
    opt, reference = fastopt.Adam([w], master="float32"), fastopt.Adam([exact])
    for seed in range(3):
        rows = RowSparse(INDICES, normal((7, 5), np.float32, seed))
        opt.step([rows])
        reference.step([rows])
    assert bits(w) == bits(exact.astype(BF16))
    assert bits(np.array(opt.state[0]["master"])) == bits(exact)


def test_replaced_indices_are_checked_again():
    w, grad = np.zeros((4, 2)), RowSparse([1], np.ones((1, 2)))
    opt = fastopt.SGD(w, lr=1.0)
    for name, value, message in (
        ("indices", np.arange(4), "values have shape"),
        ("values", np.ones((4, 3)), r"rows of shape \(3,\)"),
        ("values", np.ones((4, 2), int), "values has dtype"),
    ):
        setattr(grad, name, value)
        with unchanged(opt), pytest.raises((FastoptError, TypeError), match=message):
            opt.step(grad)


def test_scipy_sparse_vectors():
    w = np.zeros(4)
    fastopt.SGD(w, lr=1.0).step(scipy.sparse.coo_array(np.array([0, 1.0, 0, 2.0])))
    assert list(w) == [0, -1, 0, -2]


@pytest.mark.parametrize("rows", [*itertools.product([False, True], repeat=3)], ids=str)
def test_the_error_names_the_first_nonfinite_gradient(rows):
    opt = fastopt.SGD([np.zeros((3, 2)) for _ in rows], lr=1.0, on_nonfinite="raise")
    bad = [
        RowSparse([1], np.full((1, 2), np.nan)) if is_rows else np.full((3, 2), np.inf)
        for is_rows in rows
    ]
    for first in range(3):
        with unchanged(opt), pytest.raises(FastoptError, match=f"gradient of parameter {first} "):
            opt.step([None] * first + bad[first:])


@pytest.mark.parametrize("steps_before", [0, 1])
def test_values_that_share_memory_with_a_cleared_gradient_are_refused(steps_before):
    d, apart = np.ones((4, 3)), np.ones((2, 3))
    opt = fastopt.SGD([np.zeros((4, 3)), np.zeros((4, 3)), np.zeros(3)], zero_grads=True)
    for _ in range(steps_before):
        opt.step([d, RowSparse([0, 1], apart), None])
        opt.step([d, None, None])
        d[...] = 1
    with unchanged(opt), pytest.raises(FastoptError, match="parameter 1 shares memory with"):
        opt.step([d, RowSparse([0, 1], d[:2]), None])
    one_axis = scipy.sparse.csr_array(np.ones(3))
    one_axis.data = d[0]
    with unchanged(opt), pytest.raises(FastoptError, match="parameter 2 shares memory with"):
        opt.step([d, None, one_axis])
    assert (d == 1).all()
    opt.step([RowSparse([0], apart[:1]), RowSparse([0, 1], apart), None])  # neither is cleared
    assert (apart == 1).all()


@pytest.mark.parametrize(
    ("grad", "error", "message"),
    [
        (scipy.sparse.csr_array(np.eye(3, dtype=int)), TypeError, "values has dtype .*int64"),
        (scipy.sparse.csr_array(np.eye(3, dtype=complex)), TypeError, "values has dtype .*complex"),
        (RowSparse(np.array([2**64 - 1], np.uint64), np.ones((1, 3))), FastoptError,
         rf"indices\[0\] of the gradient of parameter 'w' is {2**64 - 1}; allowed: 0 to 2"),
        (RowSparse(np.array([0, 3], np.uint64), np.ones((2, 3))), FastoptError,
         r"indices\[1\] of the gradient of parameter 'w' is 3; allowed: 0 to 2"),
    ],
)  # fmt: skip
def test_errors_name_the_parameter_and_the_value(grad, error, message):
    opt = fastopt.SGD({"w": np.ones((3, 3))})
    with unchanged(opt), pytest.raises(error, match=message) as found:
        opt.step({"w": grad})
    assert "the gradient of parameter 'w'" in str(found.value)


def test_a_sparse_gradient_of_a_0d_parameter_is_refused():
    opt = fastopt.SGD([np.array(1.0)], lr=0.1)
    for values in (np.ones(1), np.ones((1, 1))):
        with pytest.raises(FastoptError, match=r"parameter 0 is sparse.*0-d and has no rows"):
            opt.step([RowSparse([0], values)])
    grad = RowSparse([0], np.ones(1))
    grad.values = np.array(1.0)
    with pytest.raises(FastoptError, match=r"values have shape \(\) for 1 indices"):
        opt.step([grad])
    assert (opt.params[0], opt.step_count) == (1.0, 0)


@pytest.mark.parametrize(
    "rows",
    [[2], [1, 4, 9], [1, 4, 4, 9], [4, 4], [9, 1], [0, 1, 2, 3, 3], [3, 0, 1, 2], [5, 6, 7, 5]],
    ids=str,
)
@pytest.mark.parametrize("columns", [3, 700])  # the sums of a row are computed in tiles
def test_rows_in_any_order_with_and_without_repeats(rows, columns):
    values = normal((len(rows), columns), np.float64)
    table, expected = np.zeros((10, columns)), np.zeros((10, columns))
    fastopt.SGD(table, lr=1.0).step(RowSparse(rows, values))
    for row, value in zip(rows, values, strict=True):
        expected[row] += value
    assert np.array_equal(table, -expected)


def test_unaligned_indices_are_read():
    raw = np.zeros(3 * 8 + 1, np.uint8)[1:].view(np.int64)
    raw[...] = [7, 3, 7]
    one, other = np.zeros((9, 2)), np.zeros((9, 2))
    values = normal((3, 2), np.float64)
    fastopt.SGD(one, lr=1.0).step(RowSparse(raw, values))
    fastopt.SGD(other, lr=1.0).step(RowSparse([7, 3, 7], values))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("repeats", [1, 3])
def test_rows_that_collide_in_the_hash_table(repeats):
    """The rows are then sorted instead; the result is the same and the time is not quadratic."""
    rng = np.random.default_rng(5)
    n, n_rows = 3000, 2**22
    bits = int(np.ceil(np.log2(4 * n * repeats)))
    every = np.arange(n_rows, dtype=np.uint64)
    hashes = (every * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)
    same = every[hashes < 32].astype(np.int64)[:n]
    rows = rng.permutation(np.repeat(same, repeats))
    values = rng.normal(size=(len(rows), 2))
    table, expected = np.zeros((n_rows, 2)), np.zeros((n_rows, 2))
    opt = fastopt.SGD(table, lr=1.0)
    opt.step(RowSparse(rows, values))
    for row, value in zip(rows, values, strict=True):  # in order, so that sums have equal bits
        expected[row] += value
    assert np.array_equal(table, -expected)


def test_rows_that_collide_half_of_which_are_the_lowest():
    """They are then the last of the two halves that are merged at the end, too."""
    rows = np.arange(2**16, dtype=np.uint64)
    same = np.flatnonzero(rows * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - 9) == 0)
    table, values = np.zeros((2**16, 1)), np.arange(1.0, 129.0)[:, None]
    fastopt.SGD(table, lr=1.0).step(RowSparse([*same[1:65], *64 * [same[0]]], values))
    assert table[same[:65], 0].tolist() == [-sum(range(65, 129)), *range(-1, -65, -1)]


def test_many_rows_that_collide_take_no_quadratic_time():
    """The hash of k * 832040, a Fibonacci number, is nearly that of (k - 1) * 832040."""
    n = 100_000
    rows = 832_040 * np.arange(n)[::-1]  # rows that increase need no table
    opt = fastopt.SGD(np.zeros((rows[0] + 1, 0)), lr=1.0)  # rows without elements need no memory
    start = time.perf_counter()
    opt.step(RowSparse(rows, np.zeros((n, 0))))
    assert time.perf_counter() - start < 0.5
