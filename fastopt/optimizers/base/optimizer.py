"""Optimizer: what a step is, and the public methods of every optimizer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from fastopt._checks import THREADS, default_threads, flag
from fastopt._core import Plan, assign_all
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base import averages, float8
from fastopt.optimizers.base import extras as _extras
from fastopt.optimizers.base.accumulated import Accumulated
from fastopt.optimizers.base.arguments import Extra, Grads, Key, Params
from fastopt.optimizers.base.directions import Lent, directions
from fastopt.optimizers.base.evaluation_points import EvaluationPoints
from fastopt.optimizers.base.excursion import Excursion
from fastopt.optimizers.base.groups import ParamGroup, Status, arrays_of
from fastopt.optimizers.base.lookahead import LookAhead
from fastopt.optimizers.base.names import meant
from fastopt.optimizers.base.parameters import Parameters, unpickled
from fastopt.optimizers.base.plan import plan_of
from fastopt.optimizers.base.rule import COMMON, checks_of
from fastopt.optimizers.base.state_dict import Attribute, checked, entry, state_dict_of
from fastopt.optimizers.base.structure import (
    Part,
    as_groups,
    by_decay,
    forgotten_mask,
    kind_of,
)

if TYPE_CHECKING:
    from fastopt.batching import Batches


class Optimizer(EvaluationPoints):
    """Base class of the optimizers, with everything that does not depend on the rule.

    A subclass defines its rule (see `fastopt.optimizers.base.rule.Rule`) and has a signature with
    the rule's options; `fastopt.Adam` is an example.

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
        A pair (low, high), in which None means no bound: after that, each element is clipped to
        [low, high].  ``bounds=(0, None)`` keeps parameters from becoming negative.  A float16 or
        bfloat16 parameter is rounded afterwards, so choose bounds that it can represent.  Slow
        weights (``lookahead_steps``) are clipped, too.  Default None.
    n_threads
        The number of threads of a large step.  Default: FASTOPT_NUM_THREADS, else OMP_NUM_THREADS,
        else the number of CPUs that the affinity mask and a container's quota allow.  Limits set
        with threadpoolctl apply at each step.
        A step of fewer than FASTOPT_SERIAL_BELOW elements (2**20) uses the calling thread only,
        a larger one at most 16 threads for each FASTOPT_SERIAL_BELOW elements.
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
        elements.  The path then deviates at random, with AdamW by about 10 % of its length.  State
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
        self._float8_mask = float8.checked_mask(extra.pop("float8_mask", None), extra)
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
        # Set by _set_parameters:
        self._parameters: Parameters
        self._plan: Plan
        self._scheduled: list[tuple[int, ParamGroup]]
        self._directed: list[ParamGroup]
        self.state: Mapping[Key, Mapping[str, Array]]
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

    @property
    def _counts(self) -> tuple[int, int]:
        return self.step_count, self.skipped_steps

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

    # Parameters, groups and options

    @property
    def params(self) -> Any:
        """The parameters: one array, a list or a dict, as they were given."""
        return self._parameters.in_structure(self._parameters.by_key())

    @property
    def param_groups(self) -> tuple[ParamGroup, ...]:
        """The groups: mappings from an option's name to its value, which may be set.

        Any option can follow a schedule: set it before each step.

        Examples
        --------
        >>> import numpy as np, fastopt
        >>> w = np.zeros(1)
        >>> opt = fastopt.SGD(w, lr=1.0, momentum=0.5)
        >>> for step in range(1, 4):
        ...     opt.param_groups[0]["momentum"] = min(0.9, 0.3 + 0.2 * step)
        ...     opt.step(np.ones(1))
        >>> opt.param_groups[0]["momentum"]
        0.9
        """
        return self._parameters.groups

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters, which may have other options.

        Parameters
        ----------
        group
            ``"params"`` (a list, or a dict if the optimizer was given one) and any of the rule's
            options; the others have the values that the optimizer was made with.  Gradients must be
            bound again.

        Raises
        ------
        FastoptError, TypeError
            Options, parameters or a structure that the constructor would not accept either.  The
            optimizer is unchanged then.
        """
        plan = self._plan
        with plan.during("add_param_group()"):
            self._excursion.require_back()
            if self._parameters.kind == "array":
                raise FastoptError(
                    "this optimizer was given one array; make it with a list instead"
                )
            before = self._parameters, plan
            self._set_parameters(self._with_group(before[0], group), self._counts, before)
            plan.retire()  # for a thread that has already read self._plan: it gets an error

    def _with_group(self, parameters: Parameters, group: Mapping[str, Any]) -> Parameters:
        found = parameters.with_group(
            group,
            self._status,
            defaults=self._defaults,
            split=self._split,
            float8_mask=self._float8_mask,
            extras=self._extras,
        )
        for new in found.groups[len(parameters.groups) :]:
            averages.require_no_other(new.rule, new.options, self._extras)
        return found

    def _split(self, group: Mapping[str, Any], params: Mapping[Any, Array]) -> list[Part]:
        """Split a group into groups of parameters that have the same options."""
        return [
            part
            for of_decay, places in by_decay(group, params, self._mask)
            for part in self._by_kind(of_decay, {place: params[place] for place in places})
        ]

    def _by_kind(self, group: Mapping[str, Any], params: Mapping[Any, Array]) -> list[Part]:
        """Split a group by the kernel that updates its parameters, if a rule has several."""
        return [(group, [*params])]

    def _set_parameters(
        self,
        parameters: Parameters,
        counts: tuple[int, int],
        before: tuple[Parameters, Plan] | None = None,
    ) -> None:
        """Set the parameters and everything that depends on them.

        A KeyboardInterrupt is raised before or after, never in between.  before: see `plan_of`.
        """
        plan = plan_of(parameters, self._extras, self._n_threads, before)
        plan.counts.steps, plan.counts.skipped = counts
        groups = enumerate(parameters.groups)
        attributes: list[Attribute] = [
            (self, "_parameters", parameters),
            (self, "_plan", plan),
            (self, "_scheduled", [(i, group) for i, group in groups if group.schedule is not None]),
            (self, "_directed", [g for g in parameters.groups if self._direction(g.options)]),
            (self, "state", parameters.views(getattr(self, "state", None))),
            (self._status, "counts", plan.counts),
            (self._status, "changes", [True]),
        ]
        assign_all([], attributes)

    @property
    def step_count(self) -> int:
        """The number of steps taken, including those in which no parameter had a gradient."""
        return self._plan.counts.steps

    @property
    def skipped_steps(self) -> int:
        """The number of steps skipped because a gradient was not finite."""
        return self._plan.counts.skipped

    @property
    def grad_norm(self) -> float:
        """The norm of the last step's gradients before clipping; NaN if it was not computed.

        It is computed for `max_grad_norm`, and if `on_nonfinite` is not "propagate".  The order of
        its sum depends on the gradients' shapes and strides, so another memory layout may change
        the last digits.
        """
        return self._plan.grad_norm

    @property
    def lr(self) -> float:
        """The learning rate of the next step; setting it sets that of every group.

        Raises
        ------
        FastoptError
            Read when groups have different learning rates, or set when one has a schedule.
        """
        rates = {float(group["lr"]) for group in self.param_groups}
        if len(rates) > 1:
            raise FastoptError(f"groups have learning rates {sorted(rates)}; see param_groups")
        return rates.pop() if rates else float("nan")

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            if group.schedule is not None:
                raise FastoptError(f"lr follows {group.schedule!r}; it cannot be set")
        for group in self.param_groups:
            group["lr"] = value

    @property
    def extras(self) -> Mapping[str, Any]:
        """The options that are the same for all parameters, by name."""
        return MappingProxyType(self._extras)

    @property
    def grad_scale(self) -> float:
        """The factor that the gradients were multiplied by; may be set between steps."""
        return float(self._extras["grad_scale"])

    @grad_scale.setter
    def grad_scale(self, value: float) -> None:
        changed = {**self._extras, "grad_scale": _extras.CHECKS["grad_scale"]("grad_scale", value)}
        self._plan.set_extras(_extras.for_c(changed))
        self._extras = changed

    def __setattr__(self, name: str, value: object) -> None:
        # Properties check their values themselves, and private names need no check.
        if not (name.startswith("_") or hasattr(type(self), name)):
            if name in self._only_at_start or name in Extra.__annotations__.keys() - COMMON:
                raise FastoptError(
                    f"{name} can only be set when an optimizer is made; make a new optimizer"
                )
            if name in COMMON or name in self._checks:
                raise FastoptError(f"{name} is an option of groups: set param_groups[i][{name!r}]")
            if name == "state":
                raise AttributeError("state cannot be set; write into its arrays, or load a state")
            known = [*dir(type(self)), *checks_of(type(self)), *Extra.__annotations__]
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}{meant(name, known)}"
            )
        super().__setattr__(name, value)

    def sync_master(self) -> None:
        """Copy the parameters into their float32 masters; call it after writing to parameters."""
        with self._plan.during("sync_master()"):
            self._excursion.require_back()
            for key, w in self._parameters.by_key().items():
                if "master" in self._parameters.arrays[key]:
                    self._parameters.arrays[key]["master"][...] = w

    # Saving, loading and copying

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that `load_state_dict` needs, in PyTorch's layout.

        ``{"rule", "step_count", "state": {key: {"step", ...}}, "param_groups": [{...}]}``

        Returns
        -------
        dict
        """
        with self._plan.during("state_dict()"):
            return self._saved()

    def _saved(self) -> dict[str, Any]:
        return state_dict_of(self._parameters, self.state, self._accumulated.sums, self._counts)

    def load_state_dict(self, state_dict: Mapping[str, Any], *, options: bool = True) -> None:
        """Load the result of `state_dict`, from an optimizer of the same class and shapes.

        Groups and parameters correspond by name, in any order, if parameters have names (a dict, or
        a dict in each group), else by their order.

        A state dict of the class of torch.optim with the same name can be loaded too: its tensors
        become state and its options become options, without ``foreach`` and the like.  Parameters
        correspond by name if both sides have names (PyTorch's from ``named_parameters()``, ours
        from a dict), else by their order.  Options that PyTorch lacks get the values that give its
        formula.  A schedule of this optimizer continues from the largest ``step`` found (PyTorch's
        SGD counts none).

        Parameters
        ----------
        state_dict : dict
        options
            Whether to load options, such as the learning rate, and the state of schedules.  If
            False, only the state of the parameters, accumulated gradients and the numbers of steps
            are loaded.  Groups may then differ if the parameters are a dict.

        Raises
        ------
        FastoptError
            The rule, groups, parameters, shapes, dtypes or options do not match.  The optimizer is
            unchanged then.
        """
        with self._plan.during("load_state_dict()"):
            self._excursion.require_back()
            self._load(state_dict, options=flag("options", options))

    def _load(
        self,
        state_dict: object,
        values: object = None,
        others: list[Attribute] | None = None,
        *,
        options: bool = True,
    ) -> None:
        """Load a state dict and values of the parameters, and set the attributes in `others`."""
        loaded = checked(self._parameters, self.state, state_dict, values, options)
        loaded.write(
            [
                *(others or []),
                (self._plan.counts, "steps", loaded.step_count),
                (self._plan.counts, "skipped", loaded.skipped_steps),
                (self._accumulated, "sums", loaded.sums),
                (self._ahead, "taken_at", None),  # gradients were taken at other parameters
                (self._status, "changes", [True]),
            ]
        )

    def save(self, path: str | os.PathLike[str], *, batches: Batches | None = None) -> None:
        """Write the parameters and the `state_dict` to a file for `load`; see `fastopt.checkpoint`.

        An existing file is replaced atomically: a reader finds the old or the new contents, even
        after a crash.  Its permissions are kept, and a link to it stays a link.

        Parameters
        ----------
        path
            If it ends in .safetensors, the file has that format (``pip install '.[checkpoint]'``),
            else NumPy's .npz.  The file contains no pickled objects.
        batches
            Their position in the epoch is saved in the same file.

        Raises
        ------
        FastoptError, OSError
            The call is inside `extrapolated` or `averaged`, safetensors is missing, or the file
            cannot be written.

        Examples
        --------
        >>> import numpy as np, fastopt
        >>> w = np.ones(3)
        >>> opt = fastopt.Adam(w, lr=0.1)
        >>> opt.step(np.ones(3))
        >>> opt.save("adam.npz")
        >>> other = np.zeros(3)
        >>> resumed = fastopt.Adam(other)
        >>> resumed.load("adam.npz")
        >>> resumed.step(np.ones(3)), opt.step(np.ones(3))
        (None, None)
        >>> bool((other == w).all()), resumed.lr
        (True, 0.1)
        """
        from fastopt import checkpoint

        with self._plan.during("save()"):
            self._excursion.require_back()
            checkpoint.write(path, "optimizer", all_of(self, batches))

    def load(
        self,
        path: str | os.PathLike[str],
        *,
        batches: Batches | None = None,
        options: bool = True,
    ) -> None:
        """Load what `save` wrote: parameters (in place), state, options and steps, bit for bit.

        The optimizer must be of the same class and have parameters of the same shapes and dtypes in
        the same groups.  Options become those of the file, as in `load_state_dict`.  The options
        that all parameters share, such as `seed` and `max_grad_norm`, stay as they are.

        Parameters
        ----------
        path : str or path
        batches
            Batches of the same rows and options, which resume from the saved position.  If it is
            None, a saved position is ignored.
        options
            As in `load_state_dict`; False keeps the options of this optimizer.

        Raises
        ------
        FastoptError, OSError
            The file is damaged or of another kind, belongs to another optimizer or other batches,
            or has no position although `batches` is given.  Parameters, optimizer and batches are
            unchanged then.
        """
        from fastopt import checkpoint

        options = flag("options", options)
        with self._plan.during("load()"):
            self._excursion.require_back()
            saved = checkpoint.read(path, "optimizer")
            if batches is not None and saved.get("batches") is None:
                raise FastoptError(f"{os.fspath(path)} was saved without batches")
            with checkpoint.loading(path):
                load_all(self, saved, batches, options)

    def __getstate__(self) -> dict[str, Any]:
        unchanged = self._plan.watch()
        self._excursion.require_back()
        return {
            "defaults": self._defaults,
            "n_threads": self._n_threads,
            "extras": self._extras,
            "sums": self._accumulated.sums,
            "has_mask": self._mask is not None,
            "has_float8_mask": self._float8_mask is not None,
            "counts": self._counts,
            "gradients_at": self._ahead.taken_at,
            **self._parameters.pickled(),
            "bound": self._plan.gradients,
            "unchanged": unchanged,  # last: it is pickled after the arrays
        }

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        self._defaults = pickled["defaults"]
        self._n_threads = min(pickled["n_threads"], THREADS.high)  # saved by another machine
        self._extras = pickled["extras"]
        sums = pickled["sums"]
        self._accumulated = Accumulated({key: np.array(total) for key, total in sums.items()})
        self._mask = forgotten_mask if pickled["has_mask"] else None
        self._float8_mask = float8.forgotten_mask if pickled["has_float8_mask"] else None
        self._excursion = Excursion()
        self._ahead = LookAhead(pickled["gradients_at"])
        self._must_prepare = False
        self._status = Status()
        self._set_parameters(unpickled(type(self), self._status, pickled), pickled["counts"])
        if pickled["bound"] is not None:
            self._plan.bind_in_order(pickled["bound"])

    def __copy__(self) -> Optimizer:
        raise TypeError(
            f"copy.copy of {type(self).__name__} would share arrays but not counts; use "
            "copy.deepcopy, of optimizer and parameters together if the copy is to be stepped too"
        )

    def __repr__(self) -> str:
        arrays = self._parameters.by_key().values()
        size = sum(w.size for w in arrays)
        lines = [
            f"{type(self).__name__}: {len(arrays)} parameter{'s'[: len(arrays) != 1]}, "
            f"{size:,} elements, {self.step_count:,} step{'s'[: self.step_count != 1]} taken"
        ]
        for i, group in enumerate(self.param_groups):
            head = f"  group {i}: " if len(self.param_groups) > 1 else "  "
            lines.append(
                head + ", ".join(f"{name}={value!r}" for name, value in group.shown().items())
            )
        return "\n".join(lines)


# Functions for other modules of fastopt


def dense_gradients(optimizer: Optimizer, grads: Grads) -> list[Array | None]:
    """Return checked dense gradients as arrays, in the order of `groups.arrays_of`."""
    return optimizer._plan.as_arrays(grads)


def all_of(optimizer: Optimizer, batches: Batches | None) -> dict[str, Any]:
    """Return what `load_all` needs; it contains the parameters themselves, not copies.

    The caller must be inside `Plan.during`, or no other thread may use the optimizer.
    """
    return {
        "params": arrays_of(optimizer.param_groups),
        "optimizer": optimizer._saved(),
        "batches": None if batches is None else batches.state_dict(),
    }


def load_all(
    optimizer: Optimizer, saved: Mapping[str, Any], batches: Batches | None, options: bool = True
) -> None:
    """Load the result of `all_of`, and the position in the epoch if batches are given."""
    state_dict, values = (entry("", saved, name) for name in ("optimizer", "params"))
    position = [] if batches is None else batches.attributes_at(entry("", saved, "batches"))
    optimizer._load(state_dict, values, position, options=options)
