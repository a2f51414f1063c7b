"""minimize: a run of an optimizer over data, or on a function alone."""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import Any

from scipy.optimize import OptimizeResult  # type: ignore[import-untyped]

from fastopt._checks import flag
from fastopt.arrays.dtypes import Array
from fastopt.batching import Batches
from fastopt.optimizers.base.arguments import Params, Schedule
from fastopt.optimizers.conventions import create, find_rule
from fastopt.training.arguments import (
    as_batches,
    beta_of,
    copied_start,
    is_ksgd,
    model_filter,
    naming_keywords,
    rate_options,
    refuse_options,
    refuse_unknown,
    require_callables,
    require_judged,
    require_searchable,
)
from fastopt.training.best import Best
from fastopt.training.ending import CONVERGED, Criteria
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
    gtol: float | None = None,
    patience: int | None = None,
    convention: str = "torch",
    line_search: bool = False,
    restore_best: bool = False,
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
        The name of a rule: see `fastopt.create`. Default "adam". "ksgd" is for `KalmanSGD`.
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
        Stop, with success, when the loss has settled and the gradient is small. The loss has
        settled if two conditions are met, where d = tol*max(1, abs(best)). First, for `patience`
        epochs in a row, the loss is within d of the best so far and improves the best by at most d.
        Second, the remaining decrease is at most d. It is extrapolated as a geometric series from
        the last two windows of `patience` epochs (of a tenth of all epochs, in long runs), of half
        as many, and so on. A run with a small learning rate, which improves little but steadily,
        therefore does not count as converged. If the best loss has not improved by more than d for
        10*patience epochs, because the loss oscillates or rises, the run ends with status 5, which
        is not a success.
    gtol : float, at least 0, optional
        A run succeeds only if max(abs(grad)), over all parameters, is at most this. With `tol`, the
        default is sqrt(tol)*scale, where scale is the least of abs(loss) and the decrease of the
        loss so far, but at least 1. Without `tol`, the run converges as soon as the gradient is
        that small; this needs gradients at x, so `data`, if given, must be in one full batch. The
        gradient is that of `fun`, which `weight_decay` keeps from becoming 0.
    patience : int, at least 1, optional
        Only with `tol`. Default: round(2/(1 - beta)), where beta is the momentum or beta1 of the
        rule, but at least 5. For beta = 0.9 it is 20.
    convention : {"torch", "keras", "optax", "dl4j", "textbook"}
        The library whose formula and defaults are used: see `fastopt.create`. If the rule takes its
        gradients at the look-ahead point (the textbook's Nesterov), `fun` is evaluated there.
    line_search : bool
        Whether each learning rate is found by ``scipy.optimize.line_search`` along the negative
        gradient (the strong Wolfe conditions). Only with ``method="gd"`` and full batches, and
        without lr, schedule, checkpoint and options of a rule. Each step evaluates `fun` a few
        times, at copies of x. The run converges when max(abs(grad)) is at most `gtol`, by default
        1e-5*scale, as above. DL4J's LINE_GRADIENT_DESCENT. Default False.
    restore_best : bool
        Whether the result of a run that does not converge has the best parameters instead of the
        last ones. The best are those after the epoch with the least mean loss; without data, and
        with full batches, those with the least loss. This needs memory for another copy of the
        parameters. Default False.
    checkpoint : path, or (path, seconds), optional
        A file from which a later call with the same arguments resumes, with equal bits, however
        this call has ended, ``kill -9`` included. The file is replaced atomically after every
        epoch. With `seconds`, it is replaced after the first step that ends at least that many
        seconds after the last write, also within an epoch. It is also written when the run ends.
        See the notes.
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
        Options of the rule: see `fastopt.create`. For "ksgd", options of `fastopt.KalmanSGD`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        x : of the structure of `x0`
            The parameters after the last step, or the best with `restore_best`.  If the rule
            averages them, as `fastopt.ScheduleFreeSGD` does, `x` is the average, here and in
            callbacks.
        fun, jac
            Loss and gradient at `x`, if there are no data, or if there are full batches with `tol`,
            `gtol`, `restore_best` or `line_search`. With mini-batches, after convergence: loss and
            gradient at `x` over all rows. Otherwise, and after Ctrl-C: the mean loss of the last
            epoch and the gradient of the last step (with `restore_best`, of the best epoch). NaN
            and None before the first step. A checkpoint does not contain a `RowSparse` gradient:
            after resuming, jac is None until the next step.
        nit, nfev, njev : int
            Steps taken, including those that ``on_nonfinite="skip"`` skips; evaluations of `fun`,
            each of which has a loss and a gradient.
        success, status, message
            As in SciPy. `success` is True if a criterion of convergence is met at a finite point
            whose loss is at most that of the first epoch. See the table in the notes.
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
    **Success.** Only status 0 is a success.

    ======  =====================================================================================
    status  the run ended because
    ======  =====================================================================================
    0       `tol` is met, or `gtol` without `tol`, or the criterion of the line search
    1       `epochs` or `max_steps` is used up, as in all complete runs without `tol` and `gtol`
    2       `callback` stopped it
    3       it was interrupted (Ctrl-C)
    4       the line search found no step: grad is not the gradient of `fun`, see
            `fastopt.check_grad`, or x is a minimum to within rounding
    5       with `tol`, the best loss has not improved for 10*patience epochs
    6       the loss of an epoch, or a parameter, is not finite; a non-finite loss does not end a
            run with ``on_nonfinite="skip"``, where such a step changes nothing
    ======  =====================================================================================

    With mini-batches, the gradient is checked when the losses meet `tol`: `fun` is evaluated for
    all rows, one batch at a time, without taking steps. If the gradient is too large, the run
    continues, and the gradient is checked again after `patience` further epochs that meet `tol`. A
    rule whose steps do not become smaller, such as RMSprop with a constant learning rate,
    oscillates around a minimum without converging: use a `schedule`.

    In the mean loss of an epoch, the loss of each batch is weighted by its rows.

    An epoch that `max_steps` or Ctrl-C cuts short has an entry in the history, computed from the
    steps that were taken, but it does not count for `tol` and is not reported to `schedule`.
    `callback` is called after it if `max_steps` was the reason.

    Ctrl-C takes effect at once while `fun`, `callback` or `progress` is running, and otherwise when
    the current step is complete: no step is taken in part. The position of a `Batches` is then that
    after the last complete step. This holds for the main thread and Python's default handler of
    SIGINT; another handler is left in place.

    **Checkpoints.** The file has parameters, optimizer, position in the data, history and the state
    of `tol` and `schedule`, in the format of `Optimizer.save`. If it exists, `x0` gives the
    structure only, and the run resumes: it ends with the same bits, counts and history (except
    seconds) as a run that was never stopped, if `fun` depends on its arguments only. Structure,
    shapes and dtypes, method and options, schedule, tol, gtol, patience, restore_best, batch size
    and a given seed must be those of the file; the values of `data` are not compared. `epochs` and
    `max_steps` may differ: they count from the first start. Repeating a call that has finished
    returns the same result after at most one evaluation of each row, and a call with a larger
    budget continues the run. The file is never deleted. Epochs that ended after the file was last
    written are run again, and `callback` is called for them again. Without data every step is an
    epoch: give `seconds`, unless `fun` is slow.

    **"ksgd"** calls `KalmanSGD.partial_fit`, with the model's family, for a `fastopt.models.GLM`
    that is not "softmax". For other models it calls `KalmanSGD.update` with each batch. It needs
    data of rows and targets and, instead of `fun`, a model with
    ``mean_and_jacobian(x, X) -> (mean, jac)``, where jac is (n, p) or (n, k, p) for n rows, k
    outputs and the p numbers of `x` in their order. If the model has ``variance(mean)``, the result
    is passed to `KalmanSGD.update`; the default is 1. If it is "multinomial", targets are labels,
    the integers 0 to k - 1, or rows of k probabilities. The loss is that of the model's
    ``loss_and_grad``, if it has one, otherwise half the mean of the rows' squared residuals. There
    is no learning rate, so the history has NaN for it, and `lr`, `schedule` and `convention` are
    not allowed. `checkpoint` is not allowed either.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt import minimize, schedules
    >>> A, b = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([9.0, 8.0])
    >>> def quadratic(x):
    ...     return x @ A @ x / 2 - b @ x, A @ x - b
    >>> result = minimize(quadratic, np.zeros(2), method="momentum", lr=0.1, gtol=1e-6)
    >>> print(result.x.round(6), result.success, result.nit)
    [2. 3.] True 283
    >>> result = minimize(quadratic, np.zeros(2), method="momentum", lr=0.1, epochs=300)
    >>> print(result.success, result.message)
    False Maximum number of iterations has been reached.

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
    refuse_unknown(_KEYWORDS, options)
    loss_and_grad: Any = getattr(fun, "loss_and_grad", fun) if is_ksgd(method) else as_fun(fun)
    require_callables(callback, progress)
    best = Best() if flag("restore_best", restore_best) else None
    x = copied_start(x0)
    batches = as_batches(data, batch_size, seed)
    given = {"lr": lr, "schedule": schedule, "checkpoint": checkpoint}
    optimizer: Any
    with naming_keywords(_KEYWORDS):
        if is_ksgd(method):
            given["convention"] = None if convention == "torch" else convention
            given["line_search"] = line_search or None
            optimizer = model_filter(fun, x, batches, given, options)
        elif flag("line_search", line_search):
            require_searchable(method, batches, {**given, **options})
            optimizer = create(method, x, convention, lr=1.0)  # until the first search
        else:
            find_rule(method, convention, "method")
            optimizer = create(method, x, convention, **rate_options(lr, schedule), **options)
            refuse_options(options)
    unit = "iteration" if batches is None else "epoch"
    criteria = Criteria(
        epochs=epochs,
        max_steps=max_steps,
        tol=tol,
        gtol=gtol,
        patience=patience,
        beta=beta_of(optimizer),
        searches=line_search,
        unit=unit,
    )
    require_judged(tol, gtol, batches)

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
    line = Line(criteria.budget.epochs, unit) if progress is True else None
    show = line if isinstance(progress, bool) else progress
    watch = None if show is None and callback is None else partial(_watch, show, callback)
    with interrupts:
        file = None if checkpoint is None else RunFile(checkpoint, state, criteria, best)
        on_nonfinite = options.get("on_nonfinite", "propagate")
        run = Run(steps, state, criteria, interrupts, file, best, on_nonfinite)
        try:
            status = run.go(watch)
        finally:
            if line:
                line.close()
    result = run.result()
    result.jac = state.copied_gradient()
    result.njev = state.nfev
    result.success = status == CONVERGED
    result.status = status
    result.message = criteria.message(status, state.nit)
    return result


_KEYWORDS = [*signature(minimize).parameters][2:-1]  # without fun, x0 and options


def _watch(show: Callback | None, callback: Callback | None, state: OptimizeResult) -> bool:
    """Call ``show`` and ``callback`` with the run so far; return whether the run is to stop."""
    if show is not None:
        show(state)
    try:
        return callback is not None and bool(callback(state))
    except StopIteration:
        return True
