"""minimize: a run of an optimizer over data, or on a function alone."""

from __future__ import annotations

from functools import partial
from typing import Any

from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt._checks import flag
from fastopt.arrays.accepted import Array
from fastopt.batching import Batches
from fastopt.optimizers.base.groups import Schedule
from fastopt.optimizers.base.optimizer import Params
from fastopt.optimizers.conventions import create
from fastopt.training.arguments import (
    as_batches,
    copied_start,
    is_ksgd,
    model_filter,
    rate_options,
    refuse_options,
    require_callables,
    require_searchable,
)
from fastopt.training.ending import Criteria
from fastopt.training.fun import Fun, as_fun
from fastopt.training.interrupts import Interrupts
from fastopt.training.line_search import LineSearch
from fastopt.training.progress import Line
from fastopt.training.resuming import RunFile, Spec
from fastopt.training.run import Callback, Run
from fastopt.training.state import RunState
from fastopt.training.steps import FilterSteps, Objective, RuleSteps, Steps

__all__ = ["minimize"]


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
    loss_and_grad: Any = getattr(fun, "loss_and_grad", fun) if is_ksgd(method) else as_fun(fun)
    require_callables(callback, progress)
    criteria = Criteria(epochs=epochs, max_steps=max_steps, tol=tol, patience=patience)
    x = copied_start(x0)
    batches = as_batches(data, batch_size, seed)
    given = {"lr": lr, "schedule": schedule, "checkpoint": checkpoint}
    optimizer: Any
    if is_ksgd(method):
        given["convention"] = None if convention == "torch" else convention
        given["line_search"] = line_search or None
        optimizer = model_filter(fun, x, batches, given, options)
    elif flag("line_search", line_search):
        require_searchable(method, batches, {**given, **options})
        optimizer = create(method, x, convention, lr=1.0)  # until the first search
    else:
        optimizer = create(method, x, convention, **rate_options(lr, schedule), **options)
        refuse_options(options)

    interrupts = Interrupts()
    state = RunState(x, optimizer, batches)
    objective = Objective(loss_and_grad, state, interrupts)
    steps: Steps
    if is_ksgd(method):
        steps = FilterSteps(objective, optimizer)
    elif line_search:
        steps = LineSearch(objective, optimizer)
    else:
        steps = RuleSteps(objective, optimizer)
    line = Line(criteria.budget.epochs) if progress is True else None
    show = line if isinstance(progress, bool) else progress
    watch = None if show is None and callback is None else partial(_watch, show, callback)
    with interrupts:
        file = None if checkpoint is None else RunFile(checkpoint, state, criteria.tolerance)
        run = Run(steps, state, criteria, interrupts, file)
        try:
            status = run.go(watch)
        finally:
            if line:
                line.close()
    result = run.result()
    result.jac = state.copied_gradient()
    result.success = criteria.is_success(status, state.loss)
    result.status = status
    result.message = criteria.message(status, state.nit)
    return result


def _watch(show: Callback | None, callback: Callback | None, state: OptimizeResult) -> bool:
    """Call ``show`` and ``callback`` with the run so far; return whether the run is to stop."""
    if show is not None:
        show(state)
    try:
        return callback is not None and bool(callback(state))
    except StopIteration:
        return True
