"""States of 8 bits: state_dtype="float8"."""

import copy
import pickle

import float8_reference as reference
import numpy as np
import pytest
from float8_reference import NON_NEGATIVE, SIGNED
from support import LAYOUTS, bits, everything, unchanged

import fastopt
from fastopt import FastoptError, RowSparse, _core

KINDS = {"exp_avg": SIGNED, "exp_avg_sq": NON_NEGATIVE, "momentum_buffer": SIGNED}
KINDS["sum"] = NON_NEGATIVE
RULES = {
    "adamw": (fastopt.AdamW, {}),
    "adam": (fastopt.Adam, {"weight_decay": 0.1, "eps_root": 1e-12}),
    "lion": (fastopt.Lion, {}),
    "momentum": (fastopt.SGD, {"momentum": 0.9}),
    "adagrad": (fastopt.Adagrad, {"initial_accumulator_value": 0.1}),
}
# More than one group of blocks in a row, or several rows in a group; rows of a length that is not a
# multiple of a block, of a vector or of 2.  The first has two chunks.
SHAPES = [(20_001,), (3, 1500), (7, 700), (513, 11), (40, 3, 43), (1, 4097, 1), (16, 256)]


MASTER = {"master": "float32", "ema_decay": 0.9}


def make(rule, params, **options):
    cls, own = RULES[rule]
    return cls(params, **{**own, "state_dtype": "float8", **options})


def uniform(shape, seed=0):
    """Return float32 numbers of all magnitudes that occur, and of both signs."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 10 ** rng.uniform(-6, 6, shape)
    x[rng.random(shape) < 0.1] = 0.0
    return x.astype(np.float32)


def anything(shape, seed=0):
    """Return float32 numbers from all bit patterns: denormal, infinite and NaN as well."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2**32, shape, dtype=np.uint32)
    x[rng.random(shape) < 0.2] = 0
    return x.view(np.float32)


def near_each_other(shape, seed=0):
    """Return numbers that are close to representable ones, in every block of another magnitude."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    exponents = np.repeat(rng.integers(-126, 127, size // 97 + 1), 97)[:size]
    mantissa = 1 + rng.integers(0, 4, size) / 4 + rng.integers(-1, 2, size) * 2.0**-22
    lower = rng.integers(0, 40, size)
    x = mantissa * 2.0 ** (exponents - lower)
    return (x * rng.choice([-1, 1], size)).astype(np.float32).reshape(shape)


def packed(opt, name, key=0):
    return opt.state[key][name], opt.state[key][f"{name}_scale"]


@pytest.mark.parametrize("data", [uniform, anything, near_each_other])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["momentum_buffer", "sum"])
def test_every_bit_is_that_of_the_reference(name, shape, data):
    """The state is followed step by step; its formula has one or two operations."""
    kind, w = KINDS[name], np.zeros(shape, np.float32)
    start = np.float32(0.0)
    if name == "sum":
        start = np.float32(0.1)
        opt = fastopt.Adagrad(w, initial_accumulator_value=0.1, seed=7, state_dtype="float8")
    else:
        opt = fastopt.SGD(w, momentum=0.5, first_step="accumulate", seed=7, state_dtype="float8")
    expected = reference.pack(np.full(shape, start), None, kind)
    assert bits(packed(opt, name)) == bits(list(expected))
    for step in range(3):
        g = data(shape, seed=step)
        with np.errstate(all="ignore"):
            before = reference.unpack(*expected, kind)
            new = before + g * g if name == "sum" else np.float32(0.5) * before + g
            opt.step(g)
        expected = reference.pack(new, reference.stream(7, step, 0, 1), kind)
        assert bits(packed(opt, name)) == bits(list(expected))
        values = reference.unpack(*expected, kind)
        np.testing.assert_array_equal(fastopt.float32_state(opt, 0, name), values)


@pytest.mark.parametrize("data", [uniform, anything, near_each_other])
@pytest.mark.parametrize("rule", ["momentum", "adagrad"])
def test_a_state_that_does_not_change_keeps_its_bytes(rule, data):
    """Packing what was unpacked gives the same bytes, in any step."""
    w = np.zeros((7, 700), np.float32)
    opt = make(rule, w, **({"momentum": 1.0} if rule == "momentum" else {}))
    opt.step(data(w.shape))
    name = next(name for name in opt.state[0] if name in KINDS)
    before = bits(packed(opt, name))
    for _ in range(3):
        opt.step(-np.zeros_like(w))  # adding -0.0 changes no number, -0.0 included
        assert bits(packed(opt, name)) == before


@pytest.mark.parametrize("rule", RULES)
def test_a_parameter_whose_gradient_is_0_never_moves(rule):
    w = uniform((40, 300))
    start = w.copy()
    opt = make(rule, w, weight_decay=0.0, lr=1.0)
    zero = np.random.default_rng(1).random(w.shape) < 0.5
    zero[7] = True
    for step in range(50):
        opt.step(np.where(zero, np.float32(0), uniform(w.shape, seed=step)))
    assert np.array_equal(w[zero], start[zero])
    assert (w[~zero] != start[~zero]).mean() > 0.5


@pytest.mark.parametrize("spread", [0, 1, 2, 3])
def test_steps_stay_bounded_if_scales_differ_within_a_block(spread):
    """The gradients of an element are N(0.3, 1), times a scale e^(spread N) for each element."""
    rng = np.random.default_rng(spread)
    scale = np.exp(spread * rng.standard_normal((20, 1024)))
    w, exact = np.zeros(scale.shape, np.float32), np.zeros(scale.shape, np.float32)
    opts = fastopt.AdamW(w, state_dtype="float8"), fastopt.AdamW(exact)
    for _ in range(300):
        g = (rng.normal(0.3, 1.0, scale.shape) * scale).astype(np.float32)
        for opt in opts:
            opt.step(g)
    assert np.abs(w).max() <= 1.5 * np.abs(exact).max()
    assert np.linalg.norm(w - exact) <= 0.12 * np.linalg.norm(exact)
    np.testing.assert_allclose(np.median(np.abs(w)), np.median(np.abs(exact)), rtol=0.03)


def test_rounding_is_unbiased():
    """The mean of a state over many elements is that of float32, although each is rounded."""
    w = np.zeros((64, 1024), np.float32)
    opt, g = fastopt.Adagrad(w, state_dtype="float8"), np.full(w.shape, 0.3, np.float32)
    for _ in range(200):
        opt.step(g)
    values = fastopt.float32_state(opt, 0, "sum")
    assert values.std() > 1.0
    np.testing.assert_allclose(values.mean(), 200 * 0.09, rtol=0.01)


def test_rounding_differs_between_steps_arrays_and_seeds():
    def states(seed):
        w = {name: np.zeros((16, 256), np.float32) for name in "ab"}
        opt = fastopt.SGD(w, momentum=0.5, state_dtype="float8", seed=seed)
        g = np.full((16, 256), 0.3, np.float32)
        for _ in range(2):
            opt.step({"a": g, "b": g})
            for of_one in opt.state.values():
                yield of_one["momentum_buffer"].tobytes()
                of_one["momentum_buffer"][...] = 0

    assert len({*states(0), *states(1000)}) == 8


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("extra", [{}, {"ema_decay": 0.9}, {"lookahead_steps": 2}, MASTER])
@pytest.mark.parametrize("shape", [(20_001,), (7, 700), (40, 3, 43)], ids=str)
def test_layouts_and_threads_give_equal_bits(shape, extra, rule):
    dtype = "float16" if "master" in extra else "float32"
    start = uniform(shape).clip(-100, 100).astype(dtype)
    grads = [uniform(shape, seed).clip(-100, 100).astype(dtype) for seed in range(3)]

    def run(layout, layout_of_grads, n_threads):
        w = LAYOUTS[layout](start)
        opt = make(rule, w, n_threads=n_threads, max_grad_norm=1e30, **extra)
        for g in grads:
            opt.step(LAYOUTS[layout_of_grads](g))
        return bits([np.array(w, order="C"), opt.state_dict()["state"]])

    expected = run("C", "C", 1)
    for layout in LAYOUTS:
        assert run(layout, "C", 2) == expected
        assert run("C", layout, 1) == expected
        assert run(layout, layout, 3) == expected


@pytest.mark.parametrize("rule", RULES)
def test_a_gradient_at_an_odd_address_is_read(rule):
    """AddressSanitizer's build, which has UBSan, reports loads of unaligned floats."""
    memory = np.zeros(4 * 5001 + 1, np.uint8)
    unaligned = memory[1:].view(np.float32)
    unaligned[...] = uniform(5001)
    params = [np.ones(5001, np.float32) for _ in range(2)]
    for w, g in zip(params, (unaligned, unaligned.copy()), strict=True):
        make(rule, w).step(g)
    assert bits(params[0]) == bits(params[1])


def test_a_rule_without_state_has_averages_in_the_layout_of_the_parameter():
    w, other = uniform((16, 300)), np.array(uniform((16, 300)), order="F")
    opts = [fastopt.SGD(x, lr=0.1, ema_decay=0.5, state_dtype="float8") for x in (w, other)]
    for opt in opts:
        opt.step(uniform(w.shape, 1))
    assert np.array_equal(opts[0].ema, opts[1].ema)
    assert opts[1].ema.flags.f_contiguous


def test_many_rows_are_shared_between_threads():
    start, g = uniform((600, 777)), uniform((600, 777), 1)

    def run(n_threads):
        w = start.copy()
        opt = fastopt.AdamW(w, state_dtype="float8", n_threads=n_threads)
        opt.step(g)
        return everything(opt)

    assert run(1) == run(2) == run(3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_zero_grads_clears_dense_gradients(layout):
    w = np.ones((9, 600), np.float32)
    opt = fastopt.AdamW(w, state_dtype="float8", zero_grads=True)
    g = LAYOUTS[layout](uniform(w.shape))
    opt.step(g)
    assert not g.any()
    assert (w != 1).mean() > 0.5


def ties(shape):
    """Return numbers that are halfway between two that have a code, and neighbours of these."""
    rng = np.random.default_rng(0)
    size = int(np.prod(shape))
    exponent = rng.integers(-40, 1, size)
    x = (1 + rng.integers(0, 4, size) / 4 + 0.125) * 2.0**exponent
    x[exponent < -28] = (rng.integers(0, 5, size) + 0.5)[exponent < -28] * 2.0**-31
    x[::256] = 1.0  # the largest, or nearly
    x *= rng.choice([1.0, 1.0 + 2.0**-23, 1.0 - 2.0**-23], size)
    return x.astype(np.float32).reshape(shape)


@pytest.mark.parametrize("data", [uniform, anything, near_each_other, ties])
@pytest.mark.parametrize("kind", [SIGNED, NON_NEGATIVE])
def test_conversion_of_arrays(kind, data):
    """Rounding to nearest; the scale of a whole array changes no code."""
    for factor in (1.0, 2.0**-90, 2.0**90):
        with np.errstate(all="ignore"):
            x = np.abs(data((7, 700))) * np.float32(factor)
        if kind == SIGNED:
            x[::2] *= -1
        expected = reference.pack(x, None, kind)
        assert bits(list(_core.float8_pack(x, kind == SIGNED))) == bits(list(expected))
        values = reference.unpack(*expected, kind)
        np.testing.assert_array_equal(_core.float8_unpack(*expected, kind == SIGNED), values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rule", RULES)
def test_nan_and_infinity_stay_in_their_element(rule, value):
    w, other = np.ones((16, 512), np.float32), np.ones((16, 512), np.float32)
    opt, finite = make(rule, w), make(rule, other)
    g = uniform(w.shape).clip(-1, 1)
    finite.step(g)
    bad = g.copy()
    bad[3, 5] = value
    opt.step(bad)
    for name in [name for name in opt.state[0] if name in KINDS]:
        found = fastopt.float32_state(opt, 0, name)
        assert not np.isfinite(found[3, 5])
        assert np.isnan(found[3, 5]) == np.isnan(value)
        rest = np.ones(w.shape, bool)
        rest[3, 5] = False
        expected = fastopt.float32_state(finite, 0, name)[rest]
        largest = np.abs(expected).max()
        assert np.abs(found[rest] - expected).max() <= 2**-2 * largest
        assert np.isfinite(found[rest]).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(30, 300), (700, 7), (20, 30, 11)], ids=str)
def test_rows_of_a_sparse_gradient_are_updated_as_those_of_a_dense_one(shape, rule):
    rng = np.random.default_rng(0)
    start, rows = uniform(shape), [np.array([5, 3, 11]), np.array([3, 0, 3])]
    w, dense = start.copy(), start.copy()
    opt, other = (make(rule, array, weight_decay=0.1) for array in (w, dense))
    touched = np.zeros(shape[0], bool)
    for index in rows:
        values = rng.standard_normal((3, *shape[1:])).astype(np.float32)
        full = np.zeros(shape, np.float32)
        for row, of_row in zip(index, values, strict=True):
            full[row] += of_row
        before = bits([array[~np.isin(range(shape[0]), index)] for array in arrays_of(opt, w)])
        opt.step(RowSparse(index, values))
        other.step(full)
        after = bits([array[~np.isin(range(shape[0]), index)] for array in arrays_of(opt, w)])
        assert before == after
        touched[index] = True
    only_both = np.isin(range(shape[0]), [3])
    ours, theirs = arrays_of(opt, w), arrays_of(other, dense)
    assert bits([array[only_both] for array in ours]) == bits([a[only_both] for a in theirs])


def arrays_of(opt, w):
    return [w, *(array for array in opt.state[0].values() if array.ndim)]


def test_rows_of_a_vector_are_refused():
    w = np.ones(5000, np.float32)
    opt = fastopt.AdamW(w, state_dtype="float8")
    with unchanged(opt), pytest.raises(FastoptError, match=r"row-sparse; elements of a vector"):
        opt.step(RowSparse(np.array([1]), np.ones(1, np.float32)))


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pickle", "deepcopy", "state_dict"])
@pytest.mark.parametrize("rule", RULES)
def test_training_resumes_bit_for_bit(rule, suffix, move, tmp_path):
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    grads = [uniform((9, 600), seed) for seed in range(4)]
    w = uniform((9, 600))
    opt = make(rule, w, ema_decay=0.9)
    for g in grads[:2]:
        opt.step(g)
    fresh = np.zeros(w.shape, np.float32, order="F" if move else "C")
    other = make(rule, fresh, ema_decay=0.9)
    if suffix == "pickle":
        other = pickle.loads(pickle.dumps(opt))
    elif suffix == "deepcopy":
        other = copy.deepcopy(opt)
    elif suffix == "state_dict":
        fresh[...] = w
        other.load_state_dict(opt.state_dict())
    else:
        opt.save(tmp_path / f"saved.{suffix}")
        other.load(tmp_path / f"saved.{suffix}")
    for g in grads[2:]:
        opt.step(g)
        other.step(g)
    assert everything(other) == everything(opt)


def test_a_state_of_another_dtype_is_refused():
    w = np.ones((16, 256), np.float32)
    opt, other = fastopt.AdamW(w.copy(), state_dtype="float8"), fastopt.AdamW(w.copy())
    for one, two in ((opt, other), (other, opt)):
        with unchanged(one), pytest.raises(FastoptError, match="exp_avg_scale"):
            one.load_state_dict(two.state_dict())
    pytorchs = {
        "state": {},
        "param_groups": [
            dict(lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, params=[0])
        ],
    }
    with unchanged(opt), pytest.raises(FastoptError, match="state of 8 bits"):
        opt.load_state_dict(pytorchs)


def test_bytes_of_state():
    w = np.ones((1000, 1024), np.float32)
    opt = fastopt.AdamW(w, state_dtype="float8")
    n_bytes = sum(array.nbytes for array in opt.state[0].values())
    assert n_bytes <= 2.02 * w.size
    assert {array.dtype for array in opt.state[0].values() if array.ndim} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("why", ["small", "masked"])
def test_other_parameters_have_float32_state(why):
    shape = (4095,) if why == "small" else (16, 256)
    mask = {} if why == "small" else {"float8_mask": lambda name: name != "embedding"}
    w, exact = {"embedding": np.ones(shape, np.float32)}, {"embedding": np.ones(shape, np.float32)}
    opt = fastopt.AdamW(w, state_dtype="float8", **mask)
    other = fastopt.AdamW(exact)
    opt.add_param_group({"params": {"layer": np.ones((16, 256), np.float32)}})
    assert opt.state["embedding"]["exp_avg"].dtype == np.float32
    assert opt.state["layer"]["exp_avg"].dtype == np.uint8
    for seed in range(3):
        g = uniform(shape, seed)
        opt.step({"embedding": g, "layer": None})
        other.step({"embedding": g})
    assert bits(opt.state["embedding"]) == bits(other.state["embedding"])
    assert bits(w) == bits(exact)


def test_a_copy_has_no_mask():
    w = {"a": np.ones((16, 256), np.float32)}
    opt = fastopt.AdamW(w, state_dtype="float8", float8_mask=lambda name: name == "a")
    other = copy.deepcopy(opt)
    with unchanged(other), pytest.raises(FastoptError, match="no float8_mask to decide"):
        other.add_param_group({"params": {"b": np.ones((16, 256), np.float32)}})


def large(dtype=np.float32):
    return np.ones((16, 256), dtype)


@pytest.mark.parametrize(
    ("cls", "params", "options", "error"),
    [
        (fastopt.AdamW, large(np.float64), {}, r"state_dtype is 'float8', but .* is float64"),
        (fastopt.AdamW, np.ones(3), {}, r"state_dtype is 'float8', but .* is float64"),
        (fastopt.NAdam, large(), {}, "the state exp_avg of NAdam needs"),
        (fastopt.Adam, large(), {"amsgrad": True}, "the state max_exp_avg_sq of Adam needs"),
        (fastopt.Adam, large(), {"cautious": True}, "Adam with these options needs sums"),
        (fastopt.Adafactor, large(), {}, "Adafactor with these options needs sums"),
        (fastopt.Adagrad, large(), {"rowwise": True}, "'float8' with rowwise=True"),
        (fastopt.AdamW, [large()], {"float8_mask": bool}, "params is a list; a dict is needed"),
        (fastopt.AdamW, {"w": large()}, {"float8_mask": 1}, "float8_mask is 1; a callable"),
        (
            fastopt.AdamW,
            {"w": large()},
            {"float8_mask": bool, "state_dtype": "bfloat16"},
            "float8_mask needs state_dtype='float8', not 'bfloat16'",
        ),
    ],
)
def test_refusals(cls, params, options, error):
    with pytest.raises((FastoptError, TypeError), match=error):
        cls(params, **{"state_dtype": "float8", **options})


def test_lookahead_reads_the_values_of_the_state():
    w = large()
    options = {"momentum": 0.9, "nesterov": "lookahead", "lr_in_buffer": True, "lr": 0.1}
    opt = fastopt.SGD(w, state_dtype="float8", **options)
    with opt.extrapolated():
        pass
    opt.step(uniform(w.shape))
    before, buffer = w.copy(), fastopt.float32_state(opt, 0, "momentum_buffer")
    with opt.extrapolated():
        assert np.array_equal(w, before - np.float32(0.9) * buffer)
    assert np.array_equal(w, before)


def test_float32_state_of_other_dtypes_and_names():
    opt = fastopt.AdamW([np.ones(3, np.float32), large()], state_dtype="float8")
    opt.step([np.ones(3, np.float32), large()])
    small = fastopt.float32_state(opt, 0, "exp_avg")
    assert np.array_equal(small, opt.state[0]["exp_avg"])
    assert not np.shares_memory(small, opt.state[0]["exp_avg"])
    with pytest.raises(FastoptError, match=r"name is 'exp_avg_scale'; parameter 1 has \['step'"):
        fastopt.float32_state(opt, 1, "exp_avg_scale")
    with pytest.raises(FastoptError, match=r"key is 'w'; the optimizer has \[0, 1\]"):
        fastopt.float32_state(opt, "w", "exp_avg")
