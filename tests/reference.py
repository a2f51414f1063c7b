"""Reference implementation: every update rule as in its paper, in float64 NumPy.

It is independent of the library.  A rule here is a generator: it takes an iterator over (step
number t, learning rate, gradient) and yields (step to subtract from w, state), and the learning
rate of weight decay and penalty if that is not the one it got.  `descend` implements what they
share: gradients, sign, weight decay, penalty, bounds and the path of w.  A rule that has an
argument ``ws`` gets a list, whose last element is w before the step, after decoupled weight decay;
one that has an argument ``points``, a list of w before decay.

Papers, by the names used below:

    Polyak      1964, Some methods of speeding up the convergence of iteration methods
    Sutskever   et al. 2013, On the importance of initialization and momentum in deep learning,
                which writes Nesterov 1983 as a form of momentum
    Duchi       et al. 2011, Adaptive subgradient methods (JMLR 12)
    Shazeer     & Stern 2018, Adafactor (arXiv 1804.04235)
    Anil        et al. 2019, Memory-efficient adaptive optimization (arXiv 1901.11150)
    Zeiler      2012, ADADELTA (arXiv 1212.5701)
    Hinton      Tieleman & Hinton 2012, Coursera lecture 6e
    Graves      2013, Generating sequences with recurrent neural networks (arXiv 1308.0850)
    Kingma      & Ba 2015, Adam (arXiv 1412.6980)
    Reddi       et al. 2018, On the convergence of Adam and beyond
    Dozat       2016, Incorporating Nesterov momentum into Adam (ICLR workshop)
    Liu         et al. 2020, On the variance of the adaptive learning rate (arXiv 1908.03265)
    Funk        2015, RMSprop loses to SMORMS3 (sifter.org/~simon/journal/20150420.html)
    McMahan     et al. 2013, Ad click prediction: a view from the trenches
    Pagliardini et al. 2024, The AdEMAMix optimizer (arXiv 2409.03137)
    Taniguchi   et al. 2024, ADOPT (arXiv 2411.02853)
    Juditsky    Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging
    Bottou      2012, Stochastic gradient descent tricks
    Xie         et al. 2022, Adan (arXiv 2208.06677)
    Loshchilov  & Hutter 2019, Decoupled weight decay regularization (arXiv 1711.05101)
    Chen        et al. 2023, Symbolic discovery of optimization algorithms (arXiv 2302.06675)
    Bernstein   et al. 2018, signSGD (arXiv 1802.04434)
    Riedmiller  & Braun 1993, The RPROP algorithm
    Igel        & Huesken 2003, Empirical evaluation of the improved Rprop
    Zhuang      et al. 2020, AdaBelief optimizer (arXiv 2010.07468)
    Zaheer      et al. 2018, Adaptive methods for nonconvex optimization
    Ma          & Yarats 2019, Quasi-hyperbolic momentum and Adam (arXiv 1810.06801)
    Jordan      et al. 2024, Muon: an optimizer for hidden layers in neural networks
    Su          Liu, Su et al. 2025, Muon is scalable for LLM training (arXiv 2502.16982)
    Parikh      & Boyd 2014, Proximal algorithms
    Defazio     et al. 2024, The road less scheduled (arXiv 2405.15682)
    You         et al. 2020, Large batch optimization for deep learning (arXiv 1904.00962)
    Gitman      You, Gitman & Ginsburg 2017, Large batch training of convolutional networks
    Ivgi        Ivgi, Hinder & Carmon 2023, DoG is SGD's best friend (arXiv 2302.12022)
    Mishchenko  & Defazio 2024, Prodigy (arXiv 2306.06101)
    Hazan       Hazan, Levy & Shalev-Shwartz 2015, Beyond convexity (arXiv 1507.02030)
    Liang       et al. 2024, Cautious optimizers (arXiv 2411.16085)
    Wortsman    et al. 2023, Stable and low-precision training (arXiv 2304.13013)
    Ginsburg    et al. 2019, Stochastic gradient methods with layer-wise adaptive moments
    Andrew      & Gao 2007, Scalable training of L1-regularized log-linear models
    Singer      Duchi & Singer 2009, Efficient online and batch learning using FOBOS
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Feed = Iterator[tuple[int, float, Array]]  # t from 1, learning rate, gradient
# What to subtract from w, state, perhaps a learning rate.
Steps = Iterator[tuple[Array, dict[str, Any]] | tuple[Array, dict[str, Any], float]]


class Path(NamedTuple):
    """The parameters w[0] to w[T], from the start, and the states after steps 1 to T."""

    w: list[Array]
    states: list[dict[str, Any]]


def descend(rule: Callable[..., Steps]) -> Callable[..., Path]:
    """Return a function of (w, grads, lrs, **options) that returns the path of a rule.

    ``grads`` is a gradient for each step, or a function of w; ``lrs`` is a learning rate for each.
    A rule that has an argument ``weight_decay`` applies it itself, unless it is decoupled; one that
    has an argument ``decays`` is told whether there is any.  A rule that has an argument ``points``
    gets a list, whose last element is w before decoupled decay.
    """
    arguments = inspect.signature(rule).parameters

    @wraps(rule)
    def path(
        w: Array,
        grads: Sequence[Array] | Callable[[Array], Array],
        lrs: Sequence[float],
        *,
        base_lr: float | None = None,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool | str = False,
        maximize: bool = False,
        l1: float = 0.0,
        bounds: tuple[float | None, float | None] | None = None,
        **options: Any,
    ) -> Path:
        ws, states = [w], [{"momentum_buffer": 0.0}]
        before: list[Array] = []  # w before each step, after decoupled decay
        is_coupled = decoupled_weight_decay is False
        if "weight_decay" in arguments:
            options["weight_decay"] = weight_decay if is_coupled else 0.0
        given = {"ws": before, "points": ws, "decays": weight_decay > 0}
        options |= {name: given[name] for name in given.keys() & arguments.keys()}
        low, high = bounds or (None, None)

        def keep(lr: float) -> float:
            if decoupled_weight_decay in (False, "proximal"):
                return 1.0
            if decoupled_weight_decay == "schedule_only":
                lr /= base_lr or lrs[0]  # Loshchilov, Alg. 2, line 12: eta_t, not alpha
            return 1.0 - lr * weight_decay  # else PyTorch's AdamW

        ahead = options["momentum"] if options.get("nesterov") == "lookahead" else 0.0

        def feed() -> Feed:
            for t, lr in enumerate(lrs, 1):
                w = ws[-1]
                if callable(grads):
                    # Sutskever eq. 3: the gradient at theta + mu*v, v = -b.
                    g = grads(w - ahead * states[-1]["momentum_buffer"] if ahead else w)
                else:
                    g = grads[t - 1]
                g = -g if maximize else g
                if weight_decay and is_coupled and "weight_decay" not in arguments:
                    g = g + weight_decay * w  # Loshchilov, Alg. 2, line 6: L2 regularization
                before.append(keep(lr) * w)
                yield t, lr, g

        for lr, (step, state, *found) in zip(lrs, rule(feed(), **options), strict=True):
            rate = found[0] if found else lr
            w = keep(rate) * ws[-1] - step
            if decoupled_weight_decay == "proximal":
                w = w / (1.0 + rate * weight_decay)  # Parikh sec. 6.1.1
            w = np.sign(w) * np.maximum(np.abs(w) - rate * l1, 0.0)  # Parikh sec. 6.5.2
            w = w if low is None else np.maximum(w, low)  # Parikh sec. 6.2.4
            w = w if high is None else np.minimum(w, high)
            ws.append(w)
            states.append(state)
        return Path(ws, states[1:])

    return path


def correction(beta: float, t: int) -> float:
    """Return 1 - beta^t as a sum; subtraction would keep only 13 digits for beta = 0.999."""
    return (1.0 - beta) * sum(beta**i for i in range(t))


def length(beta: float, t: int) -> float:
    """Return rho_t of Liu, sec. 3.3.

    A simple mean of the last rho_t gradients has the centre of mass of the weights of v.
    """
    ages = np.arange(1, t + 1)
    weights = beta ** (ages - 1.0)
    return 2.0 * float(weights @ ages / weights.sum()) - 1.0


def rectification(beta: float, t: int) -> float:
    """Return the factor r_t of Liu, Alg. 2, which is defined for rho_t > 4."""
    rho, rho_inf = length(beta, t), 2.0 / (1.0 - beta) - 1.0
    ratio = (rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho)
    return math.sqrt(ratio)


def norm(x: Array) -> float:
    """Return the Euclidean norm, summed with more digits than double has, where there are any."""
    return float(np.sqrt((x.astype(np.longdouble) ** 2).sum()))


def mask(u: Array, g: Array) -> Array:
    """Return the factor of each element of a cautious step: Liang, Alg. 2."""
    agrees = np.sign(u) * np.sign(g)
    share = np.mean(agrees > 0) if g.size else 1.0
    return np.where(agrees < 0, 0.0, agrees) / max(share, 1e-3)


@descend
def sgd(
    feed: Feed,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool | str = False,
    lr_in_buffer: bool = False,
    first_step: str = "copy",
    normalized: bool | str = False,
) -> Steps:
    b: Any = 0.0
    for t, lr, g in feed:
        if normalized:
            yield lr * g / (norm(g) or 1.0), {}  # Hazan, Alg. 1
            continue
        if momentum == 0.0:
            yield lr * g, {}  # Robbins & Monro 1951
            continue
        inside, outside = (lr, 1.0) if lr_in_buffer else (1.0, lr)  # inside: Polyak eq. 9
        undamped = t == 1 and first_step == "copy"  # PyTorch: the buffer starts as g
        gain = 1.0 if undamped else 1.0 - dampening
        b = momentum * b + inside * gain * g  # Sutskever eq. 1, b = -v
        # Eq. 2; or eq. 3-4 with theta + mu*v as the variable that is stored.  With the
        # look-ahead form only the gradient differs from eq. 1-2.
        x = momentum * b + inside * g if nesterov is True else b
        yield outside * x, {"momentum_buffer": b}


@descend
def lion(feed: Feed, *, betas: tuple[float, float] = (0.9, 0.99), cautious: bool = False) -> Steps:
    beta1, beta2 = betas
    m: Any = 0.0
    for _, lr, g in feed:
        c = beta1 * m + (1.0 - beta1) * g  # Chen, Alg. 2: c_t, then m_t
        m = beta2 * m + (1.0 - beta2) * g
        x = np.sign(c)
        yield lr * x * (mask(x, g) if cautious else 1.0), {"exp_avg": m}


@descend
def signum(feed: Feed, *, momentum: float = 0.9) -> Steps:
    m: Any = 0.0
    for _, lr, g in feed:
        if momentum == 0.0:
            yield lr * np.sign(g), {}  # Bernstein, Alg. 1
            continue
        m = momentum * m + (1.0 - momentum) * g  # Alg. 2: m_k
        yield lr * np.sign(m), {"momentum_buffer": m}


@descend
def rprop(
    feed: Feed,
    *,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50.0),
    limit_unchanged: bool = True,
) -> Steps:
    minus, plus = etas
    before: Any = 0.0
    size: Any = None
    for _, lr, g in feed:
        size = np.full_like(g, lr) if size is None else size  # Riedmiller: Delta_0
        same = np.sign(g) * np.sign(before)
        scaled = size * np.select([same > 0, same < 0], [plus, minus], 1.0)  # Delta_ij
        size = np.where((same == 0) & (not limit_unchanged), size, np.clip(scaled, *step_sizes))
        before = np.where(same < 0, 0.0, g)  # Igel, iRprop-
        yield np.sign(before) * size, {"prev": before, "step_size": size}  # Delta w_ij


@descend
def adabelief(
    feed: Feed,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-16,
    eps_root: float = 1e-16,
    eps_in_state: bool = True,
    eps_mode: str = "corrected",
    nesterov: bool = False,
    rectify: bool = False,
) -> Steps:
    beta1, beta2 = betas
    m: Any = 0.0
    s: Any = 0.0
    stored, in_root = (eps_root, 0.0) if eps_in_state else (0.0, eps_root)
    for t, lr, g in feed:
        m = beta1 * m + (1.0 - beta1) * g  # Zhuang, Alg. 2: m_t
        s = beta2 * s + (1.0 - beta2) * (g - m) ** 2 + stored  # s_t
        c1, c2 = correction(beta1, t), correction(beta2, t)
        m_hat = m / c1
        if nesterov:  # optax
            m_hat = beta1 * m / correction(beta1, t + 1) + (1.0 - beta1) * g / c1
        if eps_mode == "hat":  # as Kingma, end of sec. 2
            x = np.sqrt(c2) * m_hat / (np.sqrt(s + in_root) + eps)
        else:
            x = m_hat / (np.sqrt(s / c2 + in_root) + eps)
        if rectify:
            x = rectification(beta2, t) * x if length(beta2, t) >= 5.0 else m_hat
        yield lr * x, {"exp_avg": m, "exp_avg_var": s}


@descend
def yogi(
    feed: Feed,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-3,
    eps_root: float = 0.0,
    eps_mode: str = "corrected",
    bias_correction: tuple[bool, bool] = (True, True),
    initial_accumulator_value: float = 1e-6,
    initial_exp_avg: float = 0.0,
) -> Steps:
    beta1, beta2 = betas
    m: Any = initial_exp_avg
    v: Any = initial_accumulator_value
    for t, lr, g in feed:
        m = beta1 * m + (1.0 - beta1) * g  # Zaheer, Alg. 2: m_t
        v = v - (1.0 - beta2) * np.sign(v - g**2) * g**2  # v_t
        c1 = correction(beta1, t) if bias_correction[0] else 1.0  # as Kingma sec. 3; 1 in Alg. 2
        c2 = correction(beta2, t) if bias_correction[1] else 1.0
        if eps_mode == "hat":  # as Kingma, end of sec. 2
            x = np.sqrt(c2) / c1 * m / (np.sqrt(v + eps_root) + eps)
        else:
            x = m / c1 / (np.sqrt(v / c2 + eps_root) + eps)  # Alg. 2: x_(t+1)
        yield lr * x, {"exp_avg": m, "exp_avg_sq": v}


@descend
def qhadam(
    feed: Feed,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    nus: tuple[float, float] = (1.0, 1.0),
    eps: float = 1e-8,
) -> Steps:
    (beta1, beta2), (nu1, nu2) = betas, nus
    m: Any = 0.0
    v: Any = 0.0
    for t, lr, g in feed:
        m = beta1 * m + (1.0 - beta1) * g  # Ma, sec. 4: g_(t+1)
        v = beta2 * v + (1.0 - beta2) * g**2  # s_(t+1)
        top = nu1 * m / correction(beta1, t) + (1.0 - nu1) * g
        square = nu2 * v / correction(beta2, t)
        if nu2 != 1.0:  # for 0 * inf, as the authors' code
            square = square + (1.0 - nu2) * g**2
        x = top / (np.sqrt(square) + eps)  # theta_(t+1)
        yield lr * x, {"exp_avg": m, "exp_avg_sq": v}


@descend
def adagrad(
    feed: Feed,
    *,
    lr_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    eps_root: float = 0.0,
    rowwise: bool = False,
) -> Steps:
    s: Any = initial_accumulator_value
    for t, lr, g in feed:
        squares = g**2  # Duchi fig. 1: diagonal of the outer products
        if rowwise:  # FBGEMM: one number for each row
            squares = squares.mean(axis=tuple(range(1, g.ndim)), keepdims=True)
        s = s + squares
        x = g / (np.sqrt(s + eps_root) + eps)  # H = delta*I + diag(s)^(1/2)
        yield lr / (1.0 + (t - 1) * lr_decay) * x, {"sum": s}


@descend
def adafactor(
    feed: Feed,
    *,
    points: list[Array],
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    machine_eps: float,
    d: float = 1.0,
    eps_mode: str = "clamp",
    relative_step: bool = True,
    scale_parameter: bool = True,
) -> Steps:
    eps1 = machine_eps if eps[0] is None else eps[0]
    added, least = (eps1, 0.0) if eps_mode == "mean" else (0.0, eps1)
    v, r, c = 0.0, 0.0, 0.0  # type: Any, Any, Any

    def mean(x: Array, axis: int | None = None) -> Any:
        return x.mean(axis=axis, keepdims=axis is not None, dtype=np.longdouble)

    def rms(x: Array) -> float:
        return float(np.sqrt(mean(x**2)))

    for t, lr, g in feed:
        beta2 = 1.0 - t**beta2_decay  # Shazeer sec. 7.2
        squares = g**2 + added
        if g.ndim < 2:
            v = beta2 * v + (1.0 - beta2) * squares  # Alg. 5
            state = {"variance": v}
        else:
            r = beta2 * r + (1.0 - beta2) * mean(squares, -1).astype(float)  # Alg. 4
            c = beta2 * c + (1.0 - beta2) * mean(squares, -2).astype(float)
            v = r * c / np.maximum(mean(r, -2).astype(float), least)
            state = {"row_var": r, "col_var": c}
        u = g / np.sqrt(np.maximum(v, least**2))
        u = u / max(1.0, rms(u) / d)
        rho = min(lr, t**-0.5) if relative_step else lr
        alpha = max(eps[1], rms(points[-1])) * rho if scale_parameter else rho
        yield alpha * u, state


@descend
def sm3(feed: Feed, *, momentum: float = 0.0, eps: float = 1e-30) -> Steps:
    mu: Any = None
    m: Any = 0.0
    for _, lr, g in feed:
        if mu is None:
            mu = [np.zeros_like(g)] * max(g.ndim, 1)
        nu = np.min(mu, axis=0) + g**2  # Anil, Alg. SM3-II, line 6
        axes = range(g.ndim)
        largest = [nu.max(axis=tuple({*axes} - {k}), keepdims=True) for k in axes] or [nu]
        mu = [np.broadcast_to(each, g.shape) for each in largest]  # line 9
        m = momentum * m + (1.0 - momentum) * g / np.sqrt(nu + eps)
        state = {f"accumulator_{k}": each for k, each in enumerate(largest)}
        yield lr * m, {**state, "momentum_buffer": m}


@descend
def adadelta(feed: Feed, *, rho: float = 0.9, eps: float = 1e-6) -> Steps:
    s: Any = 0.0
    d: Any = 0.0
    for _, lr, g in feed:
        s = rho * s + (1.0 - rho) * g**2  # Zeiler, Alg. 1, line 4
        dx = (
            np.sqrt(d + eps) / np.sqrt(s + eps) * g
        )  # line 5, RMS of eq. 9; dx has the opposite sign
        d = rho * d + (1.0 - rho) * dx**2  # line 6
        yield lr * dx, {"square_avg": s, "acc_delta": d}  # line 7, which has lr = 1


def _averaged(
    t: int, lr: float, y: Array, z: Array, u: Array, of_run: dict[str, Any], beta: float
) -> tuple[Array, Array]:
    """Return the new y and z of Defazio, Alg. 1, after a step in the direction u.

    x is recovered from y and z by line 4.  ``of_run`` has warm-up, r, the power of the learning
    rate, weight_sum and lr_max, as in the authors' code, and is updated.
    """
    of_run["lr_max"] = max(lr, of_run["lr_max"])
    weight = t ** of_run["r"] * of_run["lr_max"] ** of_run["weight_lr_power"]
    of_run["weight_sum"] += weight
    c = weight / of_run["weight_sum"] if of_run["weight_sum"] else 0.0  # sec. 4.2: c_(t+1)
    x = (y - (1.0 - beta) * z) / beta  # line 4: y = (1 - beta) z + beta x
    z = z - lr * u  # line 5
    x = (1.0 - c) * x + c * z  # line 6
    return (1.0 - beta) * z + beta * x, z


def _warmed(t: int, lr: float, steps: int) -> float:
    return lr * min(1.0, t / steps) if steps else lr


@descend
def schedule_free_sgd(
    feed: Feed,
    *,
    ws: list[Array],
    momentum: float = 0.9,
    warmup_steps: int = 0,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
) -> Steps:
    of_run = {"r": r, "weight_lr_power": weight_lr_power, "weight_sum": 0.0, "lr_max": 0.0}
    z: Any = None
    for t, lr, g in feed:
        y = ws[-1]
        z = y if t == 1 else z
        at, z = _averaged(t, _warmed(t, lr, warmup_steps), y, z, g, of_run, momentum)
        yield y - at, {"z": z, **of_run}


@descend
def schedule_free_adamw(
    feed: Feed,
    *,
    ws: list[Array],
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    warmup_steps: int = 0,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
) -> Steps:
    of_run = {"r": r, "weight_lr_power": weight_lr_power, "weight_sum": 0.0, "lr_max": 0.0}
    z: Any = None
    v: Any = 0.0
    for t, lr, g in feed:
        y = ws[-1]
        z = y if t == 1 else z
        v = betas[1] * v + (1.0 - betas[1]) * g**2
        u = g / (np.sqrt(v / correction(betas[1], t)) + eps)
        if weight_decay:
            u = u + weight_decay * y  # App.: decay at y
        at, z = _averaged(t, _warmed(t, lr, warmup_steps), y, z, u, of_run, betas[0])
        yield y - at, {"z": z, "exp_avg_sq": v, **of_run}


@descend
def schedule_free_radam(
    feed: Feed,
    *,
    ws: list[Array],
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
    silent_sgd_phase: bool = True,
) -> Steps:
    of_run = {"r": r, "weight_lr_power": weight_lr_power, "weight_sum": 0.0, "lr_max": 0.0}
    z: Any = None
    v: Any = 0.0
    for t, lr, g in feed:
        y = ws[-1]
        z = y if t == 1 else z
        v = betas[1] * v + (1.0 - betas[1]) * g**2
        if length(betas[1], t) > 4.0:  # Liu, Alg. 2
            lr *= rectification(betas[1], t)
            u = g / (np.sqrt(v / correction(betas[1], t)) + eps)
        else:  # the authors' code
            lr *= not silent_sgd_phase
            u = g
        if weight_decay:
            u = u + weight_decay * y
        at, z = _averaged(t, lr, y, z, u, of_run, betas[0])
        yield y - at, {"z": z, "exp_avg_sq": v, **of_run}


@descend
def rmsprop(
    feed: Feed,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    nesterov: bool = False,
    lr_in_buffer: bool = False,
    initial_accumulator_value: float = 0.0,
    bias_correction: bool = False,
) -> Steps:
    s: Any = initial_accumulator_value
    m: Any = 0.0
    b: Any = 0.0
    for t, lr, g in feed:
        s = alpha * s + (1.0 - alpha) * g**2  # Hinton slide 29; Graves eq. 38
        m = alpha * m + (1.0 - alpha) * g  # Graves eq. 39
        c = correction(alpha, t) if bias_correction else 1.0  # as Kingma sec. 3
        variance = np.maximum(s / c - (m / c) ** 2, 0.0) if centered else s / c
        x = g / (np.sqrt(variance + eps_root) + eps)  # Graves eq. 40: eps_root = 1e-4, eps = 0
        inside, outside = (lr, 1.0) if lr_in_buffer else (1.0, lr)
        b = momentum * b + inside * x  # Graves eq. 40: lr inside; b = -Delta
        x = momentum * b + inside * x if nesterov else b
        yield outside * x, {"square_avg": s, "grad_avg": m, "momentum_buffer": b}


@descend
def adam(
    feed: Feed,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    eps_root: float = 0.0,
    eps_mode: str = "corrected",
    amsgrad: bool | str = False,
    bias_correction: tuple[bool, bool] = (True, True),
    cautious: bool = False,
    rowwise: bool = False,
) -> Steps:
    beta1, beta2 = betas
    m: Any = 0.0
    v: Any = 0.0
    u: Any = 0.0
    for t, lr, g in feed:
        m = beta1 * m + (1.0 - beta1) * g  # Kingma, Alg. 1: m_t
        squares = g**2
        if rowwise:  # FBGEMM: one number for each row
            squares = squares.mean(axis=tuple(range(1, g.ndim)), keepdims=True)
        v = beta2 * v + (1.0 - beta2) * squares  # v_t
        c1 = correction(beta1, t) if bias_correction[0] else 1.0
        c2 = correction(beta2, t) if bias_correction[1] else 1.0
        largest = v / c2 if amsgrad == "corrected" else v  # optax corrects first
        u = np.maximum(u, largest) if amsgrad else v  # Reddi, Alg. 2: v-hat_t
        if eps_mode == "hat":  # Kingma, end of sec. 2
            x = np.sqrt(c2) / c1 * m / (np.sqrt(u + eps_root) + eps)
        else:
            v_hat = u if amsgrad == "corrected" else u / c2
            x = m / c1 / (np.sqrt(v_hat + eps_root) + eps)  # Alg. 1: theta_t
        x = x * mask(m, g) if cautious else x
        largest_of = {"max_exp_avg_sq": u} if amsgrad else {}
        yield lr * x, {"exp_avg": m, "exp_avg_sq": v, **largest_of}


@descend
def adamax(
    feed: Feed,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    eps_mode: str = "max",
) -> Steps:
    beta1, beta2 = betas
    m: Any = 0.0
    u: Any = 0.0
    for t, lr, g in feed:
        m = beta1 * m + (1.0 - beta1) * g  # Kingma, Alg. 2: m_t
        size = np.abs(g) + (eps if eps_mode == "max" else 0.0)  # eps = 0 in the paper
        u = np.maximum(beta2 * u, size) + (eps if eps_mode == "state" else 0.0)  # u_t
        x = m / (u + (eps if eps_mode == "outside" else 0.0))
        yield lr / correction(beta1, t) * x, {"exp_avg": m, "exp_inf": u}  # theta_t


@descend
def muon(
    feed: Feed,
    *,
    momentum: float = 0.95,
    nesterov: bool | str = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
) -> Steps:
    a, b, c = ns_coefficients
    m: Any = 0.0
    for t, lr, g in feed:
        m = momentum * m + (1.0 - momentum) * g  # B_t of Jordan, times a constant
        of_m, of_g = (momentum, 1.0 - momentum) if nesterov else (1.0, 0.0)
        if nesterov == "corrected":  # Dozat, Alg. 2, with a constant mu
            of_m, of_g = of_m / correction(momentum, t + 1), of_g / correction(momentum, t)
        u = of_m * m + of_g * g
        # Jordan, "Why it's good to orthogonalize": an iteration with an odd polynomial changes the
        # singular values only.
        left, s, right = np.linalg.svd(u, full_matrices=False)
        s = s / max(np.sqrt(np.sum(s**2)), eps)
        for _ in range(ns_steps):
            s = a * s + b * s**3 + c * s**5
        rows, columns = u.shape
        factor = {
            "match_rms_adamw": 0.2 * np.sqrt(max(rows, columns)),  # Su, eq. 4
            "inputs_first": np.sqrt(max(1.0, columns / rows)),
            "none": 1.0,
        }.get(adjust_lr_fn or "original", np.sqrt(max(1.0, rows / columns)))
        yield lr * factor * (left * s) @ right, {"momentum_buffer": m}


@descend
def nadam(
    feed: Feed,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    eps_root: float = 0.0,
    momentum_decay: float = 4e-3,
    nadam_schedule: str = "dozat",
) -> Steps:
    beta1, beta2 = betas
    m: Any = 0.0
    v: Any = 0.0
    product = 1.0

    def mu(t: int) -> float:
        power: float = 0.96 ** (t * momentum_decay)  # Dozat: t/250
        return beta1 * (1.0 - 0.5 * power)

    for t, lr, g in feed:
        decay = mu(t) if nadam_schedule == "paper" else beta1  # Alg. 2: m_t has mu_t
        m = decay * m + (1.0 - decay) * g
        v = beta2 * v + (1.0 - beta2) * g**2  # n_t
        product *= mu(t)
        c1, c2 = correction(beta1, t), correction(beta2, t)
        dozat = mu(t + 1) / (1.0 - product * mu(t + 1)), (1.0 - mu(t)) / (1.0 - product)
        constant = beta1 / c1, (1.0 - beta1) / c1
        (of_m, of_g), v_hat = {
            "paper": (dozat, beta2 * v / c2),  # Alg. 2: m-hat_t, n-hat_t
            "dozat": (dozat, v / c2),  # PyTorch, Keras
            "none": ((beta1 / correction(beta1, t + 1), constant[1]), v / c2),  # optax
            "river": (constant, v / c2),
            "uncorrected": (constant, v),  # DL4J
        }[nadam_schedule]
        x = (of_m * m + of_g * g) / (np.sqrt(v_hat + eps_root) + eps)  # Alg. 2: theta_t
        yield lr * x, {"exp_avg": m, "exp_avg_sq": v, "mu_product": product}


@descend
def radam(
    feed: Feed,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    eps_root: float = 0.0,
    eps_mode: str = "hat",
    threshold: float = 5.0,
) -> Steps:
    beta1, beta2 = betas
    m: Any = 0.0
    v: Any = 0.0
    for t, lr, g in feed:
        m = beta1 * m + (1.0 - beta1) * g  # Liu, Alg. 2: m_t
        v = beta2 * v + (1.0 - beta2) * g**2  # v_t
        c1, c2 = correction(beta1, t), correction(beta2, t)
        if length(beta2, t) <= threshold:
            yield lr * (m / c1), {"exp_avg": m, "exp_avg_sq": v}
            continue
        if eps_mode == "hat":  # PyTorch
            adaptive = np.sqrt(c2) / (np.sqrt(v + eps_root) + eps)  # Alg. 2: l_t, eps = 0
        else:
            adaptive = 1.0 / (np.sqrt(v / c2 + eps_root) + eps)
        r = rectification(beta2, t)
        yield lr * r * (m / c1 * adaptive), {"exp_avg": m, "exp_avg_sq": v}  # theta_t


@descend
def smorms3(feed: Feed, *, eps: float = 1e-16) -> Steps:
    memory: Any = 1.0
    mean: Any = 0.0
    square: Any = 0.0
    for _, lr, g in feed:
        r = 1.0 / (memory + 1.0)  # Funk: one mini-batch
        mean = (1.0 - r) * mean + r * g
        square = (1.0 - r) * square + r * g**2
        signal = mean**2 / (square + eps)
        memory = 1.0 + memory * (1.0 - signal)
        step = g * np.minimum(lr, signal) / (np.sqrt(square) + eps)
        yield step, {"mem": memory, "g": mean, "g2": square}


@descend
def ftrl(
    feed: Feed,
    *,
    ws: list[Array],
    initial_accumulator_value: float = 0.1,
    l1_regularization_strength: float = 0.0,
    l2_regularization_strength: float = 0.0,
    l2_shrinkage_regularization_strength: float = 0.0,
    beta: float = 0.0,
    keep_start: bool = True,
) -> Steps:
    l1, l2 = l1_regularization_strength, l2_regularization_strength
    n: Any = None
    for _, lr, g in feed:
        w = ws[-1]
        if n is None:
            n = np.full_like(w, initial_accumulator_value)
            z = np.zeros_like(w)
            # The z for which Alg. 1 gives w, solved for z; no step before the first gradient.
            fresh = np.full(w.shape, keep_start)
        start = -w * ((beta + np.sqrt(n)) / lr + l2) - l1 * np.sign(w)
        idle = fresh & (g == 0)
        sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / lr  # McMahan, Alg. 1
        moved = np.where(fresh, start, z) + g + l2_shrinkage_regularization_strength * w - sigma * w
        z = np.where(idle, z, moved)
        n = n + g**2
        fresh = idle
        slope = (beta + np.sqrt(n)) / lr + l2
        pull = np.sign(z) * l1 - z
        target = np.divide(pull, slope, out=np.zeros_like(w), where=~(np.abs(z) <= l1))
        yield np.where(idle, 0.0, w - target), {"accumulator": n, "linear": z}


@descend
def ademamix(
    feed: Feed,
    *,
    betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
    eps: float = 1e-8,
    eps_root: float = 0.0,
    alpha: float = 5.0,
    alpha_warmup: float = 0.0,
    beta3_warmup: float = 0.0,
) -> Steps:
    beta1, beta2, beta3 = betas
    fast: Any = 0.0
    slow: Any = 0.0
    v: Any = 0.0

    def half_life(beta: float) -> float:
        return math.log(0.5) / math.log(beta) if beta > 0.0 else 0.0

    for t, lr, g in feed:
        keep, gain, mix = beta3, 1.0 - beta3, alpha
        if t < alpha_warmup:
            mix *= t / alpha_warmup  # Pagliardini, eq. 3
        if t < beta3_warmup:  # App. A.1: the half-life grows linearly from that of beta1
            part = t / beta3_warmup
            life = (1.0 - part) * half_life(beta1) + part * half_life(beta3)
            if life > 0.0:
                keep, gain = 0.5 ** (1.0 / life), -math.expm1(math.log(0.5) / life)
        fast = beta1 * fast + (1.0 - beta1) * g  # eq. 2: m_1
        slow = keep * slow + gain * g  # m_2
        v = beta2 * v + (1.0 - beta2) * g**2  # nu
        mixed = fast / correction(beta1, t) + mix * slow
        x = mixed / (np.sqrt(v / correction(beta2, t) + eps_root) + eps)
        yield lr * x, {"exp_avg_fast": fast, "exp_avg_slow": slow, "exp_avg_sq": v}


@descend
def adopt(
    feed: Feed,
    *,
    betas: tuple[float, float] = (0.9, 0.9999),
    eps: float = 1e-6,
    clip_exp: float | None = 0.25,
) -> Steps:
    beta1, beta2 = betas
    m: Any = 0.0
    v: Any = 0.0
    for t, lr, g in feed:
        if t == 1:
            v = g**2  # Taniguchi, Alg. 2: v_0; there t counts from the step after
            yield np.zeros_like(g), {"exp_avg": np.zeros_like(g), "exp_avg_sq": v}
            continue
        x = g / np.maximum(np.sqrt(v), eps)
        if clip_exp is not None:
            c = (t - 1.0) ** clip_exp
            x = np.clip(x, -c, c)
        m = beta1 * m + (1.0 - beta1) * x  # m_t
        v = beta2 * v + (1.0 - beta2) * g**2  # v_t
        yield lr * m, {"exp_avg": m, "exp_avg_sq": v}


@descend
def asgd(
    feed: Feed,
    *,
    ws: list[Array],
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
) -> Steps:
    mean: Any = None
    eta, mu = 0.0, 1.0
    for t, lr, g in feed:
        eta = lr if t == 1 else eta
        w = (1.0 - lambd * eta) * ws[-1] - eta * g  # Bottou, sec. 5.1, with the L2 penalty lambd
        mean = w if mu == 1.0 else mean + mu * (w - mean)  # Juditsky, the mean of the path
        eta, mu = lr / (1.0 + lambd * lr * t) ** alpha, 1.0 / max(1.0, t - t0)  # PyTorch
        # From an infinite w, a step to it would be NaN.
        yield np.where(np.isinf(w), -w, ws[-1] - w), {"ax": mean, "eta": eta, "mu": mu}


@descend
def adan(
    feed: Feed,
    *,
    betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
    eps: float = 1e-8,
    eps_root: float = 0.0,
) -> Steps:
    beta1, beta2, beta3 = betas
    m: Any = 0.0
    u: Any = 0.0
    n: Any = 0.0
    before: Any = None
    for t, lr, g in feed:
        d = np.zeros_like(g) if before is None else g - before
        before = g
        m = beta1 * m + (1.0 - beta1) * g  # Xie, Alg. 1, with 1 - beta for its beta: m_k
        u = beta2 * u + (1.0 - beta2) * d  # v_k
        n = beta3 * n + (1.0 - beta3) * (g + beta2 * d) ** 2  # n_k
        # The authors' code corrects the means for their bias; Alg. 1 does not.
        mean = m / correction(beta1, t) + beta2 * u / correction(beta2, t)
        x = mean / (np.sqrt(n / correction(beta3, t) + eps_root) + eps)
        state = {"exp_avg": m, "exp_avg_sq": n, "exp_avg_diff": u, "neg_pre_grad": -g}
        yield lr * x, state  # theta_(k+1)


@descend
def lamb(
    feed: Feed,
    *,
    ws: list[Array],
    weight_decay: float,
    decays: bool,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    bias_correction: bool = True,
    always_adapt: bool = True,
    trust_clip: bool = False,
) -> Steps:
    beta1, beta2 = betas
    m: Any = 0.0
    v: Any = 0.0
    for t, lr, g in feed:
        m = beta1 * m + (1.0 - beta1) * g  # You, Alg. 2
        v = beta2 * v + (1.0 - beta2) * g**2
        c1 = correction(beta1, t) if bias_correction else 1.0
        c2 = correction(beta2, t) if bias_correction else 1.0
        u = m / c1 / (np.sqrt(v / c2) + eps) + weight_decay * ws[-1]
        sizes = norm(ws[-1]), norm(u)
        ratio = 1.0
        if 0.0 not in sizes and (always_adapt or decays):  # the authors' code; timm
            ratio = sizes[0] / sizes[1]
        ratio = min(ratio, 1.0) if trust_clip else ratio  # timm
        yield lr * ratio * u, {"exp_avg": m, "exp_avg_sq": v}


@descend
def lars(
    feed: Feed,
    *,
    ws: list[Array],
    weight_decay: float,
    decays: bool,
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
    trust_coefficient: float = 1e-3,
    eps: float = 1e-8,
    lr_in_buffer: bool = False,
    first_step: str = "copy",
    decay_in_norm: bool = False,
    always_adapt: bool = True,
    trust_clip: bool = False,
) -> Steps:
    b: Any = 0.0
    for t, lr, g in feed:
        h = g + weight_decay * ws[-1]
        of_w, of_g = norm(ws[-1]), norm(h if decay_in_norm else g)
        ratio = 1.0
        if (always_adapt or decays) and of_w != 0.0 and of_g != 0.0:
            divisor = of_g if decay_in_norm else of_g + weight_decay * of_w  # optax; Gitman eq. 6
            ratio = trust_coefficient * of_w / (divisor + eps)
        if trust_clip and (always_adapt or decays):
            ratio = min(ratio / lr, 1.0)  # LARC: timm
        inside, outside = (lr, 1.0) if lr_in_buffer else (1.0, lr)  # inside: Gitman Alg. 1
        gain = 1.0 if t == 1 and first_step == "copy" else 1.0 - dampening
        b = momentum * b + inside * gain * ratio * h
        x = momentum * b + inside * ratio * h if nesterov else b
        yield outside * x, {"momentum_buffer": b}


@descend
def stable_adamw(
    feed: Feed,
    *,
    betas: tuple[float, float] = (0.9, 0.99),
    eps: float = 1e-6,
) -> Steps:
    m: Any = 0.0
    v: Any = 0.0
    for t, lr, g in feed:
        # Wortsman, Alg. 2: 1 - beta (1 - beta^(t-1))/(1 - beta^t)
        gains = [(1.0 - beta) / correction(beta, t) for beta in betas]
        m = m + gains[0] * (g - m)
        v = v + gains[1] * (g**2 - v)
        ratios = g**2 / np.maximum(v, eps**2)
        rate = lr / np.maximum(1.0, np.sqrt(ratios.mean())) if g.size else lr
        yield rate * m / (np.sqrt(v) + eps), {"exp_avg": m, "exp_avg_sq": v}, rate


@descend
def novograd(
    feed: Feed,
    *,
    ws: list[Array],
    weight_decay: float,
    betas: tuple[float, float] = (0.95, 0.98),
    eps: float = 1e-8,
    eps_root: float = 0.0,
    grad_averaging: bool = False,
) -> Steps:
    beta1, beta2 = betas
    m: Any = 0.0
    v = 0.0
    for t, lr, g in feed:
        squares = norm(g) ** 2
        v = squares if t == 1 else beta2 * v + (1.0 - beta2) * squares  # Ginsburg, Alg. 1
        x = g / (np.sqrt(v + eps_root) + eps) + weight_decay * ws[-1]
        m = beta1 * m + (1.0 - beta1 if grad_averaging else 1.0) * x  # grad_averaging: timm
        yield lr * m, {"exp_avg": m, "exp_avg_sq": np.float64(v)}


@descend
def dog(
    feed: Feed,
    *,
    points: list[Array],
    reps_rel: float = 1e-6,
    eps: float = 1e-8,
    layerwise: bool = False,
) -> Steps:
    start, largest, total = points[0], 0.0, 0.0
    for t, lr, g in feed:
        if t == 1:
            largest, total = reps_rel * (1.0 + norm(start)), eps  # Ivgi sec. 4; the authors' code
        else:
            largest = float(np.maximum(largest, norm(points[-1] - start)))
        total += norm(g) ** 2
        rate = lr * largest / np.sqrt(total)  # eq. DoG: eta_t
        scalars = {"rbar": np.float64(largest), "G": np.float64(total)}
        yield rate * g, {"init_buffer": start, **scalars}, rate


@descend
def prodigy(
    feed: Feed,
    *,
    points: list[Array],
    betas: tuple[float, float] = (0.9, 0.999),
    beta3: float | None = None,
    eps: float = 1e-8,
    use_bias_correction: bool = False,
    safeguard_warmup: bool = False,
    d0: float = 1e-6,
    d_coef: float = 1.0,
    growth_rate: float | None = None,
) -> Steps:
    beta1, beta2 = betas
    beta3 = np.sqrt(beta2) if beta3 is None else beta3
    start, d, most, numerator = points[0], d0, d0, 0.0
    m: Any = 0.0
    v: Any = 0.0
    s: Any = 0.0
    for t, lr, g in feed:  # Mishchenko, Alg. 4, with D for gamma_k d_k
        rate = d * lr
        if use_bias_correction:
            rate *= np.sqrt(correction(beta2, t)) / correction(beta1, t)
        m = beta1 * m + (1.0 - beta1) * d * g
        v = beta2 * v + (1.0 - beta2) * (d * g) ** 2
        s = beta3 * s + d / d0 * (d if safeguard_warmup else rate) * g  # over d0: prodigyopt
        total = np.abs(s.astype(np.longdouble)).sum()
        if total != 0.0:
            moved = (g.astype(np.longdouble) * (start - points[-1])).sum()
            numerator = float(beta3 * numerator + d / d0 * rate * moved)
            found = float(d_coef * numerator / total)
            d = float(np.maximum(d, found)) if d == d0 else d  # as prodigyopt
            most = float(np.maximum(most, found))
            d = float(np.minimum(most, d * (growth_rate or np.inf)))
        scalars = {"d": d, "d_max": most, "d_numerator": numerator}
        arrays = {"exp_avg": m, "exp_avg_sq": v, "s": s, "p0": start}
        state = arrays | {name: np.float64(x) for name, x in scalars.items()}
        yield rate * m / (np.sqrt(v) + d * eps), state, rate


def random16(seed: int, step: int, tensor: int, array: int, index: Sequence[int]) -> Array:
    """Return the 16 random bits with which a step rounds each of these elements.

    The four numbers select a stream by SplitMix64 (Steele, Lea & Flood 2014), applied to each in
    turn.  A hash like that of Wellons 2018, "lowbias32", gives 32 bits for each two elements, of
    which the even one gets the low half.  Each 2**32 elements have a separate stream.
    """
    stream = 0
    for number in (seed, step, tensor, array):
        stream = ((stream ^ number) + 0x9E3779B97F4A7C15) % 2**64
        stream = (stream ^ stream >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        stream = (stream ^ stream >> 27) * 0x94D049BB133111EB % 2**64
        stream ^= stream >> 31
    i = np.array(index, dtype=np.uint64)
    key = np.uint64(stream) ^ (i >> 32) * np.uint64(0x9E3779B97F4A7C15)
    x = i % 2**32 // 2 ^ key % 2**32
    x = (x ^ x >> 16) * 0x7FEB352D % 2**32
    x = ((x ^ x >> 15) + (key >> 32)) % 2**32 * 0x846CA68B % 2**32
    return ((x ^ x >> 16) >> 16 * (i % 2) & 0xFFFF).astype(np.uint32)


# The derivative of half the unit deviance with respect to the linear predictor z.
SLOPES: dict[str, Callable[[Array, Array], Array]] = {
    "gaussian": lambda y, z: z - y,
    "binomial": lambda y, z: 1.0 / (1.0 + np.exp(-z)) - y,
    "poisson": lambda y, z: np.exp(z) - y,
}


def epochs(
    rule: Callable[..., Path],
    x: Array,
    y: Array,
    lrs: Sequence[float],
    rows: Sequence[npt.NDArray[np.int64]],
    *,
    family: str,
    weight: Array | float = 1.0,
    offset: Array | float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    intercept: bool = True,
    mean: Array | float = 0.0,
    factor: Array | None = None,
    **options: Any,
) -> list[Array]:
    """Return the coefficients, the intercept last, before the first step and after each.

    Step k takes the rows ``rows[k]`` and the learning rate ``lrs[k]``.  The model is of
    (x - mean) * factor; the penalty is that of the coefficients of x.  Steps of SGD whose rate
    times the L2 penalty of a column is 1 or more take its proximal operator if there are factors.
    """
    n, p = x.shape
    weight, offset = np.broadcast_to(weight, n), np.broadcast_to(offset, n)
    scale = np.ones(p) if factor is None else factor
    columns = np.append((x - mean) * scale, np.full((n, 1), float(intercept)), axis=1)
    l1s, l2s = np.append(l1 * scale, 0.0), np.append(l2 * scale**2, 0.0)
    is_sgd = rule is sgd and not options.get("momentum")
    implicit = [is_sgd and factor is not None and bool((lr * l2s >= 1).any()) for lr in lrs]
    ws = [np.zeros(p + 1)]

    def feed() -> Feed:
        for t, (own, lr) in enumerate(zip(rows, lrs, strict=True), 1):
            w = ws[-1]
            a = weight[own] * SLOPES[family](y[own], columns[own] @ w + offset[own])
            g = a @ columns[own] / len(own)
            if rule is not ftrl and not implicit[t - 1]:
                g = g + l2s * w
            if rule is not ftrl and not is_sgd:  # Andrew sec. 3
                g = g + np.where(w == 0.0, -np.clip(g, -l1s, l1s), l1s * np.sign(w))
            yield t, lr, g

    if rule is ftrl:
        options["ws"] = ws
    steps = rule.__wrapped__(feed(), **options)  # type: ignore[attr-defined]
    for t, (lr, (step, state)) in enumerate(zip(lrs, steps, strict=True), 1):
        w = ws[-1]
        new = w - step
        if rule is ftrl:  # McMahan, Alg. 1, with the sum of the penalties of t rows
            z, slope = state["linear"], (options["beta"] + np.sqrt(state["accumulator"])) / lr
            new = -np.sign(z) * np.maximum(np.abs(z) - t * l1s, 0.0) / (slope + t * l2s)
        elif is_sgd:  # Singer eq. 19; Parikh sec. 6.5.3
            new = np.sign(new) * np.maximum(np.abs(new) - lr * l1s, 0.0)
            new = new / (1.0 + lr * l2s) if implicit[t - 1] else new
        else:
            new = np.where((l1s > 0.0) & (w * new < 0.0), 0.0, new)
        ws.append(new)
    return ws
