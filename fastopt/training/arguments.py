"""How the arguments of `minimize` are checked and converted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.accepted import refuse_masked, require_parameter
from fastopt.arrays.dtypes import Array
from fastopt.batching import Batches
from fastopt.optimizers.base.arguments import Params, Schedule
from fastopt.optimizers.base.state.structure import each

if TYPE_CHECKING:
    from fastopt.training.model_filter import ModelFilter


def copied_start(x0: Params) -> Any:
    """Return a copy of ``x0`` that can be optimized in place."""
    return each(_copied, "x0", x0)


def _copied(name: str, value: object) -> Array:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} is a {type(value).__name__}; a numpy.ndarray is needed")
    refuse_masked(name, value)
    copied = np.array(value, np.float64 if value.dtype.kind in "iu" else None, order="C")
    require_parameter(name, copied)
    return copied


def as_batches(data: Any, batch_size: int | None, seed: int | None) -> Batches | None:
    """Return the data as a `Batches`, or None without data."""
    if data is None or isinstance(data, Batches):
        case = "without data" if data is None else "with a Batches, which has one"
        for name, value in (("batch_size", batch_size), ("seed", seed)):
            if value is not None:
                raise FastoptError(f"{name} is {value!r}; it must be None {case}")
        return data
    if not isinstance(data, (tuple, np.ndarray)):
        raise TypeError(
            f"data is a {type(data).__name__}; an array, a tuple of arrays or a Batches is needed"
        )
    arrays = data if isinstance(data, tuple) else (data,)
    return Batches(*arrays, batch_size=batch_size, seed=seed, reuse_buffers=True)


def rate_options(lr: float | None, schedule: Schedule | None) -> dict[str, Any]:
    """Return the optimizer's option ``lr``, or no option if the default is to be used."""
    if schedule is None:
        return {} if lr is None else {"lr": lr}
    if lr is not None:
        raise FastoptError(f"lr is {lr!r}; it must be None with a schedule")
    if not callable(schedule):
        raise TypeError(f"schedule is {schedule!r}; a callable, step -> lr, is needed")
    return {"lr": schedule}


def require_callables(callback: object, progress: object) -> None:
    """Raise unless ``callback`` and ``progress`` can be called, or are not given."""
    for name, function in (("callback", callback), ("progress", progress)):
        is_left_out = function is None or function is False
        is_line = name == "progress" and function is True
        if not (callable(function) or is_left_out or is_line):
            raise TypeError(f"{name} is {function!r}; a callable is needed")


# Keywords of similar functions that `minimize` does not have, and what to use instead.
_ELSEWHERE = {
    "options": "give them as keywords of minimize, as in minimize(fun, x0, lr=0.1, epochs=100)",
    "maxiter": "that is epochs, or max_steps",
    "max_iter": "that is epochs, or max_steps",
    "n_epochs": "that is epochs",
    "maxfun": "that is epochs, or max_steps",
    "maxfev": "that is epochs, or max_steps",
    "jac": "fun returns the pair (loss, grad); fastopt.scipy_method takes SciPy's jac",
    "constraints": "constraints are not supported",
    "hess": "second derivatives are not used",
    "hessp": "second derivatives are not used",
    "args": "give rows of data as data=, and anything else by "
    "minimize(lambda x: fun(x, *args), x0)",
    "disp": "that is progress=True",
    "verbose": "that is progress=True",
    "ftol": "that is tol",
    "xtol": "tol looks at the loss, gtol at the gradient",
    "X": "that is data=(X, y)",
    "y": "that is data=(X, y)",
}


def refuse_unknown(own: Collection[str], options: Mapping[str, Any]) -> None:
    """Raise for keywords that only similar functions have; ``own``: those of `minimize`."""
    for name in options:
        if name in _ELSEWHERE:
            raise TypeError(
                f"minimize has no argument {name!r}: {_ELSEWHERE[name]}. Its keywords: "
                f"{', '.join(own)}, and the options of the rule"
            )


@contextmanager
def naming_keywords(own: Collection[str]) -> Iterator[None]:
    """Add the keywords of `minimize` to an error about an unknown keyword of a rule."""
    try:
        yield
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise TypeError(f"{error}; keywords of minimize: {', '.join(own)}") from None


def beta_of(optimizer: Any) -> float:
    """Return the momentum of an optimizer, or its beta1; 0 if it has neither."""
    groups = getattr(optimizer, "param_groups", ())
    return max([_beta(group.options) for group in groups], default=0.0)


def _beta(options: Mapping[str, Any]) -> float:
    return float(options["betas"][0]) if "betas" in options else options.get("momentum", 0.0)


def require_judged(tol: float | None, gtol: float | None, batches: Batches | None) -> None:
    """Raise for ``gtol`` without ``tol`` if the gradients are those of mini-batches."""
    size = None if batches is None else batches.batch_size
    if gtol is not None and tol is None and size is not None:
        raise FastoptError(
            f"gtol is {gtol!r} and tol None with batch_size={size}; give tol too: the gradient "
            "over all rows is evaluated only when the losses meet tol"
        )


def refuse_options(options: Mapping[str, Any]) -> None:
    """Raise for options of an optimizer that `minimize` does not allow."""
    if options.get("maximize"):
        raise FastoptError("maximize=True in minimize(); return -loss and -grad from fun instead")
    if options.get("zero_grads"):
        raise FastoptError("zero_grads=True in minimize(), whose result has the last gradient")


def require_searchable(method: str, batches: Batches | None, given: Mapping[str, Any]) -> None:
    """Raise for arguments that ``line_search=True`` excludes; those in ``given`` must be None."""
    if not isinstance(method, str) or method.lower() != "gd":
        raise FastoptError(f"method is {method!r} with line_search=True; allowed: 'gd'")
    if batches is not None and batches.batch_size is not None:
        raise FastoptError(
            f"batch_size is {batches.batch_size} with line_search=True; None, the full batch, is "
            "needed: losses of different rows cannot be compared"
        )
    for name, value in given.items():
        if value is not None:
            raise FastoptError(f"{name} is {value!r}; it cannot be given with line_search=True")


def is_ksgd(method: object) -> bool:
    """Return whether ``method`` names `KalmanSGD`, which is not an update rule."""
    return isinstance(method, str) and method.lower() == "ksgd"


def model_filter(
    model: object,
    x: Params,
    batches: Batches | None,
    unused: Mapping[str, Any],
    options: Mapping[str, Any],
) -> ModelFilter:
    """Return the `KalmanSGD` of a model's parameters; arguments in ``unused`` must be None."""
    from fastopt.training.model_filter import ModelFilter  # imports KalmanSGD, which is large

    for name, value in unused.items():
        if value is not None:
            raise FastoptError(f"{name} is {value!r}; it cannot be given with method='ksgd'")
    made = ModelFilter(model, x, **options)
    if batches is None or len(batches.arrays) != 2:
        found = "None" if batches is None else f"{len(batches.arrays)} array(s)"
        raise FastoptError(f"data is {found}; method='ksgd' needs rows and targets, (X, y)")
    return made
