"""Rules that need sums over many elements before their update, against tests/reference.py."""

from __future__ import annotations

import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import reference
from cases import DTYPES, FEW_SUM_CASES, RATES, SUM_CASES, Case
from support import LAYOUTS, bits, everything, unchanged

import fastopt
from fastopt import FastoptError, RowSparse, _core

CHUNK = _core.CHUNK
SHAPES = [(0,), (1,), (15,), (16,), (17,), (63,), (65,), (CHUNK - 1,), (CHUNK,), (CHUNK + 1,),
          (3, 40_000)]  # fmt: skip
BF16 = np.dtype(ml_dtypes.bfloat16)

every_case = pytest.mark.parametrize("case", SUM_CASES, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
few_cases = pytest.mark.parametrize("case", FEW_SUM_CASES, ids=str)


def values(dtype: Any, seed: int, shapes: Any = SHAPES) -> list[Any]:
    """Return an array of each shape; the third is 0."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) * 10 ** rng.uniform(-2, 1, shape) for shape in shapes]
    arrays[2][:] = 0.0
    return [array.astype(dtype) for array in arrays]


def small(dtype: Any, seed: int) -> list[Any]:
    return values(dtype, seed, [(5, 40), (3,), (0,), (600,)])


def paths(case: Case, params: Any, grads: Any, lrs: Any) -> list[reference.Path]:
    """Return the path of each parameter; grads: those of each step."""
    if not case.is_of_all:
        each = enumerate(params)
        return [case.follow(w, [of_step[i] for of_step in grads], lrs) for i, w in each]

    def flat(arrays: Any) -> Any:
        return np.concatenate([array.ravel() for array in arrays])

    ends = np.cumsum([w.size for w in params])[:-1]

    def split(array: Any) -> Any:
        if np.ndim(array) == 0:
            return [array] * len(params)
        parts = np.split(array, ends)
        return [part.reshape(w.shape) for part, w in zip(parts, params, strict=True)]

    path = case.follow(flat(params), [flat(of_step) for of_step in grads], lrs)
    ws = [split(w) for w in path.w]
    states = [{name: split(array) for name, array in state.items()} for state in path.states]
    return [
        reference.Path(
            [w[i] for w in ws],
            [{name: parts[i] for name, parts in state.items()} for state in states],
        )
        for i in range(len(params))
    ]


def beginning(case: Case, dtype: Any, arrays: list[Any]) -> list[Any]:
    """Return copies of the parameters to start from, which are 0 where |w - w0| would cancel."""
    cancels = case.rule.name in ("DoG", "Prodigy") and dtype == np.float32
    return [0 * w if cancels else w.copy() for w in arrays]


def take(case: Case, opt: fastopt.Optimizer, grads: Any) -> list[float]:
    """Take a step for each gradient, each with another learning rate; return these."""
    lrs = [case.rule.lr * rate for rate in RATES[: len(grads)]]
    for lr, of_step in zip(lrs, grads, strict=True):
        opt.lr = lr
        opt.step(of_step)
    return lrs


def assert_within(what: str, got: Any, expected: Any, bound: Any) -> None:
    worst = np.max(np.abs(got - expected) - bound, initial=-1.0)
    assert worst <= 0, f"{what}: {worst} more than allowed"


def total_change(arrays: Any) -> Any:
    return np.abs(arrays[0]) + np.abs(np.diff(arrays, axis=0)).sum(axis=0)


def assert_follows(
    case: Case, opt: fastopt.Optimizer, found: list[reference.Path], least: float = 0.0
) -> None:
    """|a - b| <= 16 eps (|w0| + sum |dw|) for each element, and the states likewise.

    In float64 four times as much, since each lane of a sum adds 1024 terms one after another.  An
    L1 penalty and the numerator of Prodigy cancel.  least: a lower bound of eps.
    """
    for i, path in enumerate(found):
        dtype = opt.params[i].dtype
        unit = max((16 if dtype == np.float32 else 64) * np.finfo(dtype).eps, 16 * least)
        penalty = case.rule.lr * case.options.get("l1", 0.0)
        assert_within("w", opt.params[i], path.w[-1], unit * (total_change(path.w) + penalty))
        assert opt.state[i].keys() - {"step"} == path.states[-1].keys()
        for name, last in path.states[-1].items():
            changed = total_change([state[name] for state in path.states])
            factor = 100 if name == "d_numerator" else 1
            assert_within(name, opt.state[i][name], last, factor * unit * changed)


@every_case
@both_dtypes
def test_equals_reference(case: Case, dtype: Any) -> None:
    params = beginning(case, dtype, values(dtype, 0))
    grads = [values(dtype, 1 + t) for t in range(8)]
    opt = case.make([w.copy() for w in params])
    lrs = take(case, opt, grads)
    assert_follows(case, opt, paths(case, params, grads, lrs))


@few_cases
def test_equal_bits_on_threads(case: Case) -> None:
    results = []
    for n_threads in (1, 2):
        opt = case.make(values(np.float32, 0), n_threads=n_threads)
        take(case, opt, [values(np.float32, 1 + t) for t in range(3)])
        results.append(everything(opt))
    assert results[0] == results[1]


@few_cases
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_agree(case: Case, layout: str) -> None:
    """Sums are in memory order, so the last digits may differ."""
    rng = np.random.default_rng(0)
    w, grads = rng.normal(size=(20, 130)), rng.normal(size=(3, 20, 130))
    plain, other = w.copy(), LAYOUTS[layout](w)
    first, second = case.make(plain), case.make(other)
    for g in grads:
        first.step(g)
        second.step(LAYOUTS[layout](g))
    np.testing.assert_allclose(other, plain, rtol=1e-12, atol=1e-14)


@few_cases
def test_dtypes_in_one_optimizer(case: Case) -> None:
    """A sum over all tensors is one over all dtypes; other tensors do not depend on each other."""
    dtypes = [np.float32, np.float64, np.float32, np.float64]
    start = beginning(case, np.float32, small(np.float32, 0))
    params = [w.astype(dtype) for w, dtype in zip(start, dtypes, strict=True)]
    grads = [small(np.float32, 1 + t) for t in range(4)]
    opt = case.make([w.copy() for w in params])
    lrs = take(case, opt, grads)
    if case.is_of_all:
        eps = float(np.finfo(np.float32).eps)
        assert_follows(case, opt, paths(case, params, grads, lrs), eps)
        return
    for i, w in enumerate(params):
        alone = case.make([w.copy()])
        take(case, alone, [[of_step[i]] for of_step in grads])
        assert bits([alone.params[0], alone.state[0]]) == bits([opt.params[i], opt.state[i]])


@few_cases
@pytest.mark.parametrize("dtype", [BF16, np.float16], ids=str)
def test_low_precision_has_the_bits_of_its_master(case: Case, dtype: Any) -> None:
    params = small(dtype, 0)
    grads = [small(np.float32, 1 + t) for t in range(3)]
    low, high = case.make(params, master="float32"), case.make([w.astype("f4") for w in params])
    take(case, low, grads)
    take(case, high, grads)
    for i, w in enumerate(high.params):
        of_low = dict(low.state[i])
        assert bits([of_low.pop("master"), of_low]) == bits([w, high.state[i]])
        assert bits(low.params[i]) == bits(w.astype(dtype))


@few_cases
def test_low_precision_rounds_once(case: Case) -> None:
    """Without a master, to nearest or to one of the two neighbours."""
    grads = small(BF16, 1)
    plain = case.make([w.astype("f4") for w in small(BF16, 0)])
    nearest, averaged = case.make(small(BF16, 0)), case.make(small(BF16, 0), ema_decay=0.9)
    random = case.make(small(BF16, 0), rounding="stochastic")
    for opt in (plain, nearest, random, averaged):
        opt.step(grads)
    for i, w in enumerate(plain.params):
        averaged_state = {k: x for k, x in averaged.state[i].items() if k != "ema"}
        assert bits(nearest.params[i]) == bits(averaged.params[i]) == bits(w.astype(BF16))
        assert bits(nearest.state[i]) == bits(random.state[i]) == bits(plain.state[i])
        assert bits(averaged_state) == bits(plain.state[i])
        ulp = np.spacing(np.abs(w).astype(BF16)).astype("f4")
        assert (np.abs(random.params[i].astype("f4") - w) <= ulp).all()


@few_cases
def test_state_in_bfloat16(case: Case) -> None:
    """The states are rounded after they have been used."""
    plain = case.make(small(BF16, 0))
    low = case.make(small(BF16, 0), state_dtype="bfloat16")
    for opt in (plain, low):
        opt.step(small(np.float32, 1))
    assert bits(low.params) == bits(plain.params)
    for one, other in zip(low.state.values(), plain.state.values(), strict=True):
        for name, array in one.items():
            np.testing.assert_allclose(array.astype("f4"), other[name].astype("f4"), rtol=2**-7)
    if case.rule.name in ("DoG", "Prodigy"):
        with pytest.raises(FastoptError, match=r"state_dtype is 'bfloat16'.*would be rounded"):
            case.make(small(np.float16, 0), state_dtype="bfloat16")


@few_cases
def test_signs_and_scales_of_gradients(case: Case) -> None:
    grads = [small(np.float64, 1 + t) for t in range(3)]
    plain = case.make(small(np.float64, 0))
    take(case, plain, grads)
    negated = case.make(small(np.float64, 0), maximize=True)
    take(case, negated, [[-g for g in of_step] for of_step in grads])
    scaled = case.make(small(np.float64, 0), grad_scale=8.0)
    take(case, scaled, [[8 * g for g in of_step] for of_step in grads])
    clipped = case.make(small(np.float64, 0), max_grad_value=2.0)
    take(case, clipped, [[8 * g for g in of_step] for of_step in grads])
    limited = case.make(small(np.float64, 0))
    take(case, limited, [[np.clip(8 * g, -2.0, 2.0) for g in of_step] for of_step in grads])
    for a, b in ((plain, negated), (plain, scaled), (clipped, limited)):
        assert bits([a.params, dict(a.state)]) == bits([b.params, dict(b.state)])


@few_cases
def test_gradients_are_clipped_by_their_norm_first(case: Case) -> None:
    grads = small(np.float64, 1)
    norm = np.sqrt(sum((g**2).sum() for g in grads))
    opt, other = case.make(small(np.float64, 0), max_grad_norm=0.3), case.make(small(np.float64, 0))
    opt.step(grads)
    other.step([g * (0.3 / (norm + 1e-6)) for g in grads])
    for a, b in zip(opt.params, other.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)


@few_cases
def test_groups_and_missing_gradients(case: Case) -> None:
    """A tensor without a gradient is left out of the sums, and keeps its state."""
    names = [[0, 2], [1, 3]]
    params = small(np.float64, 0)
    opt = case.make([{"params": [params[i].copy() for i in of_group]} for of_group in names])
    order = [i for of_group in names for i in of_group]
    grads = [small(np.float64, 1 + t) for t in range(5)]
    present = [{0, 1, 2, 3}, {0, 2}, {1, 3}, {1, 2, 3}, {0, 1, 2, 3}]
    others = [case.make([params[i].copy()]) for i in order]
    for of_step, now in zip(grads, present, strict=True):
        missing = [of_step[i] if i in now else None for i in order]
        before = [bits([opt.params[k], opt.state[k]["step"]]) for k in range(4)]
        opt.step(missing)
        for k, g in enumerate(missing):
            if g is None:
                assert bits([opt.params[k], opt.state[k]["step"]]) == before[k]
            elif not case.is_of_all:
                others[k].step([g])
    if case.is_of_all:
        scalars = [[float(x) for x in s.values() if x.ndim == 0][1:] for s in opt.state.values()]
        assert scalars == [scalars[0]] * 4
        return
    for k, other in enumerate(others):
        assert bits([opt.params[k], opt.state[k]]) == bits([other.params[0], other.state[0]])


@few_cases
@both_dtypes
def test_zero_gradients_change_nothing(case: Case, dtype: Any) -> None:
    """0/0 must not occur, not even at the first step."""
    options = {k: x for k, x in case.options.items() if k != "l1"} | {"weight_decay": 0.0}
    w = np.array([0.0, -0.0, 1.0, -3e4], dtype)
    opt = case._replace(options=options).make([w.copy(), np.zeros(2, dtype)])
    zero = -0.0 if options.get("maximize") else 0.0
    for _ in range(3):
        opt.step([np.full(4, zero, dtype), np.full(2, zero, dtype)])
    assert bits(opt.params) == bits([w, np.zeros(2, dtype)])
    take(case, opt, [[np.ones(4, dtype), np.ones(2, dtype)]])
    assert all(np.isfinite(array).all() for array in opt.params)


@few_cases
@both_dtypes
def test_zero_learning_rate_changes_nothing(case: Case, dtype: Any) -> None:
    opt = case.make(small(dtype, 0))
    opt.lr = 0.0
    for t in range(3):
        opt.step(small(dtype, 1 + t))
    assert bits(opt.params) == bits(small(dtype, 0))


@few_cases
def test_nan_and_infinity_give_what_the_reference_gives(case: Case) -> None:
    for value in (np.nan, np.inf):
        params, grads = small(np.float64, 0), [small(np.float64, 1 + t) for t in range(3)]
        grads[1][0][2, 3] = value
        opt = case.make([w.copy() for w in params])
        lrs = take(case, opt, grads)
        with np.errstate(all="ignore"):
            found = paths(case, params, grads, lrs)
        for i, path in enumerate(found):
            np.testing.assert_array_equal(np.isfinite(opt.params[i]), np.isfinite(path.w[-1]))
        assert np.isnan(opt.params[0][2, 3]) or not np.isnan(value)


@few_cases
def test_a_skipped_step_changes_nothing(case: Case) -> None:
    opt = case.make(small(np.float64, 0), on_nonfinite="skip")
    opt.step(small(np.float64, 1))
    before = bits([opt.params, dict(opt.state)])
    opt.step([np.full_like(w, np.nan) for w in opt.params])
    assert opt.skipped_steps == 1
    assert bits([opt.params, dict(opt.state)]) == before


@few_cases
def test_copies_continue_with_the_same_bits(case: Case) -> None:
    opt = case.make(small(np.float64, 0))
    take(case, opt, [small(np.float64, 1 + t) for t in range(2)])
    pickled = pickle.loads(pickle.dumps(opt))
    loaded = case.make([w.copy() for w in opt.params])
    loaded.load_state_dict(opt.state_dict())
    for t in range(2):
        for each in (opt, pickled, loaded):
            each.step(small(np.float64, 5 + t))
    assert everything(opt) == everything(pickled) == everything(loaded)


@few_cases
def test_row_sparse_gradients_are_refused(case: Case) -> None:
    opt = case.make(np.ones((4, 3)))
    with unchanged(opt), pytest.raises(FastoptError, match="row-sparse; the rule needs sums"):
        opt.step(RowSparse(np.array([1]), np.ones((1, 3))))


def test_the_ratio_is_1_if_a_norm_is_0() -> None:
    w = np.zeros(3)
    fastopt.LAMB(w, lr=0.1, eps=1e-30).step(np.array([2.0, -3.0, 1.0]))
    np.testing.assert_allclose(w, [-0.1, 0.1, -0.1])


def test_scalars_of_all_tensors_follow_steps_without_some_gradients() -> None:
    """And a tensor that is added later has those of the others."""
    a, b, c = np.array([1.0]), np.array([2.0, 2.0]), np.array([-4.0])
    opt = fastopt.DoG([a, b], reps_rel=0.5, eps=0.0)
    opt.step([np.array([3.0]), np.array([0.0, 4.0])])
    distance, squares = 0.5 * (1 + 3), 25.0
    np.testing.assert_allclose([a[0], *b], [1 - 3 * 0.4, 2.0, 2.0 - 4 * 0.4])
    opt.step([np.array([12.0]), None])  # whose distance is 1.2
    squares += 144.0
    np.testing.assert_allclose(a, 1 - 3 * 0.4 - 12 * distance / np.sqrt(squares))
    far = a[0] - 1
    opt.step([None, np.array([1.0, 0.0])])
    squares += 1.0
    np.testing.assert_allclose(b[0], 2.0 - distance / np.sqrt(squares))
    opt.add_param_group({"params": [c]})
    opt.step([None, None, np.array([2.0])])
    squares += 4.0
    np.testing.assert_allclose(c, -4.0 - 2 * distance / np.sqrt(squares))
    opt.step([np.array([0.0]), None, np.array([0.0])])
    distance = np.hypot(far, c[0] + 4.0)
    for state in opt.state.values():
        np.testing.assert_allclose([state["rbar"], state["G"]], [distance, squares])


@pytest.mark.parametrize("layerwise", [False, True])
def test_dog_without_eps_waits_for_a_gradient(layerwise: bool) -> None:
    w = np.array([1.0])
    own = {"weight_decay": 0.5, "decoupled_weight_decay": True, "layerwise": layerwise}
    opt = fastopt.DoG(w, reps_rel=0.5, eps=0.0, **own)
    for g, expected in ((0.0, 1.0), (1.0, -0.5)):  # rbar = 0.5 * (1 + 1), G = g^2
        opt.step(np.array([g]))
        assert w[0] == expected


def test_parameters_of_a_layerwise_group_keep_their_own_scalars() -> None:
    groups = [{"params": [np.ones(3)]}, {"params": [np.ones(2)], "layerwise": True}]
    opt = fastopt.DoG(groups, reps_rel=0.1)
    opt.step([np.ones(3), np.ones(2)])
    before = bits(opt.state[1])
    opt.step([np.ones(3), None])
    assert bits(opt.state[1]) == before


def test_learning_rates_of_groups_are_factors_of_the_estimate() -> None:
    """prodigyopt refuses other factors than 0 and one other."""
    params = small(np.float64, 0)
    opt = fastopt.Prodigy(
        [{"params": params[:1], "lr": 0.0}, {"params": params[1:], "lr": 0.5}], d0=0.1
    )
    before = params[0].copy()
    for t in range(3):
        opt.step(small(np.float64, 1 + t))
    assert bits(params[0]) == bits(before)
    assert len({float(state["d"]) for state in opt.state.values()}) == 1
    others = small(np.float64, 0)[1:]
    alone = fastopt.Prodigy(others, lr=0.5, d0=0.1)
    for t in range(3):
        alone.step(small(np.float64, 1 + t)[1:])
    for one, other in zip(params[1:], others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"growth_rate": 1.3}, {"d0": 1e-3, "growth_rate": 1.1, "eps": 0.01}, {"d_coef": 3.0},
     {"use_bias_correction": True, "weight_decay": 0.1}, {"safeguard_warmup": True},
     {"beta3": 0.5, "betas": (0.7, 0.95)}],
    ids=str,
)  # fmt: skip
def test_the_estimate_of_prodigy_grows_where_gradients_agree(options: dict[str, Any]) -> None:
    curvature, start = np.array([1.0, 4.0, 0.2, 0.03]), np.array([3.0, -1.0, 0.5, 10.0])
    lrs = [1.0 / (1 + 0.1 * t) for t in range(40)]
    own = {"decoupled_weight_decay": True, **options}
    path = reference.prodigy(start, lambda w: curvature * w, lrs, **own)
    w = start.copy()
    opt = fastopt.Prodigy(w, **options)
    for lr in lrs:
        opt.lr = lr
        opt.step(curvature * w)
    assert path.states[-1]["d"] > 10 * options.get("d0", 1e-6)
    np.testing.assert_allclose(w, path.w[-1], rtol=1e-9)
    for name, expected in path.states[-1].items():
        np.testing.assert_allclose(opt.state[0][name], expected, rtol=1e-9)
