"""minimize: a whole run of an optimizer, over data or on a function alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt._checks import Whole, flag
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import refuse_masked, require_parameter
from fastopt.arrays.dtypes import Array
from fastopt.batching import Batches
from fastopt.optimizers.base.arguments import Params, Schedule
from fastopt.optimizers.base.structure import each
from fastopt.optimizers.conventions import create
from fastopt.training.fun import Fun, as_fun
from fastopt.training.interrupts import Interrupts
from fastopt.training.line_search import LineSearch
from fastopt.training.progress import Line
from fastopt.training.resuming import RunFile, Spec, asked_for
from fastopt.training.run import (
    INTERRUPTED,
    MET,
    NO_STEP,
    STOPPED,
    USED_UP,
    Callback,
    FilterRun,
    Run,
    Tolerance,
)

if TYPE_CHECKING:
    from fastopt.training.model_filter import ModelFilter

__all__ = ["minimize"]

EPOCHS = 1000  # where no budget is given


def minimize(
    fun: Fun | object,
    x0: Params,
    data: Array | tuple[Array, ...] | Batches | None = None,
    *,
    method: str = "adam",
    batch_size: int | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    lr: float | None = None,
    schedule: Schedule | None = None,
    tol: float | None = None,
    patience: int | None = None,
    convention: str = "torch",
    line_search: bool = False,
    checkpoint: Spec | None = None,
    callback: Callback | None = None,
    progress: bool | Callback | None = None,
    seed: int | None = None,
    **options: Any,
) -> OptimizeResult:
    """Minimize a function, or its mean over batches of data, with one of the update rules.

    Each step evaluates ``loss, grad = fun(x, *batch)`` and hands ``grad`` to the optimizer, once
    for each batch of an epoch. Without `data` it evaluates ``fun(x)``, and a step is an epoch.

    Parameters
    ----------
    fun : callable, or a model
        ``fun(x, *batch) -> (loss, grad)``: a number, and gradients of the structure and shapes
        of ``x``. It is given the arrays that are being optimized and, with ``batch_size``,
        buffers of the batch: it may read them during the call, should copy what it keeps, and
        should not write. A model, such as those of `fastopt.models`, has this function as its
        ``loss_and_grad``; for "ksgd" see the notes.
    x0 : numpy.ndarray, or list or dict of them
        Where to start. It is copied: float32 and float64 as they are, integers to float64.
    data : numpy.ndarray, tuple of them, or Batches, optional
        Arrays with a row for each observation. A `Batches` goes on from where it is; it has its
        own batch size and seed, so neither may be given with it.
    method : str
        The name of a rule: see `fastopt.create`. Default "adam". Or "ksgd".
    batch_size : int, at least 1, optional
        Rows a batch. By default all of them, in the order that they are in: gradient descent.
    epochs, max_steps : int, at least 1, optional
        Budgets; what is used up first ends the run. By default 1000 epochs, if neither is given.
    lr : float, at least 0, optional
        The learning rate, by default the convention's.
    schedule : callable, optional
        One of `fastopt.schedules`, in the place of `lr`. Its ``report``, if it has one, hears the
        mean loss of each epoch.
    tol : float, at least 0, optional
        Stop, with success, after `patience` epochs in a row of which none has improved on the
        best mean loss before it by tol*max(1, abs(best)) or more. NaN improves nothing.
    patience : int, at least 1, optional
        Only with `tol`. Default 5.
    convention : {"torch", "keras", "optax", "dl4j", "textbook"}
        Whose formula and defaults: see `fastopt.create`. Where the rule takes its gradients at
        the look-ahead point (the textbook's Nesterov), so does this.
    line_search : bool
        Whether each learning rate is searched for, by ``scipy.optimize.line_search`` along the
        negative gradient (the strong Wolfe conditions). Only with ``method="gd"`` and full
        batches, and without lr, schedule, checkpoint and options of a rule. Each step evaluates
        `fun` a few times, at copies of x. DL4J's LINE_GRADIENT_DESCENT. Default False.
    checkpoint : path, or (path, seconds), optional
        A file from which a later call of the same arguments goes on, to the bit, whatever has
        ended this one, ``kill -9`` included. It is replaced, atomically, at the end of every
        epoch, or with `seconds` after the first step that ends so long after the last time,
        in mid-epoch too; and at the end. See the notes.
    callback : callable, optional
        Called after each epoch with an `OptimizeResult` of the run so far: x, fun, jac, nit, nfev
        and history, the live ones (copy what you keep). It stops the run by returning a true
        value or raising StopIteration.
    progress : True or callable, optional
        Called like `callback`, but what it returns says nothing. True shows a line on stderr.
    seed : int, at least 0, optional
        Of the order of rows; only with `data` and `batch_size`. By default another each time.
    **options
        The rule's own: see `fastopt.create`. Those of "ksgd" are `fastopt.KalmanSGD`'s.

    Returns
    -------
    scipy.optimize.OptimizeResult
        x : of the structure of `x0`
            After the last step.
        fun, jac
            Without data, loss and gradient at `x`, from an evaluation after the last step. With
            data, the mean loss of the last epoch and the gradient of the last step; and so after
            Ctrl-C without data, where both are those of the last step. NaN and None before the
            first step. A checkpoint keeps no `RowSparse` gradient: None until the next step.
        nit, nfev : int
            Steps taken, those that ``on_nonfinite="skip"`` skips included; evaluations of `fun`.
        status, success, message
            0: `tol` is met, a success. 1: a budget is used up, a success if there is no `tol` and
            `fun` is finite. 2: stopped by `callback`. 3: interrupted (Ctrl-C). 4: the line search
            found no step: x is a minimum to within rounding, or grad is not that of `fun`, see
            `fastopt.check_grad`. The last three are no success.
        history : dict of lists, an entry an epoch
            "loss", the mean; "lr", that of the epoch's first step; "seconds" since the start,
            without those in `callback` and `progress`.
        kalman : KalmanSGD
            With "ksgd": the filter, which has covariance and standard errors of the parameters.

    Raises
    ------
    FastoptError, TypeError
        For arguments, and for what `fun` returns, saying what is allowed. What `fun` and
        `callback` raise is passed on, but for KeyboardInterrupt.

    Notes
    -----
    The mean loss of an epoch weighs the loss of each batch by its rows. A loss that is not finite
    stops nothing: it shows in the history.

    An epoch that `max_steps` or Ctrl-C cuts short has its entry in the history, of the steps that
    were taken, but is not counted for `tol` and not reported to `schedule`. `callback` hears of it
    if `max_steps` cut it.

    Ctrl-C takes effect at once while `fun`, `callback` or `progress` is running, else as soon as
    the step at hand is complete: x is always what whole steps have made it. A `Batches` that was
    given has then handed out the batches of those steps alone. This holds for the main thread
    and Python's own handler of SIGINT; another is left in place.

    **Checkpoints.** The file holds parameters, optimizer, position in the data, history and what
    `tol` and `schedule` have counted; `fastopt.checkpoint` says in which format. Where it exists,
    x0 gives the structure alone, and the run goes on: it ends with the bits, counts and history
    (but for seconds) of one that was never stopped, if `fun` depends on its arguments alone.
    Structure, shapes and dtypes, method and options, schedule, tol, patience, batch size and a
    given seed must be those of the file; the values of `data` are not looked at. `epochs` and
    `max_steps` may differ: they count from the first start. So the same call again returns at
    once with the same result, one with a larger budget goes on, and the file is left for you to
    delete. Epochs that had ended after the last writing are run again, and `callback` hears of
    them again. Without data every step is an epoch: give `seconds`, unless `fun` is slow.

    "ksgd" is `KalmanSGD.update`, a batch at a time. It needs data of rows and targets, and in the
    place of `fun` a model with ``mean_and_jacobian(x, X) -> (mean, jac)``, where jac is (n, p) or
    (n, k, p) for n rows, k outputs and the p numbers of `x` in their order; ``variance(mean)`` is
    what `KalmanSGD.update` takes, by default 1. The loss is the model's ``loss_and_grad``, if it
    has one, else half the sum of squared residuals of a row. There is no learning rate: `lr`,
    `schedule` and `convention` are refused, as is `checkpoint`, and the history has NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt import minimize, schedules
    >>> A, b = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([9.0, 8.0])
    >>> def quadratic(x):
    ...     return x @ A @ x / 2 - b @ x, A @ x - b
    >>> result = minimize(quadratic, np.zeros(2), method="momentum", lr=0.1, epochs=300)
    >>> print(result.x.round(6), result.message)
    [2. 3.] the budget of 300 epochs is used up

    Over data:

    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = X @ [2.0, -1.0] + 3.0
    >>> def squared(params, X, y):
    ...     residual = X @ params["w"] + params["b"] - y
    ...     grads = {"w": X.T @ residual / len(y), "b": residual.mean()}
    ...     return residual @ residual / (2 * len(y)), grads
    >>> start = {"w": np.zeros(2), "b": np.zeros(())}
    >>> result = minimize(
    ...     squared, start, (X, y), batch_size=20, epochs=30, seed=0,
    ...     schedule=schedules.cosine(lr=0.1, total_steps=300),
    ... )
    >>> print(result.x["w"].round(3), result.x["b"].round(3), result.nit)
    [ 2. -1.] 3.0 300

    Of a model, in one pass and without a learning rate:

    >>> from fastopt.models import GLM
    >>> model = GLM(2)
    >>> result = minimize(
    ...     model, model.init(), (X, y), method="ksgd", m0=1e6, batch_size=20, epochs=1, seed=0
    ... )
    >>> print(result.x["w1"].ravel().round(3), result.x["b1"].round(3), result.nit)
    [ 2. -1.] [3.] 10

    Going on:

    >>> data = {"data": (X, y), "batch_size": 20, "seed": 0}
    >>> first = minimize(squared, start, **data, epochs=3, checkpoint="run.npz")
    >>> both = minimize(squared, start, **data, epochs=5, checkpoint="run.npz")
    >>> whole = minimize(squared, start, **data, epochs=5)
    >>> bool((both.x["w"] == whole.x["w"]).all()), both.nit, len(both.history["loss"])
    (True, 50, 5)
    """
    filters = isinstance(method, str) and method.lower() == "ksgd"
    loss_and_grad: Any = getattr(fun, "loss_and_grad", fun) if filters else as_fun(fun)
    for name, function in (("callback", callback), ("progress", progress)):
        left_out = function is None or function is False
        if not (callable(function) or left_out or (name == "progress" and function is True)):
            raise TypeError(f"{name} is {function!r}; a callable is needed")
    if epochs is None and max_steps is None:
        epochs = EPOCHS
    most_epochs = math.inf if epochs is None else Whole(1)("epochs", epochs)
    most_steps = math.inf if max_steps is None else Whole(1)("max_steps", max_steps)
    tolerance = Tolerance(tol, patience)
    x = each(_start, "x0", x0)
    batches = _batches(data, batch_size, seed)
    kind: type[Run] = FilterRun if filters else Run
    optimizer: Any
    if filters:
        unused = dict(
            lr=lr,
            schedule=schedule,
            convention=convention,
            checkpoint=checkpoint,
            line_search=line_search or None,
        )
        optimizer = _filter(fun, x, batches, unused, options)
    else:
        if flag("line_search", line_search):
            given = {"lr": lr, "schedule": schedule, "checkpoint": checkpoint, **options}
            _require_searchable(method, batches, given)
            options = {"lr": 1.0}  # until the search has found one
        optimizer = create(method, x, convention, **_rate(lr, schedule), **options)
    if options.get("maximize"):
        raise FastoptError("maximize=True in minimize(); let fun return -loss and -grad")
    if options.get("zero_grads"):
        raise FastoptError("zero_grads=True in minimize(), whose result has the last gradient")

    line = Line(epochs) if progress is True else None
    show = line if isinstance(progress, bool) else progress
    with Interrupts() as interrupts:
        run = kind(loss_and_grad, x, optimizer, batches, tolerance, interrupts)
        if checkpoint is not None:
            run.file = RunFile(checkpoint, run, asked_for(run))
        if line_search:
            run.search = LineSearch(optimizer, x)
        watch = None if show is None and callback is None else partial(_watch, show, callback)
        try:
            try:
                status = run.go(watch, most_epochs, most_steps)
            finally:
                if run.file:
                    run.file.write()
            if batches is None:
                run.loss, run.grad = run.evaluate(())
            interrupts.check()
        except KeyboardInterrupt:
            status = INTERRUPTED
        finally:
            if line:
                line.close()
    used_up = f"{max_steps} steps" if run.nit >= most_steps else f"{epochs} epochs"
    message = {
        MET: f"the loss improved by less than tol={tol} for {tolerance.patience} epochs in a row",
        USED_UP: f"the budget of {used_up} is used up",
        STOPPED: "stopped by callback",
        INTERRUPTED: "interrupted",
        NO_STEP: "the line search found no step that lowers the loss as the gradient promises",
    }
    result = run.state()
    result.jac = run.copied_gradient()
    result.success = status == MET or (
        status == USED_UP and tol is None and math.isfinite(run.loss)
    )
    result.status = status
    result.message = message[status]
    return result


def _watch(show: Callback | None, callback: Callback | None, state: OptimizeResult) -> bool:
    """Show the state to whoever wants to see it; say whether one of them asks to stop."""
    if show is not None:
        show(state)
    try:
        return callback is not None and bool(callback(state))
    except StopIteration:
        return True


def _start(name: str, value: object) -> Array:
    """Return a copy to optimize."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} is a {type(value).__name__}; a numpy.ndarray is needed")
    refuse_masked(name, value)
    copied = np.array(value, np.float64 if value.dtype.kind in "iu" else None, order="C")
    require_parameter(name, copied)
    return copied


def _batches(data: Any, batch_size: int | None, seed: int | None) -> Batches | None:
    """Return the data as batches."""
    if data is None or isinstance(data, Batches):
        why = "without data" if data is None else "beside a Batches, which has its own"
        for name, value in (("batch_size", batch_size), ("seed", seed)):
            if value is not None:
                raise FastoptError(f"{name} is {value!r} {why}")
        return data
    if not isinstance(data, (tuple, np.ndarray)):
        raise TypeError(
            f"data is a {type(data).__name__}; an array, a tuple of arrays or a Batches is needed"
        )
    arrays = data if isinstance(data, tuple) else (data,)
    return Batches(*arrays, batch_size=batch_size, seed=seed, reuse_buffers=True)


def _require_searchable(method: str, batches: Batches | None, given: Mapping[str, Any]) -> None:
    """Refuse what has no meaning beside a line search."""
    if not isinstance(method, str) or method.lower() != "gd":
        raise FastoptError(f"method is {method!r} with line_search=True; allowed: 'gd'")
    if batches is not None and batches.batch_size is not None:
        raise FastoptError(
            f"batch_size is {batches.batch_size} with line_search=True; None, the full batch, is "
            "needed: losses of different rows can not be compared"
        )
    for name, value in given.items():
        if value is not None:
            raise FastoptError(
                f"{name} is {value!r} with line_search=True, which has no use for it"
            )


def _filter(
    model: object,
    x: Params,
    batches: Batches | None,
    unused: dict[str, Any],
    options: dict[str, Any],
) -> ModelFilter:
    """Return what trains a model by a KalmanSGD."""
    from fastopt.training.model_filter import ModelFilter  # on first use, as KalmanSGD itself

    for name, value in unused.items():
        if value is not None and (name, value) != ("convention", "torch"):
            raise FastoptError(f"{name} is {value!r}; method='ksgd' has none")
    learner = ModelFilter(model, x, **options)
    if batches is None or len(batches.arrays) != 2:
        found = "None" if batches is None else f"{len(batches.arrays)} array(s)"
        raise FastoptError(f"data is {found}; method='ksgd' needs rows and targets, (X, y)")
    return learner


def _rate(lr: float | None, schedule: Schedule | None) -> dict[str, Any]:
    """Return the option of the optimizer that says how the learning rate goes, if any."""
    if schedule is None:
        return {} if lr is None else {"lr": lr}
    if lr is not None:
        raise FastoptError(f"lr is {lr!r} beside a schedule, which has its own")
    if not callable(schedule):
        raise TypeError(f"schedule is {schedule!r}; a callable, step -> lr, is needed")
    return {"lr": schedule}
