"""The options of fastopt, and how the options of a group of PyTorch are read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from numbers import Number
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastopt._checks import THREADS, Choice, default_threads
from fastopt._core import SUMS
from fastopt._errors import FastoptError
from fastopt.optimizers.base import extras
from fastopt.optimizers.base.points import averages
from fastopt.optimizers.base.rule import (
    COMMON,
    Direction,
    Rule,
    checks_of,
    defaults_of,
    is_factored,
)
from fastopt.optimizers.base.state import float8
from fastopt.optimizers.base.state.groups import bounds_for_c, for_kernel
from fastopt.torch import distributed

# Items of a group that have no effect here, or that make Door call PyTorch's own step.
IGNORED = {"params", "param_names", "foreach", "fused", "capturable", "differentiable"}
STATE_DTYPES = Choice((None, "float32", "bfloat16", "float8", "param"))


# The options of fastopt that may also be items of a group.
OF_GROUPS: Mapping[str, Any] = {"l1": 0.0, "bounds": None}
DEFAULTS: Mapping[str, Any] = {
    **extras.DEFAULTS,
    "n_threads": None,
    "weight_decay_mask": None,
    "float8_mask": None,
    **OF_GROUPS,
}
# The keyword arguments that fastopt adds to those of torch.optim.  GradScaler sets the scale of
# gradients.
NAMES = tuple(name for name in DEFAULTS if name != "grad_scale")


def split(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return fastopt's options, checked and with defaults filled in, and the other keywords."""
    own = {name: given[name] for name in NAMES if name in given}
    others = {name: value for name, value in given.items() if name not in own}
    threads, mask = own.pop("n_threads", None), own.pop("weight_decay_mask", None)
    state_dtype = STATE_DTYPES("state_dtype", own.get("state_dtype"))
    float8_mask = float8.checked_mask(own.pop("float8_mask", None), own)
    own.pop("state_dtype", None)
    if mask is not None and not callable(mask):
        raise TypeError(
            f"weight_decay_mask is {mask!r}; a function of a parameter's name is needed"
        )
    of_groups = {
        name: COMMON[name](name, own.pop(name, value)) for name, value in OF_GROUPS.items()
    }
    checked = extras.checked(own, ()) | of_groups
    checked["state_dtype"] = state_dtype
    checked["n_threads"] = default_threads() if threads is None else THREADS("n_threads", threads)
    checked["weight_decay_mask"], checked["float8_mask"] = mask, float8_mask
    return checked, others


OWN_ONLY = {*NAMES} - OF_GROUPS.keys()  # those that a group cannot have


class Group(NamedTuple):
    """The options of a group, for `TensorPlan`."""

    names: tuple[str, ...]  # the options that were read, the learning rate first
    values: tuple[Any, ...]
    has_tensors: bool  # whether a value is a tensor or array, which may change in place
    for_c: tuple[Any, ...]  # for `assign_group` of fastopt/core/extras.pxi
    without_decay: tuple[Any, ...]  # the same for parameters without weight decay
    arrays: tuple[str, ...]  # the names of the rule's state arrays, in the order of rules.def
    keys: tuple[str, ...]  # the keys of a parameter's state, in torch's order
    low_keys: tuple[str, ...]  # the same for a 16-bit parameter
    scalars: Mapping[str, float]
    initial: Mapping[str, float | str]
    # The names and shapes of the arrays of a factored rule, for the shape of a parameter.
    factored: Callable[[tuple[int, ...]], dict[str, tuple[int, ...]]]
    state_dtype: str | None
    float8: Mapping[str, str]  # `Rule._float8`
    first_step: Callable[[], Any]
    no_rows: str  # why a sparse gradient is refused, or ""
    sums: str  # which sums the rule needs before its update: "", of a "tensor", of "all"
    direction: Direction | None  # how the directions of matrices are computed before a step
    copies_first: bool  # whether the first step copies the gradient to the momentum buffer


def read(optimizer: Any, group: Mapping[str, Any]) -> Group:
    """Return the options of one of the optimizer's groups."""
    rule: type[Rule] = optimizer._rule
    names = ("lr", *(name for name in checks_of(rule) if name != "lr" and name in group))
    names += unknown(optimizer, group)
    require_not_own(optimizer._options, group)
    values = tuple(group[name] for name in names)
    options = optimizer._options_of(group)
    require_here(rule, options)
    kernel, arrays = rule._kernel(options)
    factored, direction = functools.partial(rule._factored, options), rule._direction(options)
    if kernel in SUMS or is_factored(rule) or direction is not None:
        distributed.require_whole(type(optimizer).__name__, group["params"])
    if is_factored(rule) and any(p.is_complex() for p in group["params"]):
        raise RuntimeError(f"{type(optimizer).__name__} does not support complex parameters")
    own = optimizer._options
    known = ("step", *rule._scalars, *arrays)
    keys = [name for name in optimizer._keys or known if name in known]
    if not (optimizer._counts_steps or needs_count(own)):
        keys.remove("step")
    averages.require_no_other(rule, options, own)
    average = averages.added_by(own)
    added = [] if average is None else [average]
    master = ["master"] if own["master"] is not None else []
    if own["state_dtype"] == "float8":
        float8.require_rule(rule, kernel, arrays)
    return Group(
        names,
        values,
        not all(_is_constant(part) for value in values for part in _parts(value)),
        _for_c(rule, options),
        _for_c(rule, {**options, "weight_decay": 0.0}),
        arrays,
        (*keys, *added),
        (*keys, *master, *added),
        rule._scalars,
        rule._initial_state(options),
        factored,
        own["state_dtype"],
        rule._float8,
        optimizer._first_step,
        rule._no_rows(options),
        SUMS.get(kernel, ""),
        direction,
        bool(rule._hyperparameters(options).get("copy_first", False)),
    )


def with_scales(group: Group, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys of a parameter's state if its states have 8 bits."""
    return tuple(
        name
        for key in keys
        for name in ((key, float8.scale_of(key)) if key in group.arrays else (key,))
    )


def _for_c(rule: type[Rule], options: Mapping[str, Any]) -> tuple[Any, ...]:
    kernel, _ = rule._kernel(options)
    hyperparameters, weight_decay = for_kernel(rule, kernel, options)
    decoupled = options["decoupled_weight_decay"]
    return (
        kernel,
        hyperparameters,
        float(weight_decay),
        "coupled" if not decoupled else "proximal" if decoupled == "proximal" else "lr",
        0.0,
        bool(options["maximize"]),
        options["l1"],
        bounds_for_c(options["bounds"]),
    )


def of_torch(optimizer: Any, group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a group of a class of torch.optim, which has checked them."""
    rule, own = optimizer._rule, optimizer._options
    found = {
        **_defaults(rule),
        **optimizer._fixed,
        **{name: own[name] for name in OF_GROUPS},
        **{name: plain(group[name]) for name in checks_of(rule) if name in group},
        **{name: optimizer.defaults[name] for name in rule._only_at_start & {*optimizer.defaults}},
    }
    around = {name: COMMON[name](name, found[name]) for name in OF_GROUPS}
    if around != OF_GROUPS or found["decoupled_weight_decay"] == "proximal":
        rule._require({**found, **around})
    return {**found, **around}


def needs_all_gradients(own: Mapping[str, Any]) -> bool:
    """Return whether a step needs the norm of all gradients before it updates anything."""
    values = extras_for_c(own)
    return bool(values["needs_norm"] or values["needs_finite"])


def needs_count(own: Mapping[str, Any]) -> bool:
    """Return whether an option makes a step depend on the number of steps taken."""
    return (
        own["rounding"] == "stochastic"
        or own["ema_warmup"]
        or own["lookahead_steps"] is not None
        or own["state_dtype"] in ("param", "bfloat16", "float8")  # which are rounded stochastically
    )


def require_here(rule: type[Rule], options: Mapping[str, Any]) -> None:
    """Raise an error if options select what only the class for arrays has."""
    if rule._by_row(options) is not None:
        raise FastoptError(f"{rule.__name__} with one state for each row is not in fastopt.torch")
    if rule._lookahead(options) is not None:
        raise FastoptError(
            f"{rule.__name__} with gradients at a look-ahead point is not in fastopt.torch"
        )


@functools.cache
def _defaults(rule: Any) -> dict[str, Any]:
    return {**defaults_of(rule), "weight_decay": 0.0, "decoupled_weight_decay": False}


def _is_constant(value: Any) -> bool:
    return value is None or isinstance(value, (Number, str))


def _parts(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def plain(value: Any) -> Any:
    """Return a value with each tensor of one element replaced by its number."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value
    return tuple(map(plain, value)) if isinstance(value, (tuple, list)) else value


def require_not_own(own: Mapping[str, Any], group: Mapping[str, Any]) -> None:
    """Raise an error if a group sets an option of the optimizer to another value."""
    for name in OWN_ONLY & group.keys():
        if (group[name] or None) != (own[name] or None):  # n_threads=None is kept as 0
            raise FastoptError(
                f"{name} is {group[name]!r} in a group and {own[name]!r} in the optimizer; it is "
                "an option of the optimizer, the same for all groups"
            )


def unknown(optimizer: Any, group: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the items of a group that are options of a newer torch.

    Raise an error if one of them is not at its default.
    """
    known = checks_of(optimizer._rule).keys() | IGNORED
    names = tuple(name for name in optimizer.defaults if name not in known and name in group)
    for name in names:
        default = torch_defaults(type(optimizer)).get(name)  # type: ignore[arg-type]
        if group[name] is not default and group[name] != default:
            raise FastoptError(
                f"{name} is {group[name]!r}, an option of torch {torch.__version__} that "
                f"fastopt does not know; leave it at {default!r}, or use torch.optim"
            )
    return names


@functools.cache
def torch_defaults(cls: Any) -> dict[str, Any]:
    """Return the defaults in the signature of torch's class."""
    parameters = inspect.signature(torch_class(cls).__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def signature_of(cls: type, package: str) -> inspect.Signature:
    """Return the arguments of a class, and the keywords that fastopt adds.

    package: the package of fastopt's classes.  A subclass defined elsewhere has the arguments of
    its `__init__`.
    """
    if "__init__" in vars(cls) and not cls.__module__.startswith(f"{package}."):
        own = inspect.signature(vars(cls)["__init__"])
        return own.replace(parameters=list(own.parameters.values())[1:])
    signature = cls._arguments()  # type: ignore[attr-defined]
    return with_keywords(signature, {name: DEFAULTS[name] for name in NAMES})


def with_keywords(signature: inspect.Signature, added: Mapping[str, Any]) -> inspect.Signature:
    """Return a signature with further keyword arguments, given their defaults."""
    known = signature.parameters
    kind = inspect.Parameter.KEYWORD_ONLY
    others = [
        inspect.Parameter(name, kind, default=value)
        for name, value in added.items()
        if name not in known
    ]
    return signature.replace(parameters=[*known.values(), *others])


def require_defaults(own: Mapping[str, Any], groups: Iterable[Mapping[str, Any]]) -> None:
    """Raise an error if an option of fastopt is set, which PyTorch's own step would ignore."""
    given = [(name, own[name]) for name in own.keys() - {"n_threads", "seed"}]
    given += [(name, group[name]) for group in groups for name in OF_GROUPS.keys() & group.keys()]
    for name, value in given:
        if value != DEFAULTS[name]:
            raise FastoptError(
                f"{name} is {value!r}; with capturable or differentiable, PyTorch's step is "
                f"used, which does not support it: leave it at {DEFAULTS[name]!r}"
            )


def torch_class(cls: type) -> Any:
    """Return the class of torch.optim that a class of fastopt extends."""
    return next(base for base in cls.__mro__ if f"{base.__module__}.".startswith("torch.optim."))


def extras_for_c(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of fo_extras."""
    return extras.for_c({**own, "grad_scale": 1.0})


ema_decay_of_step = extras.ema_decay_of_step
