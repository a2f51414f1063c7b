"""Optimizer: what a step is, and the arguments of every optimizer."""

from __future__ import annotations

from typing import Any, Unpack

from fastopt._checks import THREADS, default_threads
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base import extras as _extras
from fastopt.optimizers.base.arguments import Extra, Grads, Params
from fastopt.optimizers.base.directions import Lent, directions
from fastopt.optimizers.base.points.excursion import Excursion
from fastopt.optimizers.base.points.lookahead import LookAhead
from fastopt.optimizers.base.rule import checks_of
from fastopt.optimizers.base.saving import Saving
from fastopt.optimizers.base.state.accumulated import Accumulated
from fastopt.optimizers.base.state.float8 import checked_mask
from fastopt.optimizers.base.state.groups import Status
from fastopt.optimizers.base.state.parameters import Parameters
from fastopt.optimizers.base.state.structure import as_groups, kind_of


class Optimizer(Saving):
    """Base class of the optimizers, with everything that does not depend on the rule.

    A subclass is an update rule, whose formula is in C, and has the options of the rule as
    arguments; `fastopt.Adam` is an example.

    Parameters
    ----------
    params
        Arrays to update in place: writeable, of any memory layout, float32, float64, float16 or
        bfloat16 (of ml_dtypes); the last two are computed in float32.  One array, a list, a dict
        from name to array, or a list of group dicts: ``{"params": [...], "lr": 0.1, ...}``.  Give
        None as the gradient of a parameter that should not change in a step.  Leave out a parameter
        that never changes; `add_param_group` can add it later.
    options
        The options of the rule by name, which a subclass passes.  A parameter that is not float64
        is computed in float32.  An option that would be infinite in float32, such as lr=1e39,
        raises an error, also if a schedule returns it; so does an eps > 0 that would be 0.  eps=0
        is allowed, as in PyTorch, with a UserWarning if the rule can then divide 0 by 0.
    decoupled_weight_decay
        False: ``weight_decay * w`` is added to the gradient.  True or "lr": instead, before the
        rule's own update, w <- w * (1 - lr*weight_decay).  "schedule_only": w <- w * (1 -
        lr/lr_base*weight_decay), where lr_base is the learning rate at construction or the
        schedule's attribute ``lr`` (Loshchilov & Hutter 2019).  "proximal": after the rule's own
        update, w <- w / (1 + lr*weight_decay), the proximal operator of weight_decay*w^2/2.
    **extra
        The options below, which are the same for all parameters.
    weight_decay_mask
        For a dict of parameters, or group dicts that contain dicts: a callable that takes a name
        and returns whether that parameter decays.  It applies to groups added later too.
        Parameters that do not decay form a separate group with weight_decay 0.  By default all
        decay.  Pickles and copies do not contain the mask: a group that is added to a copy must
        give its weight_decay.
    maximize
        Whether the gradient is negated before anything else.  Default False.
    l1
        >= 0.  After the rule's own update, each element is moved towards 0 by lr*l1, and becomes 0
        if it is not farther from 0 than that: the proximal operator of the penalty l1*abs(w).
        With gradient descent this is proximal gradient descent, which finds the lasso's minimum.
        Rules that scale each element, such as Adam, have other minima.  Default 0.
    bounds
        A pair (low, high), in which None means no bound: after the update of the rule and `l1`,
        each element is clipped to [low, high].  ``bounds=(0, None)`` keeps parameters from becoming
        negative.  A float16 or bfloat16 parameter is rounded afterwards, so choose bounds that it
        can represent.  Slow weights (``lookahead_steps``) are clipped, too.  Default None.
    n_threads
        The number of threads of a large step.  Default: FASTOPT_NUM_THREADS, else OMP_NUM_THREADS,
        else the number of CPUs that the affinity mask and a container's quota allow.  Limits set
        with threadpoolctl apply at each step.
        A step of Adam of fewer than FASTOPT_SERIAL_BELOW elements (1,000,000) uses the calling
        thread only, and so does a step of another rule that reads and writes fewer numbers than
        that (SGD: 2,333,334 elements); a larger one uses at most 16 threads for each
        FASTOPT_SERIAL_BELOW such elements.
        The maximum is 64, or four per CPU if that is more: OpenMP ends a process whose limit of
        threads is exceeded.
    grad_scale
        The factor that the gradients were multiplied by (loss scaling).  The step first divides
        them by it, in the precision of the computation: float64 gradients of float32 parameters
        are rounded to float32 before that.  2**-126 to 2**126; may be set later.  Default 1.
    max_grad_norm
        Then, all gradients are multiplied by min(1, max_grad_norm / (norm + 1e-6)), where norm is
        the Euclidean norm of all of them together, as torch.nn.utils.clip_grad_norm_ does.
    max_grad_value
        Then, each element is clipped to [-max_grad_value, max_grad_value].
    on_nonfinite
        What happens if a gradient, divided by `grad_scale`, contains NaN or infinity: "propagate"
        does nothing special, "raise" raises an error that names the parameter and the first such
        element, and "skip" skips the step, which changes nothing except `skipped_steps`.
    zero_grads
        Whether the step sets the gradients to 0 after using them, also if it is skipped.  Sparse
        gradients (`RowSparse`, ``scipy.sparse``) are not changed.
    ema_decay
        Keep an average of each parameter over steps, ema <- ema + (1 - ema_decay) * (w - ema),
        which starts at the parameter.  See `ema` and `averaged`.
    ema_warmup
        Whether step t = 1, 2, ... uses the decay min(ema_decay, (1 + t)/(10 + t)), so that the
        initial parameters soon lose their weight in the average.  This is ``num_updates`` of
        TensorFlow's tf.train.ExponentialMovingAverage.  Default False.
    lookahead_steps, lookahead_alpha
        Lookahead (Zhang et al. 2019) around the rule: at every lookahead_steps-th step of a
        parameter, after the update, slow <- slow + lookahead_alpha * (w - slow) and w <- slow.
        The slow weights start at the parameter.  Default None (no Lookahead) and 0.5; 5 or 10
        steps are usual.
    state_dtype
        "bfloat16" halves the memory of float32 state, which is then rounded stochastically.
        "float8" divides it by almost four, for Adam, AdamW, Lion, SGD with momentum and Adagrad:
        each element has 8 bits, and each row (an index of axis 0) a further byte for every 256
        elements.  Rounding then adds noise to the path, with AdamW about 10 % of its length.  State
        of fewer than 4096 elements is float32.  See `float32_state`.
    float8_mask
        For a dict of parameters: a callable that takes a name and returns whether the state of that
        parameter has 8 bits; the others have float32 state.  Authors of 8-bit optimizers advise to
        leave out embeddings.  Default: all.
    master
        "float32": float16 and bfloat16 parameters are rounded copies of float32 ones, which the
        optimizer keeps and updates; see `sync_master`.
    rounding
        "nearest" or "stochastic": how float16 and bfloat16 parameters are rounded.  Stochastic
        rounding rounds up with a probability proportional to the part that is cut off, so that
        small steps add up.  A value between 65504, the largest finite float16, and 65536 becomes
        infinite with that probability.
    seed
        The seed of stochastic rounding, whose random bits depend on seed, step, parameter and
        element.  Default 0.

    Attributes
    ----------
    params
        The parameters, in the container in which they were given.
    state
        A mapping from the index of a parameter, or its name for a dict, to its state: a mapping
        from PyTorch's name of a state to its array, and ``"step"``.  Writing into an array changes
        the state; the mappings are read-only.
    param_groups
        A tuple of mappings from an option's name to its value; setting one takes effect at the next
        step.
    step_count, lr
        The number of steps taken, and the learning rate of the next step.

    Setting any other attribute raises AttributeError, so that a misspelt name is not ignored.  In a
    subclass, attributes that the class body defines can be set, and names that begin with an
    underscore.

    Raises
    ------
    FastoptError, TypeError
        From any method, for an argument that is not allowed; nothing has been changed then.

    Notes
    -----
    Only one thread at a time may use an optimizer.  While `step`, `bind`, `accumulate`,
    `zero_grad`, `save`, `load`, `state_dict`, `load_state_dict`, `add_param_group` or `sync_master`
    runs, calling any of them in another thread raises FastoptError.  Pickling and ``copy.deepcopy``
    raise it if another thread changes the optimizer meanwhile.  Different optimizers may be used in
    different threads.

    Examples
    --------
    Decay the weights only, and add a layer with another learning rate:

    >>> import numpy as np, fastopt
    >>> params = {"weight": np.ones(2), "bias": np.ones(2)}
    >>> opt = fastopt.AdamW(params, lr=0.1, weight_decay_mask=lambda name: name != "bias")
    >>> opt.add_param_group({"params": {"head": np.ones(2)}, "lr": 0.01})
    >>> [(list(g.arrays), g["lr"], g["weight_decay"]) for g in opt.param_groups]
    [(['weight'], 0.1, 0.01), (['bias'], 0.1, 0.0), (['head'], 0.01, 0.01)]
    >>> opt.step({"weight": np.zeros(2), "bias": np.zeros(2), "head": None})
    >>> params
    {'weight': array([0.999, 0.999]), 'bias': array([1., 1.])}
    """

    def __init__(
        self,
        params: Params,
        options: dict[str, Any],
        *,
        decoupled_weight_decay: bool | str = False,
        **extra: Unpack[Extra],
    ) -> None:
        self._defaults = {
            **options,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": extra.pop("maximize", False),
            "l1": extra.pop("l1", 0.0),
            "bounds": extra.pop("bounds", None),
        }
        self._mask = extra.pop("weight_decay_mask", None)
        if not (self._mask is None or callable(self._mask)):
            raise TypeError(
                f"weight_decay_mask is {self._mask!r}; a callable that takes a name is needed"
            )
        self._float8_mask = checked_mask(extra.pop("float8_mask", None), extra)
        n_threads = extra.pop("n_threads", None)
        self._n_threads = (
            default_threads() if n_threads is None else THREADS("n_threads", n_threads)
        )
        self._extras = _extras.checked(extra, [*checks_of(type(self)), *options])
        self._accumulated = Accumulated()
        self._excursion = Excursion()
        self._ahead = LookAhead()
        self._must_prepare = False
        self._status = Status()
        parameters = Parameters(type(self), kind_of(params))
        for group in as_groups(params, parameters.kind):
            parameters = self._with_group(parameters, group)
        self._set_parameters(parameters, (0, 0))

    # Steps

    def step(self, grads: Grads = None) -> None:
        """Update every parameter in place.

        Parameters
        ----------
        grads
            In the structure of ``params``: an array, a list or a dict; with groups, one flat list
            in their order.  Gradients may have any memory layout and floating dtype, and may be
            anything with ``__array__`` or ``__dlpack__``, PyTorch's bfloat16 included.  None in
            place of a gradient leaves that parameter, its state and its step unchanged.  Without an
            argument, the gradients given to `bind` are used.

        Raises
        ------
        FastoptError, TypeError
            A gradient is missing, has the wrong shape, or shares memory that the step writes to.
            Nothing has been changed then.
        """
        if self._accumulated.sums:
            self._step_with_accumulated(grads)
        elif self._status.changes or self._must_prepare or self._scheduled:
            with self._plan.during("step()"):
                self._step_in_call(grads)
        else:
            self._plan.step(grads, None, None)

    def _step_in_call(self, grads: Grads) -> None:
        changes = self._status.changes
        seen = len(changes)
        if seen or self._must_prepare:
            self._prepare()
        options = [group.for_c() for group in self.param_groups] if seen else None
        self._plan.step_in_call(grads, options, self._rates(), self._directions(grads))
        del changes[:seen]  # after the step; others may have been set during it

    def _prepare(self) -> None:
        """Do the work that only some steps need, and record whether the next step needs it too."""
        looks_ahead = self.looks_ahead
        if looks_ahead:
            self._ahead.require_taken(self.step_count, self._excursion.block == "extrapolated()")
        self._excursion.require_back()
        decay = _extras.ema_decay_of_step(self._extras, self.step_count + 1)
        self._plan.ema_decay = decay
        warms_up = decay != (self._extras["ema_decay"] or 0.0)
        self._must_prepare = looks_ahead or warms_up or bool(self._directed)

    def _directions(self, grads: Grads) -> Lent | None:
        """Return the directions of matrices in the next step, or None if there are none."""
        if not self._directed:
            return None
        own = self._parameters, self._directed, self._plan, self._extras, self._n_threads
        return directions(*own, grads)

    def _step_with_accumulated(self, grads: Grads) -> None:
        if grads is not None:
            raise FastoptError(
                "gradients have been accumulated; accumulate these too, then call step()"
            )
        with self._plan.during("step()"):
            if not (sums := self._accumulated.sums):  # another thread has just used them
                self._step_in_call(None)
                return
            given = self._parameters.in_structure(
                {key: sums.get(key) for key in self._parameters.by_key()}
            )
            self._accumulated.use(lambda: self._step_in_call(given), lambda: self._counts)

    def _rates(self) -> list[tuple[int, float]]:
        """Return the learning rates of the groups that have a schedule."""
        return [(i, group["lr"]) for i, group in self._scheduled]

    def bind(self, grads: Grads) -> None:
        """Use these arrays as the gradients of every later ``step()``; the caller refills them.

        Parameters
        ----------
        grads
            As for `step`, but dense; None for a parameter without a gradient.

        Raises
        ------
        FastoptError, TypeError
            As from `step`.  Also for a gradient that cannot be refilled, because only a copy of it
            can be read: a number, a sparse gradient, or an object that makes a new array each time.
            The gradients that were bound before remain bound.
        """
        self._plan.bind(grads)

    def accumulate(self, grads: Grads) -> None:
        """Add gradients to a sum, which the next ``step()`` without an argument uses.

        Parameters
        ----------
        grads
            As for `step`, but dense.  The sum is float32, or float64 for a float64 parameter.  None
            adds nothing.  As long as nothing has been added, ``step()`` uses the bound gradients.

        Raises
        ------
        FastoptError, TypeError
            As from `step`; nothing has been added then.

        Examples
        --------
        >>> import numpy as np, fastopt
        >>> w = np.zeros(2)
        >>> opt = fastopt.SGD(w, lr=1.0)
        >>> opt.accumulate(np.array([1.0, 2.0]))
        >>> opt.accumulate(np.array([3.0, 4.0]))
        >>> opt.step()
        >>> w
        array([-4., -6.])
        """
        with self._plan.during("accumulate()"):
            self._accumulated.add(self._parameters.by_key(), self._plan.as_arrays(grads))

    def zero_grad(self) -> None:
        """Set the bound gradients to 0, and discard the accumulated ones.

        Raises
        ------
        FastoptError
            No gradients are bound or accumulated, or a bound one is read-only.
        """
        with self._plan.during("zero_grad()"):
            bound = [grad for grad in self._plan.gradients or () if grad is not None]
            if self._plan.gradients is None and not self._accumulated.sums:
                raise FastoptError("zero_grad() clears bound gradients; bind(grads) first")
            for grad in bound:
                if not grad.flags.writeable:
                    raise FastoptError("a bound gradient is read-only; it cannot be set to 0")
            for grad in bound:
                grad.fill(0.0)
            self._accumulated.sums = {}


# For other modules of fastopt


def dense_gradients(optimizer: Optimizer, grads: Grads) -> list[Array | None]:
    """Return checked dense gradients as arrays, in the order of `groups.arrays_of`."""
    return optimizer._plan.as_arrays(grads)
