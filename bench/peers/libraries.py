"""The step of each case in fastopt and in the other libraries, as their documentation writes it.

Each function returns the call to time. Packages are imported inside the functions: a missing one
affects only its own rows of the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import ml_dtypes  # noqa: F401  makes NumPy know the name "bfloat16"
import numpy as np

from bench import kalman
from bench.peers import sparse, tables
from bench.peers.cases import (
    FASTOPT,
    LIMIT,
    STOCHASTIC,
    TORCH_DOOR,
    TORCH_DOOR_PARAM,
    Case,
)
from fastopt.cli.bench.steps import RULES, Call, limit

DECAY, MAX_NORM = 0.01, 1.0


LR = 1e-6  # such a low rate hardly changes the parameters
LR_ADADELTA = 1e-3  # the first steps of Adadelta are so small that a lower one would change nothing

# The class of torch.optim and of fastopt.torch for each rule, and its options.
IN_TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "momentum": ("SGD", {"momentum": 0.9}),
    "adagrad": ("Adagrad", {}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {"weight_decay": DECAY}),
    "rmsprop": ("RMSprop", {}),
    "adadelta": ("Adadelta", {}),
    "nadam": ("NAdam", {}),
    "adamax": ("Adamax", {}),
}
FUSED = ("momentum", "adagrad", "adam", "adamw")  # the rules that torch has a fused kernel for


class DoesNotBuildError(Exception):
    """The extension of a library does not compile on this machine."""


@dataclass
class Timed:
    """A call, the number of rows that it processes, and a function that returns parameters."""

    call: Call
    rows: int = 1
    look: Callable[[], Any] | None = None


def tensors(case: Case) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return parameters, all 0.1, and random gradients."""
    rng = np.random.default_rng(0)
    params = [np.full(shape, 0.1, case.dtype) for shape in case.shapes]
    grads = [
        rng.standard_normal(shape, dtype=np.float32).astype(case.dtype, copy=False)
        for shape in case.shapes
    ]
    return params, grads


def _lr(case: Case) -> float:
    return LR_ADADELTA if case.rule == "adadelta" else LR


def memory_limit(case: Case, threads: int) -> Timed:
    """Return a loop that moves the bytes of a step, with all parameters in one array.

    Clipping reads the gradients a second time and clearing writes them; together these count as
    one more state.
    """
    if case.p:  # the time of a row's operations at the rate of a matrix product
        call, _ = kalman.product(case.p)
        return Timed(call, round(2 * kalman.PRODUCT**3 / (3 * case.p**2)))
    kinds = [case.dtype] + ["float32"] * (case.n_states + case.clip_and_zero)
    return Timed(limit([np.ones(case.elements, kind) for kind in kinds], threads))


def ours(case: Case, threads: int, **extras: Any) -> Timed:
    if case.p:
        return Timed(*kalman.partial_fit(case.p))
    if case.sparse_rows:
        return Timed(
            sparse.ours(case.rule, *sparse.drawn(*case.shapes[0], case.sparse_rows), threads)
        )
    params, grads = tensors(case)
    cls, options, _ = RULES[case.rule]
    if case.clip_and_zero:
        extras |= {"max_grad_norm": MAX_NORM, "zero_grads": True}
    if case.rule == "adamw":
        extras["weight_decay"] = DECAY
    opt = cls(params, lr=_lr(case), n_threads=threads, **options, **extras)
    opt.bind(grads)
    return Timed(opt.step, look=lambda: params[0])


def in_numpy(case: Case, threads: int) -> Timed:
    """Return the step in NumPy with out= in all calls; two temporaries are allocated once."""
    if case.p:
        return Timed(*kalman.numpy_loop(case.p))
    params, grads = tensors(case)
    states = [[np.zeros_like(w) for w in params] for _ in range(case.n_states)]
    scratch = np.empty((2, max(w.size for w in params)), case.dtype)
    kept = [scratch[:, : w.size].reshape(2, *w.shape) for w in params]
    update = {"adam": _adam, "adamw": _adam, "momentum": _momentum}[case.rule]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        if case.clip_and_zero:
            norm = math.sqrt(sum(float(np.vdot(g, g)) for g in grads))
            for g in grads:
                np.multiply(g, min(1.0, MAX_NORM / (norm + 1e-6)), out=g)
        for w, g, (a, b), *state in zip(params, grads, kept, *states, strict=True):
            if case.rule == "adamw":
                np.multiply(w, 1 - LR * DECAY, out=w)
            update(t, w, g, a, b, *state)
        if case.clip_and_zero:
            for g in grads:
                g.fill(0)

    return Timed(step, look=lambda: params[0])


def _adam(t: int, w: Any, g: Any, a: Any, b: Any, m: Any, v: Any) -> None:
    np.multiply(m, 0.9, out=m)
    np.multiply(g, 0.1, out=a)
    np.add(m, a, out=m)
    np.multiply(v, 0.999, out=v)
    np.multiply(g, g, out=a)
    np.multiply(a, 0.001, out=a)
    np.add(v, a, out=v)
    np.sqrt(v, out=a)
    np.multiply(a, (1 - 0.999**t) ** -0.5, out=a)
    np.add(a, 1e-8, out=a)
    np.divide(m, a, out=b)
    np.multiply(b, LR / (1 - 0.9**t), out=b)
    np.subtract(w, b, out=w)


def _momentum(t: int, w: Any, g: Any, a: Any, b: Any, m: Any) -> None:
    np.multiply(m, 0.9, out=m)
    np.add(m, g, out=m)
    np.multiply(m, LR, out=a)
    np.subtract(w, a, out=w)


def in_torch(case: Case, threads: int, **way: bool) -> Timed:
    import torch

    torch.set_num_threads(threads)
    if case.sparse_rows:
        return _torch_sparse(case, torch.optim)
    params, (name, options) = _torch_params(case), IN_TORCH[case.rule]
    opt = getattr(torch.optim, name)(params, lr=_lr(case), **options, **way)
    return _torch_step(case, params, opt, way.get("foreach"))


def torch_door(case: Case, threads: int, **extras: Any) -> Timed:
    """Return the step of fastopt.torch, which reads all tensors again in each call."""
    import torch

    import fastopt.torch

    torch.set_num_threads(threads)
    if case.sparse_rows:
        return _torch_sparse(case, fastopt.torch)
    params, (name, options) = _torch_params(case), IN_TORCH[case.rule]
    if case.clip_and_zero:
        extras |= {"max_grad_norm": MAX_NORM, "zero_grads": True}
    opt = getattr(fastopt.torch, name)(params, lr=_lr(case), **options, **extras)
    return Timed(opt.step, look=lambda: params[0].detach().numpy())


def _torch_sparse(case: Case, module: Any) -> Timed:
    drawn = sparse.drawn(*case.shapes[0], case.sparse_rows)
    return Timed(sparse.in_torch(module, case.rule, *drawn))


def in_deepspeed(case: Case, threads: int) -> Timed:
    import torch
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    torch.set_num_threads(threads)
    params, is_adamw = _torch_params(case), case.rule == "adamw"
    try:
        opt = DeepSpeedCPUAdam(
            params, lr=LR, weight_decay=DECAY * is_adamw, adamw_mode=is_adamw
        )  # compiles the extension on first use
    except Exception as error:
        raise DoesNotBuildError from error
    return _torch_step(case, params, opt, None)


def _torch_params(case: Case) -> list[Any]:
    import torch

    dtype, made = getattr(torch, case.dtype), []
    for w, g in zip(*tensors(case), strict=True):
        made.append(torch.nn.Parameter(torch.tensor(w.astype(np.float32)).to(dtype)))
        made[-1].grad = torch.tensor(g.astype(np.float32)).to(dtype)
    return made


def _torch_step(case: Case, params: list[Any], opt: Any, foreach: bool | None) -> Timed:
    from torch.nn.utils import clip_grad_norm_

    def clip_step_zero() -> None:
        clip_grad_norm_(params, MAX_NORM, foreach=foreach)
        opt.step()
        opt.zero_grad(set_to_none=False)

    return Timed(
        clip_step_zero if case.clip_and_zero else opt.step, look=lambda: params[0].detach().numpy()
    )


def in_optax(case: Case, threads: int) -> Timed:
    """Return the jitted update with donated parameters and state, without zeroing of gradients."""
    import jax
    import jax.numpy as jnp
    import optax

    rule = {
        "adam": optax.adam(LR),
        "adamw": optax.adamw(LR, weight_decay=DECAY),
        "momentum": optax.sgd(LR, momentum=0.9),
    }[case.rule]
    if case.clip_and_zero:
        rule = optax.chain(optax.clip_by_global_norm(MAX_NORM), rule)

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, grads: Any) -> Any:
        moves, state = rule.update(grads, state, params)
        return optax.apply_updates(params, moves), state

    params, grads = ([jnp.array(a) for a in arrays] for arrays in tensors(case))
    state = rule.init(params)

    def step() -> None:
        nonlocal params, state
        params, state = update(params, state, grads)
        jax.block_until_ready(params)

    return Timed(step, look=lambda: np.asarray(params[0]))


def package(name: str, case: Case, threads: int) -> Timed:
    make, _ = kalman.PACKAGES[name]
    return Timed(*make(case.p))


def table(make: Callable[[Case], tables.Made], case: Case, threads: int) -> Timed:
    return Timed(*make(case))


LIMIT_FROM = 100_000  # elements; below, the time would be mostly that of the call
DENSE: dict[str, Callable[..., Timed]] = {
    FASTOPT: ours,
    "NumPy": in_numpy,
    "torch": in_torch,
    "torch foreach": partial(in_torch, foreach=True),
    "torch fused": partial(in_torch, fused=True),
    "optax": in_optax,
    "DeepSpeed": in_deepspeed,
    STOCHASTIC: partial(ours, rounding="stochastic"),
    TORCH_DOOR: torch_door,
    TORCH_DOOR_PARAM: partial(torch_door, state_dtype="param"),
    LIMIT: memory_limit,
}
SPARSE: dict[str, Callable[..., Timed]] = {
    FASTOPT: ours,
    "C loop": lambda case, threads: Timed(
        sparse.plain(case.rule, *sparse.drawn(*case.shapes[0], case.sparse_rows, distinct=True))
    ),
    "torch": in_torch,
    TORCH_DOOR: torch_door,
}
KALMAN: dict[str, Callable[..., Timed]] = {
    FASTOPT: ours,
    "NumPy": in_numpy,
    "SciPy's BLAS": lambda case, threads: Timed(*kalman.triangle_loop(case.p)),
    "padasip": partial(package, "padasip"),
    "statsmodels": partial(package, "statsmodels"),
    LIMIT: memory_limit,
}


def library_of(case: Case) -> dict[str, Callable[..., Timed]]:
    """Return the libraries of a case; slow ones are left out at large sizes."""
    if case.rows:
        return {name: partial(table, make) for name, make in tables.makers(case).items()}
    if case.p:
        most = {name: p for name, (_, p) in kalman.PACKAGES.items()}
        return {name: make for name, make in KALMAN.items() if case.p <= most.get(name, case.p)}
    if case.sparse_rows:
        return SPARSE
    absent = set()
    if case.dtype == "bfloat16":
        absent |= {"NumPy"}  # its loops over the dtypes of ml_dtypes are not meant to be fast
    else:
        absent |= {STOCHASTIC, TORCH_DOOR_PARAM}
    if case.group == "rules":
        absent |= {"NumPy", "optax", "DeepSpeed"}
    if case.rule not in FUSED:
        absent |= {"torch fused"}
    if case.rule == "momentum":
        absent |= {"DeepSpeed"}
    if case.elements < LIMIT_FROM:
        absent |= {LIMIT}
    return {name: make for name, make in DENSE.items() if name not in absent}
