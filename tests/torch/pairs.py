"""Each class of fastopt.torch, torch's class of the same name, and how the two are compared.

torch's side always runs with foreach=False: its fused and foreach kernels are wrong for some
strides and dtypes.
"""

from copy import deepcopy

import torch
from torch import optim
from torch.nn import Parameter

from fastopt import torch as ours

NAMES = ["SGD", "Adagrad", "Adafactor", "Adadelta", "RMSprop", "Adam", "AdamW", "Adamax", "NAdam",
         "RAdam", "Rprop", "ASGD", "SparseAdam"]  # fmt: skip
PAIRS = {name: (getattr(ours, name), getattr(optim, name)) for name in NAMES}
DENSE = [name for name in NAMES if name != "SparseAdam"]
TAKE_SPARSE = ["SGD", "Adagrad", "SparseAdam"]
DTYPES = [torch.float64, torch.float32]

# Options away from their defaults, such that a rule has every state tensor that it can have.
OPTIONS = {
    "SGD": dict(lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.1),
    "Adagrad": dict(lr=0.1, lr_decay=0.2, weight_decay=0.1, initial_accumulator_value=0.3),
    "Adafactor": dict(lr=0.1, beta2_decay=-0.6, eps=(1e-3, 1e-2), d=1.2, weight_decay=0.1),
    "Adadelta": dict(lr=0.5, rho=0.7, eps=1e-3, weight_decay=0.1),
    "RMSprop": dict(lr=0.02, alpha=0.8, eps=0.01, centered=True, momentum=0.8, weight_decay=0.1),
    "Adam": dict(lr=0.1, betas=(0.8, 0.95), eps=1e-3, amsgrad=True, weight_decay=0.1),
    "AdamW": dict(lr=0.1, betas=(0.8, 0.95), eps=1e-3, amsgrad=True, weight_decay=0.1),
    "Adamax": dict(lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    "NAdam": dict(lr=0.1, betas=(0.8, 0.95), eps=1e-3, momentum_decay=0.5, weight_decay=0.1),
    "RAdam": dict(lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    "Rprop": dict(lr=0.1, etas=(0.4, 1.3), step_sizes=(0.03, 0.3)),
    "ASGD": dict(lr=0.1, lambd=0.3, alpha=0.6, t0=2, weight_decay=0.1),
    "SparseAdam": dict(lr=0.1, betas=(0.8, 0.95), eps=1e-3),
}


def tolerance(name, dtype):
    """Return the allowed difference, absolute plus relative, in `dtype`."""
    if dtype in (torch.float32, torch.complex64):
        return 1e-6
    # torch keeps some numbers of the state in float32.
    return {"NAdam": 1e-8, "ASGD": 1e-7}.get(name, 1e-12)


def plain(name):
    """Return the options that select torch's loop over single tensors."""
    return {} if name == "SparseAdam" else {"foreach": False}


def make_pair(name, make_params, **options):
    """Return our optimizer and torch's, each of `make_params()`."""
    our_class, torch_class = PAIRS[name]
    return (
        our_class(make_params(), **deepcopy(options)),
        torch_class(make_params(), **{**plain(name), **deepcopy(options)}),
    )


def params_of(opt):
    """Return the parameters of every group, in order."""
    return [p for group in opt.param_groups for p in group["params"]]


def normal(shape, seed, dtype=torch.float32):
    """Return normal numbers whose last axis has magnitudes from 0.1 to 1, so that eps matters."""
    generator = torch.Generator().manual_seed(seed)
    # Drawn in one dtype: float32 and float64 tests see the same numbers.
    values = torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)
    if not shape or not shape[-1]:
        return values
    return values * torch.logspace(-1, 0, shape[-1], dtype=torch.float32).to(dtype)


def make_params(shapes, dtype=torch.float32, seed=0):
    """Return parameters of these shapes, the same at each call."""
    return [Parameter(normal(shape, seed + i, dtype)) for i, shape in enumerate(shapes)]


def rows(gradient, repeat=False):
    """Return a sparse gradient of every second row of `gradient`; with `repeat`, uncoalesced."""
    index = torch.arange(0, len(gradient), 2)
    index = torch.cat([index, index[:1]]) if repeat else index
    sparse = torch.sparse_coo_tensor(
        index[None], gradient[index], gradient.shape, check_invariants=True
    )
    return sparse if repeat else sparse.coalesce()


def set_gradients(opts, seed, layouts=None):
    """Give the optimizers' parameters the same gradients, each in separate memory."""
    for opt in opts:
        for i, p in enumerate(params_of(opt)):
            g = normal(p.shape, 1000 * seed + i, p.dtype)
            p.grad = layouts[i](g) if layouts else g


def scale_lr(opt, factor):
    """Multiply the learning rate of every group, a Tensor in place."""
    for group in opt.param_groups:
        group["lr"] *= factor


def walk(pair, tol, steps=6, layouts=None, labels=None):
    """Step both optimizers, with a learning rate that changes, and compare them after each step."""
    start = [p.detach().clone() for p in params_of(pair[0])]
    for t in range(1, steps + 1):
        set_gradients(pair, t, layouts)
        for opt in pair:
            opt.step()
            scale_lr(opt, 0.7)
        assert_same_optimizers(*pair, tol, f"step {t}", labels)
    moved = [
        (p.detach() - q).abs().sum() > 0 for p, q in zip(params_of(pair[0]), start, strict=True)
    ]
    assert moved == [q.numel() > 0 for q in start], f"parameters that moved: {moved}"


def outcome(call):
    """Return what `call()` returns, or the type and text of the error that it raises."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


def assert_same_optimizers(ours, theirs, tol, when, labels=None):
    """Assert that parameters, state tensors, counters and the order of state keys are equal."""
    for i, (p, q) in enumerate(zip(params_of(ours), params_of(theirs), strict=True)):
        where = f"{when}, parameter {labels[i] if labels else i}"
        assert_same(p, q, tol, where)
        # .get: reading a missing entry of the defaultdict would create it
        a, b = ours.state.get(p, {}), theirs.state.get(q, {})
        assert list(a) == list(b), f"{where}: state keys {list(a)}, torch has {list(b)}"
        assert_same(a, b, tol, f"{where}, state")


def assert_same(a, b, tol, where):
    """Assert that two results, ours first, are equal; floating-point tensors within `tol`."""
    assert type(a) is type(b), f"{where}: ours is a {type(a)}, torch's a {type(b)}"
    if isinstance(a, dict):
        assert list(a) == list(b), f"{where}: keys {list(a)}, torch has {list(b)}"
        for key in a:
            assert_same(a[key], b[key], tol, f"{where} {key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), f"{where}: {a}, torch has {b}"
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, tol, f"{where} [{i}]")
    elif isinstance(a, torch.Tensor):
        assert a.shape == b.shape, f"{where}: shape {tuple(a.shape)}, torch's {tuple(b.shape)}"
        # float32 in torch, until load_state_dict casts it
        if where.split()[-1] in ("mu_product", "eta", "mu"):
            tol = max(tol, 1e-6)
        else:
            assert a.dtype == b.dtype, f"{where}: {a.dtype}, torch's is {b.dtype}"
        assert_close(a.detach(), b.detach(), tol, where)
    else:
        assert a == b, f"{where}: {a!r}, torch has {b!r}"


def assert_close(a, b, tol, where):
    """Assert |a - b| <= tol (1 + |b|) for each element, NaN being equal to NaN."""
    a, b = torch.broadcast_tensors(a, b)
    # torch.complex128 holds every dtype here without rounding.
    a, b = (x.resolve_conj().to(torch.complex128) for x in (a, b))
    near = torch.isclose(a, b, rtol=tol, atol=tol, equal_nan=True)
    if near.all():
        return
    index = tuple((~near).nonzero()[0].tolist())
    raise AssertionError(
        f"{where}: {int((~near).sum())} of {a.numel()} elements differ, of shape {tuple(a.shape)}; "
        f"at {index} ours is {a[index].item()}, torch's {b[index].item()}"
    )
