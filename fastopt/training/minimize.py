"""minimize: a run of an optimizer over data, or on a function alone."""

from __future__ import annotations

from functools import partial
from typing import Any

from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt._checks import flag
from fastopt.arrays.dtypes import Array
from fastopt.batching import Batches
from fastopt.optimizers.base.arguments import Params, Schedule
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

    Each step evaluates ``loss, grad = fun(x, *batch)`` and passes ``grad`` to the optimizer; an
    epoch has a step for each batch. Without `data`, ``fun(x)`` is evaluated and each step is an
    epoch.

    Parameters
    ----------
    fun : callable, or a model
        ``fun(x, *batch) -> (loss, grad)``: a number, and gradients of the structure and shapes
        of ``x``. It is called with the arrays that are being optimized and, with ``batch_size``,
        with buffers that the next batch overwrites: it may read them during the call, should copy
        what it keeps, and should not write to them. A model, such as those of `fastopt.models`, has
        this function as its method ``loss_and_grad``; for "ksgd" see the notes.
    x0 : numpy.ndarray, or list or dict of them
        The initial parameters. They are copied: float32 and float64 with their dtype, integers as
        float64.
    data : numpy.ndarray, tuple of them, or Batches, optional
        Arrays with a row for each observation. A `Batches` continues from its current position; it
        has a batch size and a seed, so neither may be given with it.
    method : str
        The name of a rule: see `fastopt.create`. Default "adam". Or "ksgd".
    batch_size : int, at least 1, optional
        Rows of a batch. By default all rows, in their order: gradient descent.
    epochs, max_steps : int, at least 1, optional
        Budgets; the run ends when the first of them is used up. Default 1000 epochs, if neither is
        given.
    lr : float, at least 0, optional
        The learning rate. Default: that of the convention.
    schedule : callable, optional
        One of `fastopt.schedules`, instead of `lr`. If it has a method ``report``, that is called
        with the mean loss of each epoch.
    tol : float, at least 0, optional
        Stop, with success, after `patience` epochs in a row none of which has improved on the
        best mean loss before it by tol*max(1, abs(best)) or more. NaN is no improvement.
    patience : int, at least 1, optional
        Only with `tol`. Default 5.
    convention : {"torch", "keras", "optax", "dl4j", "textbook"}
        The library whose formula and defaults are used: see `fastopt.create`. If the rule takes its
        gradients at the look-ahead point (the textbook's Nesterov), `fun` is evaluated there.
    line_search : bool
        Whether each learning rate is found by ``scipy.optimize.line_search`` along the negative
        gradient (the strong Wolfe conditions). Only with ``method="gd"`` and full batches, and
        without lr, schedule, checkpoint and options of a rule. Each step evaluates `fun` a few
        times, at copies of x. DL4J's LINE_GRADIENT_DESCENT. Default False.
    checkpoint : path, or (path, seconds), optional
        A file from which a later call with the same arguments resumes, with equal bits, whatever
        has ended this call, ``kill -9`` included. The file is replaced, atomically, after every
        epoch; or, with `seconds`, after the first step that ends that long after the file was last
        written, in mid-epoch too. It is also written when the run ends. See the notes.
    callback : callable, optional
        Called after each epoch with an `OptimizeResult` of the run so far: x, fun, jac, nit, nfev
        and history. Its arrays change in later steps: copy what you keep. The run stops if the
        callback returns a true value or raises StopIteration.
    progress : True or callable, optional
        Called like `callback`, but its return value is ignored. True shows a line on stderr.
    seed : int, at least 0, optional
        The seed of the order of rows; only with `data` and `batch_size`. By default it is drawn
        anew for each call.
    **options
        Options of the rule: see `fastopt.create`. Those of "ksgd" are `fastopt.KalmanSGD`'s.

    Returns
    -------
    scipy.optimize.OptimizeResult
        x : of the structure of `x0`
            The parameters after the last step.
        fun, jac
            Without data, loss and gradient at `x`, from an evaluation after the last step. With
            data, the mean loss of the last epoch and the gradient of the last step. After Ctrl-C
            without data, loss and gradient of the last step. NaN and None before the first step.
            A checkpoint keeps no `RowSparse` gradient: None until the next step.
        nit, nfev : int
            Steps taken, including those that ``on_nonfinite="skip"`` skips; evaluations of `fun`.
        status, success, message
            0: `tol` is met, a success. 1: a budget is used up, a success if there is no `tol` and
            `fun` is finite. 2: stopped by `callback`. 3: interrupted (Ctrl-C). 4: the line search
            found no step: x is a minimum to within rounding, or grad is not the gradient of `fun`,
            see `fastopt.check_grad`. The last three are no success.
        history : dict of lists, an entry for each epoch
            "loss", the mean; "lr", that of the epoch's first step; "seconds" since the start,
            without the time spent in `callback` and `progress`.
        kalman : KalmanSGD
            With "ksgd": the filter, which has covariance and standard errors of the parameters.

    Raises
    ------
    FastoptError, TypeError
        An argument, or a value returned by `fun`, that is not allowed. Exceptions of `fun` and
        `callback` are passed on, except KeyboardInterrupt.

    Notes
    -----
    In the mean loss of an epoch, the loss of each batch is weighted by its rows. A loss that is not
    finite does not stop the run; it appears in the history.

    An epoch that `max_steps` or Ctrl-C cuts short has an entry in the history, computed from the
    steps that were taken, but it does not count for `tol` and is not reported to `schedule`.
    `callback` is called after it if `max_steps` was the reason.

    Ctrl-C takes effect at once while `fun`, `callback` or `progress` is running, and otherwise when
    the current step is complete: no step is taken in part. The position of a `Batches` is then that
    after the last complete step. This holds for the main thread and Python's own handler of
    SIGINT; another handler is left in place.

    **Checkpoints.** The file holds parameters, optimizer, position in the data, history and the
    state of `tol` and `schedule`; `fastopt.checkpoint` describes the format. If it exists, `x0`
    gives the structure only, and the run resumes: it ends with the same bits, counts and history
    (except seconds) as a run that was never stopped, if `fun` depends on its arguments only.
    Structure, shapes and dtypes, method and options, schedule, tol, patience, batch size and a
    given seed must be those of the file; the values of `data` are not compared. `epochs` and
    `max_steps` may differ: they count from the first start. Repeating a call that has finished
    returns the same result at once, and a call with a larger budget continues the run. The file is
    never deleted. Epochs that ended after the file was last written are run again, and `callback`
    is called for them again. Without data every step is an epoch: give `seconds`, unless `fun` is
    slow.

    "ksgd" is `KalmanSGD.partial_fit` for a `fastopt.models.GLM`, unless that is "softmax", with the
    model's family. For other models it is `KalmanSGD.update`, a batch at a time. It needs data of
    rows and targets and, instead of `fun`, a model with ``mean_and_jacobian(x, X) -> (mean, jac)``,
    where jac is (n, p) or (n, k, p) for n rows, k outputs and the p numbers of `x` in their order;
    ``variance(mean)`` is passed to `KalmanSGD.update`, by default 1. If that is "multinomial",
    targets are integers 0 to k - 1, the labels, or rows of k probabilities. The loss is that of the
    model's ``loss_and_grad``, if it has one, otherwise half the mean of the rows' squared
    residuals. There is no learning rate: `lr`, `schedule` and `convention` are refused, as is
    `checkpoint`, and the history has NaN.

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

    A model, in one pass and without a learning rate:

    >>> from fastopt.models import GLM
    >>> model = GLM(2)
    >>> result = minimize(
    ...     model, model.init(), (X, y), method="ksgd", m0=1e6, batch_size=20, epochs=1, seed=0
    ... )
    >>> print(result.x["w1"].ravel().round(3), result.x["b1"].round(3), result.nit)
    [ 2. -1.] [3.] 10

    Resuming:

    >>> data = {"data": (X, y), "batch_size": 20, "seed": 0}
    >>> first = minimize(squared, start, **data, epochs=3, checkpoint="run.npz")
    >>> resumed = minimize(squared, start, **data, epochs=5, checkpoint="run.npz")
    >>> direct = minimize(squared, start, **data, epochs=5)
    >>> bool((resumed.x["w"] == direct.x["w"]).all()), resumed.nit, len(resumed.history["loss"])
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
