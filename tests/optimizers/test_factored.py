"""Adafactor and SM3, whose state has statistics of rows and columns."""

import pickle

import ml_dtypes
import numpy as np
import pytest
import reference
from cases import DTYPES, FACTORED_CASES, RATES
from support import LAYOUTS, bits, everything, printed, unchanged

import fastopt
from fastopt import FastoptError, RowSparse

BF16 = np.dtype(ml_dtypes.bfloat16)
# Tiles have 16 rows and 32 or 512 columns.
SHAPES = [(), (1,), (511,), (1, 5), (5, 1), (17, 31), (16, 33), (2, 3, 4), (5, 1, 700), (300, 513),
          (2, 3, 700), (3, 4, 2, 5)]  # fmt: skip
# Only one case of each kernel has the large ones: of several work items, which have at most 262144
# elements, or of several blocks of rows for each matrix.
LARGE = [(300_000,), (2, 140_000), (90_000, 3), (30_000, 3, 3), (3, 150, 600), (2, 300, 5)]
SMALL = [(7,), (2, 300, 20), (5, 1), (17, 70), (40, 700), (3, 20, 33), (2, 3, 4, 5)]
MAKERS = {
    "adafactor": lambda params, **options: fastopt.Adafactor(
        params, **{"eps": (1e-3, 1e-2), "d": 1.5, **options}
    ),
    "sm3": fastopt.SM3,
    "momentum": lambda params, **options: fastopt.SM3(params, momentum=0.8, **options),
}

every_case = pytest.mark.parametrize("case", FACTORED_CASES, ids=str)
every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
low_precision = pytest.mark.parametrize("dtype", [np.float16, BF16], ids=str)


def normal(shape, dtype=np.float64, seed=0):
    return np.array(np.random.default_rng(seed).normal(size=shape), dtype)


def spread(shape, dtype, seed):
    """Return gradients of different magnitudes; the first elements are 0."""
    g = normal(shape, seed=seed) * 10 ** np.random.default_rng(-seed % 99).uniform(-2, 1, shape)
    g.reshape(-1)[:3] = 0.0
    return g.astype(dtype)


def state_of(opt):
    return [{name: np.array(a) for name, a in of_one.items()} for of_one in opt.state.values()]


def run(make, params, grads, **options):
    """Return the bits of the parameters and the state after a step for each of grads."""
    opt = make(params, **options)
    for i, of_step in enumerate(grads):
        opt.lr = 0.3 / (1 + i)
        opt.step(of_step)
    return bits([[np.array(w) for w in params], state_of(opt)])


def assert_within(what, got, expected, bound):
    errors, bound = np.abs(got - expected), np.broadcast_to(bound, np.shape(got))
    most = np.argmax(errors - bound)
    assert (errors <= bound).all(), f"{what}: {errors.flat[most]}; allowed: {bound.flat[most]}"


@every_case
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equals_reference(case, dtype):
    """|a - b| <= 16 eps (|w0| + sum |dw|) for each element, and the states likewise."""
    lrs = [case.rule.lr * rate for rate in RATES[:5]]
    shapes = SHAPES + LARGE * (case.options.keys() <= {"momentum"})
    start = [normal(shape, dtype, seed=1) for shape in shapes]
    grads = [[spread(shape, dtype, 2 + t) for shape in shapes] for t in range(len(lrs))]
    opt = case.make([w.copy() for w in start])
    for lr, of_step in zip(lrs, grads, strict=True):
        opt.lr = lr
        opt.step(of_step)
    eps = float(np.finfo(dtype).eps)
    others = {"machine_eps": eps} if case.rule.name == "Adafactor" else {}
    for i, shape in enumerate(shapes):
        exact = [of_step[i].astype(np.float64) for of_step in grads]
        path = case.rule.reference(
            start[i].astype(np.float64), exact, lrs, base_lr=case.rule.lr, **case.with_defaults,
            **others,
        )  # fmt: skip
        moved = np.abs(path.w[0]) + np.abs(np.diff(path.w, axis=0)).sum(axis=0)
        assert_within(f"w of {shape}", opt.params[i], path.w[-1], 16 * eps * moved)
        for name in opt.state[i].keys() - {"step"}:
            got, expected = opt.state[i][name], path.states[-1][name]
            assert got.shape == np.shape(expected), (shape, name)
            largest = np.abs([state[name] for state in path.states]).max(axis=0)
            assert_within(f"{name} of {shape}", got, expected, 16 * eps * largest)


@every_maker
@pytest.mark.parametrize("dtype", [np.float16, BF16, np.float32, np.float64], ids=str)
def test_layouts_and_threads_give_equal_bits(make, dtype):
    start = [normal(shape, dtype) for shape in SMALL]
    grads = [[spread(shape, dtype, seed) for shape in SMALL] for seed in (1, 2)]
    extra = {"weight_decay": 0.1, "decoupled_weight_decay": False, "zero_grads": True}

    def found(layout, other, **options):
        own = [layout(w) for w in start]
        given = [[other(g) for g in of_step] for of_step in grads]
        result = run(make, own, given, **extra, **options)
        assert not any(g.any() for of_step in given for g in of_step)
        return result

    expected = found(np.array, np.array, n_threads=1)
    for name, layout in LAYOUTS.items():
        assert found(layout, np.array, n_threads=2) == expected, name
        assert found(np.array, layout) == expected, name
        assert found(layout, layout) == expected, name


@every_maker
def test_gradients_of_other_dtypes_and_unaligned_ones(make):
    w, g = normal((20, 70), np.float32), spread((20, 70), np.float32, 1).astype(np.float16)
    memory = np.zeros(g.size * 4 + 1, np.uint8)
    unaligned = memory[1:].view(np.float32).reshape(g.shape)
    unaligned[...] = g
    rows = np.ndarray((20, 70), np.float32, np.zeros(20 * 281, np.uint8), strides=(281, 4))
    rows[...] = g
    expected = run(make, [w.copy()], [[g.astype(np.float32)]])
    for same in (g, g.astype(np.float64), unaligned, rows):
        assert run(make, [w.copy()], [[same]]) == expected


BITS = """
import hashlib, sys, numpy as np, fastopt
from fastopt import Adafactor, SM3
digest = hashlib.sha256()
for dtype in (np.float32, np.float64):
    for make, options in ((Adafactor, {}), (SM3, {}), (SM3, {"momentum": 0.9})):
        rng = np.random.default_rng(0)
        shapes = (700, 101), (300_000,), (90_000, 3), (2, 300, 5)
        params = [rng.normal(size=shape).astype(dtype) for shape in shapes]
        opt = make(params, weight_decay=0.1, max_grad_norm=1.0, n_threads=int(sys.argv[1]),
                   **options)
        for _ in range(2):
            opt.step([rng.normal(size=shape).astype(dtype) for shape in shapes])
        for i, w in enumerate(params):
            for array in (w, *opt.state[i].values()):
                digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_threads_and_instruction_sets_give_equal_bits():
    found = {printed(BITS, threads) for threads in (1, 2, 3)}
    found |= {printed(BITS, 2, FASTOPT_ISA=isa) for isa in fastopt._core.isas()}
    assert len(found) == 1


@every_maker
@low_precision
def test_low_precision_is_rounded_once(make, dtype):
    """The state, a master and an average are those of a float32 parameter."""
    for shape in SMALL:
        w, g = normal(shape, dtype), spread(shape, dtype, 1)
        exact = w.astype(np.float32)
        opt, wide = make([w]), make([exact])
        opt.step([g])
        wide.step([g])
        assert bits(w) == bits(exact.astype(dtype))
        assert bits(state_of(opt)) == bits(state_of(wide))
        w, exact = normal(shape, dtype), normal(shape, dtype).astype(np.float32)
        opt = make([w], master="float32", ema_decay=0.9)
        wide = make([exact], ema_decay=0.9)
        for _ in range(2):
            opt.step([g])
            wide.step([g])
        assert bits(w) == bits(exact.astype(dtype))
        assert bits(opt.ema) == bits(wide.ema)
        assert bits(np.array(opt.state[0]["master"])) == bits(exact)


@every_maker
@low_precision
def test_stochastic_rounding_gives_one_of_both_neighbours(make, dtype):
    w, g = normal((60, 700), dtype), spread((60, 700), dtype, 1)
    exact = w.astype(np.float32)
    make([exact]).step([g])
    nearest = exact.astype(dtype)
    found = []
    for layout in (np.array, np.asfortranarray):
        own = layout(w)
        make([own], rounding="stochastic", seed=3).step([g])
        found.append(np.array(own))
    assert bits(found[0]) == bits(found[1])
    unit = float(ml_dtypes.finfo(dtype).eps) * np.maximum(np.abs(exact), 1e-3)
    assert (np.abs(found[0].astype(np.float32) - exact) <= unit).all()
    assert 0.1 < np.mean(found[0] != nearest) < 0.3


@every_maker
def test_options_that_change_the_gradient(make):
    w, g = normal((20, 70)), spread((20, 70), np.float64, 1)
    norm = np.linalg.norm(g)
    clip = 0.5 / (norm + 1e-6)
    for options, same in [
        ({"maximize": True}, -g),
        ({"grad_scale": 4.0}, g / 4),
        ({"max_grad_value": 0.3}, np.clip(g, -0.3, 0.3)),
        ({"max_grad_norm": 2 * norm}, g),
        ({"weight_decay": 0.1, "decoupled_weight_decay": False}, g + 0.1 * w),
        ({"weight_decay": 1.0, "decoupled_weight_decay": False}, g + w),
    ]:
        assert run(make, [w.copy()], [[g]], **options) == run(make, [w.copy()], [[same]]), options
    clipped, other = w.copy(), w.copy()
    run(make, [clipped], [[g]], max_grad_norm=0.5)
    run(make, [other], [[clip * g]])
    np.testing.assert_allclose(clipped, other, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, BF16, np.float32, np.float64], ids=str)
def test_the_default_eps_is_that_of_the_dtype(dtype):
    eps = float(ml_dtypes.finfo(dtype).eps)
    w, g = normal((3, 5), dtype), np.full((3, 5), eps / 8, dtype)
    default, same, other = (
        run(fastopt.Adafactor, [w.copy()], [[g]], eps=(first, 1e-3))
        for first in (None, eps, eps / 2)
    )
    assert default == same != other


@every_maker
def test_a_skipped_step_changes_nothing(make):
    for layout in LAYOUTS.values():
        w, g = normal((40, 70), np.float32), layout(spread((40, 70), np.float32, 1))
        opt = make([w], on_nonfinite="skip", zero_grads=True)
        opt.step([g.copy()])
        before = bits([w, state_of(opt)])
        g[2, 3] = np.inf
        opt.step([g])
        assert opt.skipped_steps == 1
        assert not g.any()
        assert bits([w, state_of(opt)]) == before


@every_maker
def test_nan_reaches_every_element_that_depends_on_it(make):
    w, g = normal((6, 40)), spread((6, 40), np.float64, 1)
    g[2, 3] = np.nan
    opt = make([w])
    opt.step([g])
    vector, of_vector = normal((40,)), g[2].copy()
    make([vector]).step([of_vector])
    assert np.flatnonzero(np.isnan(vector)).tolist() == [3]
    is_nan = np.isnan(w)
    if isinstance(opt, fastopt.Adafactor):
        assert is_nan.all()
    else:
        assert is_nan.sum() == 1
        opt.step([np.ones((6, 40))])
        assert np.isnan(w[2]).all()
        assert np.isnan(w[:, 3]).all()
        assert np.isnan(w).sum() == 45


@every_maker
def test_parameters_are_independent(make):
    """Others in the same plan, of this and of another rule, and a missing gradient."""
    shapes = (6, 40), (300, 300), (5,), (0, 3), (3, 0)
    params = [normal(shape) for shape in shapes]
    alone = [w.copy() for w in params]
    opt = make([*params[:3], *params[3:]])
    others = [make([w]) for w in alone]
    for seed in (1, 2, 3):
        grads = [normal(shape, seed=seed) for shape in shapes]
        grads[seed - 1] = None
        opt.step(grads)
        for other, g in zip(others, grads, strict=True):
            other.step([g])
    assert bits(params) == bits(alone)
    assert bits(state_of(opt)) == bits([state_of(other)[0] for other in others])
    assert [of_one["step"] for of_one in opt.state.values()] == [2, 2, 2, 3, 3]


def test_the_epsilon_is_that_of_each_parameter():
    """torch.optim.Adafactor uses the one of the first parameter of a group for all."""
    dtypes = [BF16, np.float64, np.float32, np.float16]
    params = [normal((4, 6), dtype) for dtype in dtypes]
    grads = [1e-4 * normal((4, 6), dtype, 1) for dtype in dtypes]
    alone = [w.copy() for w in params]
    opt = fastopt.Adafactor(params)
    opt.step(grads)
    for w, g, dtype in zip(alone, grads, dtypes, strict=True):
        eps = float(ml_dtypes.finfo(dtype).eps)
        fastopt.Adafactor([w], eps=(eps, 1e-3)).step([g])
    assert bits(params) == bits(alone)


def test_size_of_the_state():
    w = np.ones((300, 200), np.float32)
    state = fastopt.Adafactor(w).state[0]
    assert sum(a.nbytes for name, a in state.items() if name != "step") == 4 * (300 + 200)
    state = fastopt.SM3(np.ones((30, 20, 5), np.float32)).state[0]
    assert sum(a.nbytes for name, a in state.items() if name != "step") == 4 * (30 + 20 + 5)


def test_state_dtype_is_that_of_the_momentum_buffer():
    w = normal((6, 40), np.float32)
    opt = fastopt.SM3([w], momentum=0.9, state_dtype="bfloat16")
    opt.step([w.copy()])
    dtypes = {name: array.dtype for name, array in opt.state[0].items()}
    assert dtypes["momentum_buffer"] == BF16
    assert dtypes["accumulator_0"] == dtypes["accumulator_1"] == np.float32


@every_maker
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(6, 40), (3, 5, 1), (7,)], ids=str)
def test_copies_and_files_continue_with_equal_bits(make, layout, shape, tmp_path):
    g = normal(shape, seed=1)
    opt = make([LAYOUTS[layout](normal(shape))])
    opt.step([g])
    copied = pickle.loads(pickle.dumps(opt))
    loaded = make([LAYOUTS[layout](opt.params[0])])
    loaded.load_state_dict(opt.state_dict())
    opt.save(tmp_path / "run")
    read = make([np.zeros(shape)])
    read.load(tmp_path / "run")
    for each in (opt, copied, loaded, read):
        each.step([2 * g])
    assert everything(opt) == everything(copied) == everything(loaded) == everything(read)


@every_maker
def test_what_is_refused(make):
    opt, other = make([np.ones((4, 3))]), make([np.ones((2, 3))])
    with unchanged(opt), pytest.raises(FastoptError, match="row-sparse; the rule needs sums"):
        opt.step([RowSparse([1], np.ones((1, 3)))])
    with unchanged(opt), pytest.raises(FastoptError, match="shape"):
        opt.load_state_dict(other.state_dict())
    with unchanged(opt), pytest.raises(FastoptError, match="shape"):
        opt.step([np.ones((3, 4))])
    state = opt.state[0]
    with pytest.raises(TypeError):
        state["step"] = 1
    opt.params[0].resize((3, 4), refcheck=False)
    with pytest.raises(FastoptError, match="another shape"):
        opt.step([np.ones((3, 4))])


def test_other_kernel_or_zero_epsilon():
    with pytest.warns(UserWarning, match="eps is 0"):
        fastopt.Adafactor(np.ones(3), eps=(0.0, 1e-3))
    opt = fastopt.SM3(np.ones(3))
    with (
        unchanged(opt),
        pytest.raises(FastoptError, match="make the optimizer"),
    ):
        opt.param_groups[0]["momentum"] = 0.5


def test_limits_that_only_small_gradients_or_large_rates_reach():
    """The mean of r is below eps1, but not the root of V; lr is above 1/sqrt(t)."""
    w, grads = normal((7, 9)), [0.1 * normal((7, 9), seed=seed) for seed in (1, 2, 3)]
    options = {"eps": (0.02, 1e-3)}
    path = reference.adafactor(w, grads, [0.9] * 3, machine_eps=0.0, **options)
    means = [np.mean(state["row_var"]) for state in path.states]
    assert max(means) < 0.02 < min(means) / np.sqrt(0.02)
    opt = fastopt.Adafactor(w, lr=0.9, **options)
    for g in grads:
        opt.step(g)
    np.testing.assert_allclose(w, path.w[-1], rtol=1e-13)
