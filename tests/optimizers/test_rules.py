"""Every rule with every option against tests/reference.py; zeros, NaN, extreme values."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
from cases import (
    CASES,
    DTYPES,
    FACTORED_CASES,
    FACTORED_RULES,
    RATES,
    RULES,
    SUM_CASES,
    SUM_RULES,
    Case,
    Rule,
    gradients,
    start,
)

import fastopt
from fastopt import _core

Array = npt.NDArray[Any]
Dtype = np.dtype[Any]

CHUNK = _core.CHUNK
SIZES = (0, 1, 7, 8, 9, 63, 64, 65, CHUNK - 1, CHUNK, CHUNK + 1, 100_003)


every_case = pytest.mark.parametrize("case", CASES, ids=str)
# Those in which only the rule moves the parameters.
FREE_CASES = [case for case in CASES if not {"l1", "bounds"} & case.options.keys()]
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def cut(flat: Array) -> list[Array]:
    """Return tensors of SIZES, adjacent in memory so that writing past an end is detected."""
    return np.split(flat, np.cumsum(SIZES)[:-1])


def assert_within(what: str, got: Array, expected: Array, bound: Array) -> None:
    error = np.abs(got - np.resize(expected, got.size))
    allowed = np.resize(bound, got.size)
    worst = np.argmax(error - allowed)
    assert error[worst] <= allowed[worst], (
        f"{what}[{worst}] is {got[worst]!r}, {error[worst]:.3g} from the reference; "
        f"allowed: {allowed[worst]:.3g}"
    )


@every_case
@both_dtypes
def test_equals_reference(case: Case, dtype: Dtype) -> None:
    """|a - b| <= 16 eps (|w0| + sum |dw|) for each element, and the states likewise."""
    lrs = [case.rule.lr * rate for rate in RATES]
    flat = np.resize(start(dtype), sum(SIZES))
    opt = case.make(cut(flat))
    assert opt.lr == case.rule.lr
    group = opt.param_groups[0]
    coupled = group["weight_decay"] > 0 and group["decoupled_weight_decay"] is False
    grads = gradients(dtype, large=coupled)
    path = case.follow(start(dtype), grads, lrs)
    for lr, g in zip(lrs, grads, strict=True):
        opt.lr = lr
        case.step(opt, cut(np.resize(g, flat.size)))

    assert opt.state[0]["step"] == len(lrs)

    moved = np.abs(path.w[0]) + np.abs(np.diff(path.w, axis=0)).sum(axis=0)
    moved = moved + case.options.get("l1", 0.0) * sum(lrs)  # l1 cancels as much of the steps
    eps = np.finfo(dtype).eps
    slack = variance_slack(case, path, grads, lrs, dtype) | ftrl_slack(case, path, lrs, dtype)
    assert_within("w", flat, path.w[-1], 16 * eps * moved + slack["w"])
    for name in arrays_of(opt):
        got = np.concatenate([opt.state[i][name] for i in range(len(SIZES))])
        largest = np.abs([state[name] for state in path.states]).max(axis=0)
        bound = 16 * eps * largest + slack.get(name, 0.0)
        assert_within(name, got, path.states[-1][name], bound)
    for name in opt._scalars:
        assert opt.state[0][name] == pytest.approx(path.states[-1][name], rel=1e-14)


def arrays_of(opt: fastopt.Optimizer) -> set[str]:
    """Return the names of the states that are arrays."""
    return opt.state[0].keys() - {"step", *opt._scalars}


def variance_slack(
    case: Case, path: reference.Path, grads: list[Array], lrs: list[float], dtype: Dtype
) -> dict[str, Any]:
    """Return the additional tolerance of centered RMSprop, in w and its buffer: s - m^2 cancels.

    As for any state, the error of s is at most 16 eps s, and that of m at most 16 eps sqrt(s),
    since m^2 <= s; so the error of V = s - m^2 is at most E = 48 eps s.  The direction g/D, where D
    = sqrt(V + eps_root) + eps, is then between those for V - E, clamped at 0, and for V + E.  To
    first order that is the relative error of the other rules times s/V.  If E exceeds V, as at the
    first step with bias correction, nearly any value is allowed.  Momentum and learning rates add
    up these errors as they add up directions, because their factors are all positive.

    Weight decay must not be coupled, because then the gradient would have errors as well.
    """
    options = {"eps": 1e-8, "eps_root": 0.0, "alpha": 0.99, **case.options}
    if not options.get("centered"):
        return {"w": 0.0}

    def size(g: Array, V: Array) -> Array:
        D: Array = np.sqrt(np.maximum(V, 0.0) + options["eps_root"]) + options["eps"]
        return np.abs(g) / D

    errors = []
    for t, (g, state) in enumerate(zip(grads, path.states, strict=True), 1):
        c = reference.correction(options["alpha"], t) if options.get("bias_correction") else 1.0
        s, m = state["square_avg"] / c, state["grad_avg"] / c
        V, E = s - m**2, 48 * np.finfo(dtype).eps * s
        errors.append(np.maximum(size(g, V - E) - size(g, V), size(g, V) - size(g, V + E)))
    passed_on = ("momentum", "nesterov", "lr_in_buffer")
    through = {name: options[name] for name in passed_on if name in options}
    out = reference.sgd(np.zeros_like(errors[0]), errors, lrs, **through)
    return {"w": -out.w[-1], **out.states[-1]}


def ftrl_slack(case: Case, path: reference.Path, lrs: list[float], dtype: Dtype) -> dict[str, Any]:
    """Return the additional tolerance of Ftrl, in w and linear.

    With q = (beta + sqrt(n))/lr + l2, w = (l1 sign(z) - z)/q cancels where |z| is near l1; z is the
    sum of terms as large as q*w, and has q times the error of w.
    """
    if case.rule.name != "Ftrl":
        return {}
    options = {"beta": 0.0, **dict.fromkeys(("l1", "l2"), 0.0)}
    options |= {
        name.removesuffix("_regularization_strength"): x for name, x in case.options.items()
    }
    q = [
        (options["beta"] + np.sqrt(state["accumulator"].astype(float))) / lr + options["l2"]
        for lr, state in zip(lrs, path.states, strict=True)
    ]
    moved = np.abs(path.w[0]) + np.abs(np.diff(path.w, axis=0)).sum(axis=0)
    unit = 16 * float(np.finfo(dtype).eps)
    largest = np.max(q, axis=0)
    return {"w": unit * options["l1"] / q[-1], "linear": unit * (largest * moved + options["l1"])}


@pytest.mark.parametrize("rule", [*RULES, *SUM_RULES, *FACTORED_RULES], ids=lambda rule: rule.name)
def test_every_option_is_tested_away_from_its_default(rule: Rule) -> None:
    parameters = inspect.signature(getattr(fastopt, rule.name)).parameters
    tested = {
        name
        for case in [*CASES, *SUM_CASES, *FACTORED_CASES]
        for name, value in case.options.items()
        if case.rule.name == rule.name and name in parameters and value != parameters[name].default
    }
    untested = parameters.keys() - tested
    assert untested <= {"params", "lr", "common", "extra", "options"}


def test_every_kernel_is_tested_with_and_without_decay_or_sign() -> None:
    """Each line of csrc/rules.def is compiled to two loops: with and without decay or sign."""
    reached = set()
    for case in [*CASES, *SUM_CASES, *FACTORED_CASES]:
        group = case.make(np.zeros(1)).param_groups[0]
        reached.add((group.kernel, bool(group["maximize"] or group["weight_decay"])))
    kernels = set(_core.RULES) - {"muon", "muon_direction"}  # see test_muon.py
    assert reached == {(name, which) for name in kernels for which in (False, True)}


@both_dtypes
def test_gradients_at_the_lookahead_point(dtype: Dtype) -> None:
    """Momentum a and D as the textbook: D = a*D + lr*g(w - a*D), w -= D."""
    case = Case(RULES[0], {"momentum": 0.8, "nesterov": "lookahead", "lr_in_buffer": True})
    curvature = np.array([0.5, 3.0, 10.0, 40.0], dtype)

    def gradient(w: Array) -> Array:
        return curvature * w - 1

    w = np.ones(4, dtype)
    lrs = [0.02 * rate for rate in RATES]
    expected = reference.sgd(np.ones(4), gradient, lrs, **case.options).w
    opt = case.make(w)
    for lr in lrs:
        opt.lr = lr
        with opt.extrapolated():
            g = gradient(w)
        opt.step(g)
    moved = np.abs(expected[0]) + np.abs(np.diff(expected, axis=0)).sum(axis=0)
    # The bound is for given gradients; these also contain the rounding error of w.
    assert_within("w", w, expected[-1], 64 * np.finfo(dtype).eps * moved)


@pytest.mark.parametrize("beta1", [0.6066, 0.75, 0.999])
def test_one_minus_beta3_is_accurate(beta1: float) -> None:
    """After one step with a gradient of 1, the slow mean of AdEMAMix is 1 - beta3."""
    opt = fastopt.AdEMAMix(np.zeros(1), betas=(beta1, 0.99, 0.9999), beta3_warmup=10**9)
    opt.step(np.ones(1))
    log_beta3 = 1 / ((1 - 1e-9) / math.log(beta1) + 1e-9 / math.log(0.9999))
    got = opt.state[0]["exp_avg_slow"].item()
    assert got == pytest.approx(-math.expm1(log_beta3), rel=5e-16, abs=0.0)


# Rprop's learning rate is its first step size, which the first step raises to step_sizes[0].
@pytest.mark.parametrize("case", [c for c in FREE_CASES if c.rule.name != "Rprop"], ids=str)
@both_dtypes
def test_zero_learning_rate_changes_nothing(case: Case, dtype: Dtype) -> None:
    w = np.resize(start(dtype), 1000)
    opt = case.make(w)
    opt.lr = 0.0
    for g in gradients(dtype)[:3]:
        case.step(opt, g[:1000])
    assert w.tobytes() == start(dtype)[:1000].tobytes()


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in FREE_CASES
        if "initial_exp_avg" not in case.options and case.options.get("keep_start", True)
    ],
    ids=str,
)
@both_dtypes
def test_zero_gradient_changes_nothing(case: Case, dtype: Dtype) -> None:
    """Negative zeros and subnormal parameters are kept too."""
    tiny = np.finfo(dtype).smallest_subnormal
    w = np.array([0.0, -0.0, tiny, -tiny, 1.0, np.finfo(dtype).max], dtype)
    before = w.tobytes()
    opt = case.make(w)
    for decay in ("weight_decay", "lambd"):
        if opt.param_groups[0].get(decay):
            opt.param_groups[0][decay] = 0.0
    zero = np.full_like(w, -0.0 if opt.param_groups[0]["maximize"] else 0.0)
    for _ in range(3):
        case.step(opt, zero)
    assert w.tobytes() == before


@every_case
@both_dtypes
def test_nonfinite_gradients_give_what_the_reference_gives(case: Case, dtype: Dtype) -> None:
    """The same holds for the states and for later steps; the other elements are unaffected."""
    n = 67
    strange = {3: np.nan, 20: np.inf, 33: -np.inf, 66: np.nan}
    grads = [g[:n].copy() for g in gradients(dtype)[:4]]
    clean, w = start(dtype)[:n].copy(), start(dtype)[:n].copy()
    plain = case.make(clean)
    for g in grads:
        case.step(plain, g)
    for i, value in strange.items():
        grads[1][i] = value
    opt = case.make(w)
    for g in grads:
        case.step(opt, g)
    with np.errstate(all="ignore"):
        path = case.follow(start(dtype)[:n], grads, [case.rule.lr] * len(grads))

    others = np.delete(np.arange(n), list(strange))
    for name in arrays_of(opt) | {"w"}:
        got, expected = (
            (w, path.w[-1]) if name == "w" else (opt.state[0][name], path.states[-1][name])
        )
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=name)
        np.testing.assert_array_equal(
            np.where(np.isinf(got), got, 0), np.where(np.isinf(expected), expected, 0), name
        )
        unaffected = clean if name == "w" else plain.state[0][name]
        assert got[others].tobytes() == unaffected[others].tobytes()
    assert np.isnan(w[[3, 66]]).all()


@pytest.mark.parametrize(
    "case",
    # SMORMS3 multiplies such a gradient by its square, which is 0; with l1, w is 0; the first step
    # of ADOPT does not move, and that of ScheduleFreeRAdam is silent.
    [
        case
        for case in FREE_CASES
        if case.rule.name not in ("SMORMS3", "ADOPT")
        and "l1_regularization_strength" not in case.options
        and (case.rule.name != "ScheduleFreeRAdam" or "silent_sgd_phase" in case.options)
    ],
    ids=str,
)
@both_dtypes
def test_subnormal_gradients_are_not_flushed_to_zero(case: Case, dtype: Dtype) -> None:
    """Neither w nor the states are flushed; subnormal numbers have fewer digits."""
    g = np.full(17, np.finfo(dtype).smallest_normal / 16, dtype)
    w = np.zeros_like(g)
    opt = case.make(w, lr=1.0)
    case.step(opt, g)
    path = case.follow(np.zeros_like(g), [g], [1.0])
    np.testing.assert_allclose(w, path.w[-1], rtol=1e-3)
    assert (w != 0).all()
    for name in opt.state[0].keys() & {"exp_avg", "grad_avg", "momentum_buffer"}:
        np.testing.assert_allclose(opt.state[0][name], path.states[-1][name], rtol=1e-3)
        assert (opt.state[0][name] != 0).all()


@pytest.mark.parametrize(
    "case",
    # At its first step their variance is only rounding error; see variance_slack.
    [case for case in CASES if not {"centered", "bias_correction"} <= case.options.keys()],
    ids=str,
)
@both_dtypes
def test_sizes_whose_squares_overflow_or_underflow(case: Case, dtype: Dtype) -> None:
    """Numbers whose squares overflow or underflow, subnormal numbers, and both zeros.

    Infinities, NaN and the signs of zeros are those of the formula in the same dtype.  The
    tolerance has an additional `unit` for numbers below the smallest normal one, whose error grows
    when they are divided by a small root.
    """
    info = np.finfo(dtype)
    low, high = np.sqrt([info.smallest_normal, info.max])
    sizes = [0.0, info.smallest_subnormal, info.smallest_normal / 16, info.smallest_normal,
             low / 8, 8 * low, 1e-3, 1.0, high / 8, 8 * high, info.max / 32]  # fmt: skip
    values = np.array([[x, -x] for x in sizes], dtype).ravel()
    w, g = (np.repeat(values, len(values)), np.tile(values, len(values)))
    if case.options.get("rowwise"):
        w, g = w[:, None], g[:, None]
    grads = [g, -g, g / 2, np.zeros_like(g)]
    options = case.with_defaults
    if options.get("weight_decay") and not options.get("decoupled_weight_decay"):
        grads = grads[:1]  # later ones magnify the rounding error of w
    lrs = [case.rule.lr] * len(grads)
    with np.errstate(all="ignore"):
        path = case.rule.reference(w, grads, lrs, base_lr=lrs[0], **case.with_defaults)
        exact = [np.asarray(at, np.float64) for at in path.w]
        moved = np.abs(exact[0]) + np.abs(np.diff(exact, axis=0)).sum(axis=0)
        slack = ftrl_slack(case, path, lrs, dtype)

    opt = case.make(w)
    for g in grads:
        case.step(opt, g)

    group = opt.param_groups[0]
    least = group.get("eps", 1.0) + np.sqrt(group.get("eps_root", 0.0))
    unit = 16 * float(info.smallest_subnormal)

    def assert_follows(name: str, got: Array, expected: Array, bound: Array) -> None:
        with np.errstate(over="ignore"):
            expected = np.broadcast_to(expected, got.shape).astype(dtype)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, expected))
        assert_within(name, got[finite].astype(float), expected[finite], bound[finite])
        if name != "w":  # whose zeros depend on steps that underflow
            zero = (got == 0) & (expected == 0)
            np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]), name)

    bound = 16 * info.eps * moved + unit / min(least, 1.0) + slack.get("w", 0.0)
    assert_follows("w", w, path.w[-1], bound)
    for name in arrays_of(opt):
        got = opt.state[0][name].reshape(w.shape)
        with np.errstate(all="ignore"):
            sizes = [np.abs(np.broadcast_to(state[name], w.shape)) for state in path.states]
        bound = 16 * info.eps * np.max(sizes, axis=0).astype(float) + unit / min(least, 1.0)
        bound = bound + slack.get(name, 0.0)
        assert_follows(name, got, path.states[-1][name], bound)


def test_adabelief_is_rectified_from_a_rho_of_5_on() -> None:
    """For beta2 = 2/3 that is, within rounding, the limit of rho, for which R is 1."""
    params = np.ones(1), np.ones(1)
    for w, rectify in zip(params, (True, False), strict=True):
        opt = fastopt.AdaBelief(w, betas=(0.9, 2 / 3), rectify=rectify)
        for t in range(128):
            opt.lr = 0.1 if t == 127 else 0.0
            opt.step(np.array([1.0 + t % 3]))
    np.testing.assert_allclose(params[0], params[1], rtol=1e-12)
