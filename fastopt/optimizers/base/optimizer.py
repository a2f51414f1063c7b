"""Optimizer: what a step is, whatever its rule, and the doors to all that surrounds it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

import fastopt._core as _core
from fastopt._checks import THREADS, Check, default_threads
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import Array, computed_in, own_array
from fastopt.optimizers.base import extras as _extras
from fastopt.optimizers.base import state_arrays as _state_arrays
from fastopt.optimizers.base import state_dict as _state_dict
from fastopt.optimizers.base.extras import Extra
from fastopt.optimizers.base.groups import COMMON, ParamGroup, Schedule, arrays_of
from fastopt.optimizers.base.lookahead import LookAhead, point
from fastopt.optimizers.base.parameters import Parameters
from fastopt.optimizers.base.structure import as_groups, forgotten_mask, kind_of

if TYPE_CHECKING:
    from fastopt.batching import Batches

Params = Any  # an array, a list of arrays, a dict name -> array, or a list of group dicts
Grads = Any  # the structure of the parameters; None for one leaves its tensor alone
Lr = float | Schedule


class Common(Extra, total=False):
    """The keywords that every optimizer takes besides those of its rule."""

    decoupled_weight_decay: bool | str


class Optimizer:
    """Base of the optimizers: everything but the facts of a rule.

    A subclass states the checks of its options, the kernel that they select, and what the kernel
    is told; see `fastopt.Adam`.

    Parameters
    ----------
    params
        Arrays to update in place, writeable, of any layout: float32, float64, or float16 and
        bfloat16 (of ml_dtypes), which are computed in float32.  One array, a list, a dict name ->
        array, or a list of group dicts: ``{"params": [...], "lr": 0.1, ...}``.  A parameter that is
        to stay as it is for some steps has None for its gradient; one that never moves is left
        out, and can join later by `add_param_group`.
    decoupled_weight_decay
        False: ``weight_decay * w`` is added to the gradient.  True or "lr": instead, before the
        rule's own update, w <- w * (1 - lr*weight_decay).  "schedule_only": w <- w * (1 -
        lr/lr_base*weight_decay), where lr_base is the learning rate at construction or the
        schedule's attribute ``lr`` (Loshchilov & Hutter 2019).
    weight_decay_mask
        For a dict of parameters, or group dicts of them: says by the name whether one decays, also
        of groups added later.  Those that do not are a group of their own, with weight_decay 0.
        By default all decay.  A pickle or copy does not keep it: a group added to one says its
        weight_decay itself.
    maximize
        Whether the gradient is negated first of all.  Default False.
    n_threads
        Threads of a large step.  Default: FASTOPT_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs
        that affinity and a container's quota leave; threadpoolctl's limits act at each step.
        Steps of fewer than FASTOPT_SERIAL_BELOW elements (2**20) are the calling thread's.
    grad_scale
        The gradients were multiplied by it (loss scaling); the step divides by it first of all,
        in the precision that it computes in: float64 gradients of float32 parameters are rounded
        to float32 before.  2**-126 to 2**126; may be set later.  Default 1.
    max_grad_norm
        Then, all gradients are multiplied by min(1, max_grad_norm / (norm + 1e-6)), where norm is
        the Euclidean norm of all of them together, as torch.nn.utils.clip_grad_norm_ does.
    max_grad_value
        Then, each element is brought into [-max_grad_value, max_grad_value].
    on_nonfinite
        What a NaN or an infinity in any gradient does: "propagate" (nothing special), "raise" an
        error that names the parameter, or "skip" the step: nothing is changed but `skipped_steps`.
    zero_grads
        Whether the step sets the gradients to 0 when it has used them, also if it is skipped; not
        those of some rows (`RowSparse`, ``scipy.sparse``), which are made anew for each step.
    ema_decay
        Keep an average of each parameter over steps, ema <- ema_decay * ema + (1 - ema_decay) * w;
        it starts at the parameter. See `ema`.
    state_dtype
        "bfloat16" halves the memory of float32 state; it is rounded stochastically.
    master
        "float32": float16 and bfloat16 parameters are copies of float32 ones that the optimizer
        keeps and updates; see `sync_master`.
    rounding
        "nearest" or "stochastic": how float16 and bfloat16 parameters are rounded. Stochastic
        rounding goes up in proportion to what is cut off, so that small steps add up. A float16
        between its largest, 65504, and 65536 becomes infinite in that proportion.
    seed
        Of stochastic rounding: bits drawn for each seed, step, parameter and element. Default 0.

    Attributes
    ----------
    params
        The parameters, in the form in which they were given.
    state
        By index, or name for a dict: a mapping from PyTorch's name of a state to its array, and
        ``"step"``.  The arrays are live; the mapping can not be changed.
    param_groups
        A tuple of mappings from an option's name to its value; setting one acts at the next step.
    step_count, lr
        See below.

    Raises
    ------
    FastoptError, TypeError
        From any method, for what it can not do; nothing has been changed then.

    Examples
    --------
    Decay of the weights alone, and a layer that joins later with a rate of its own:

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

    checks: ClassVar[Mapping[str, Check]] = {}
    only_at_start: ClassVar[frozenset[str]] = frozenset()  # options that later can not act
    saved_scalar: ClassVar[str | None] = None

    @staticmethod
    def kernel(options: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Return the rule in csrc/rules.def and PyTorch's names for its state arrays."""
        raise NotImplementedError

    @staticmethod
    def hyperparameters(options: Mapping[str, Any]) -> dict[str, float]:
        """Return the kernel's hyperparameters that are not options of the same name."""
        return {}

    @staticmethod
    def by_row(options: Mapping[str, Any]) -> str | None:
        """Return the name of the state that has one number for each row, if there is one."""
        return None

    @staticmethod
    def require(options: Mapping[str, Any]) -> None:
        """Refuse options that have no agreed meaning together."""

    @staticmethod
    def initial_state(options: Mapping[str, Any]) -> dict[str, float]:
        """Return the values that state arrays start with where it is not 0."""
        return {}

    @staticmethod
    def lookahead(options: Mapping[str, Any]) -> tuple[str, float] | None:
        """Return the state array and its factor that `extrapolated` subtracts, if it is needed."""
        return None

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
        }
        self._mask = extra.pop("weight_decay_mask", None)
        if not (self._mask is None or callable(self._mask)):
            raise TypeError(
                f"weight_decay_mask is {self._mask!r}; a callable, name -> bool, is needed"
            )
        n_threads = extra.pop("n_threads", None)
        self._n_threads = (
            default_threads() if n_threads is None else THREADS("n_threads", n_threads)
        )
        self._extras = _extras.checked(extra, [*COMMON, *self.checks])
        self._parameters = Parameters(kind_of(params))
        self._sums: dict[int | str, Array] = {}  # of the gradients given to `accumulate`
        self._ahead = LookAhead()
        self._must_look_ahead = False
        for group in as_groups(params, self._parameters.kind):
            self._append(group)
        self._build(step_count=0)

    def __setattr__(self, name: str, value: object) -> None:
        if not hasattr(type(self), name):  # a property knows for itself
            if name in self.only_at_start or name in Extra.__annotations__.keys() - COMMON:
                raise FastoptError(f"{name} is set at construction alone; make a new optimizer")
            if name in COMMON or name in self.checks:
                raise FastoptError(f"{name} is an option of groups: set param_groups[i][{name!r}]")
        super().__setattr__(name, value)

    # Parameters and groups

    @property
    def param_groups(self) -> tuple[ParamGroup, ...]:
        """The groups: mappings from an option's name to its value, which acts when it is set."""
        return self._parameters.groups

    @property
    def params(self) -> Any:
        """The parameters: one array, a list or a dict, as they were given."""
        return self._parameters.in_structure(self._parameters.by_key())

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own.

        Parameters
        ----------
        group
            ``"params"`` (a list, or a dict where the optimizer was given one) and any of the
            rule's options; the others are those the optimizer was made with.  Gradients that were
            bound must be bound anew.

        Raises
        ------
        FastoptError, TypeError
            Options, parameters or a structure that the optimizer could not have been made with.
            It is unchanged then.
        """
        self._plan.require_idle()
        if self._parameters.kind == "array":
            raise FastoptError("this optimizer was given one array; make it with a list instead")
        before = dict(self.__dict__)
        try:
            self._append(group)
            self._build(self.step_count, self.skipped_steps)
        except BaseException:
            self.__dict__.update({**before, "options_changed": True})
            raise

    def _append(self, group: Mapping[str, Any]) -> None:
        self._parameters = self._parameters.with_group(self, group, self._defaults, self._mask)

    def _build(self, step_count: int, skipped_steps: int = 0) -> None:
        """Describe everything to C."""
        own = self._parameters
        params = own.by_key()
        group_of = {key: i for i, group in enumerate(own.groups) for key in group.arrays}
        by_row = [self.by_row(group.options) for group in own.groups]
        arrays = [_state_arrays.for_c(own.arrays[key], by_row[group_of[key]]) for key in params]
        self._plan = _core.Plan(
            own.kind,
            list(params.values()),
            [f"parameter {key!r}" for key in params],
            [own.places[key][0] for key in params],
            [own.places[key][1] for key in params],
            [states for states, _ in arrays],
            [added for _, added in arrays],
            [own.scalars[key] for key in params],
            [group_of[key] for key in params],
            len(own.groups),
            self._n_threads,
        )
        self._plan.set_extras(_extras.for_c(self._extras))
        self._plan.step_count, self._plan.skipped_steps = step_count, skipped_steps
        self.state: Mapping[int | str, Mapping[str, Array]] = own.views(self.saved_scalar)
        self._scheduled = [
            (i, group) for i, group in enumerate(own.groups) if group.schedule is not None
        ]
        self.options_changed = True

    def names_of(self, group: ParamGroup) -> list[Any] | None:
        """Return the names of a group's parameters, if they were given as a dict."""
        return self._parameters.names_of(group)

    @property
    def step_count(self) -> int:
        """The number of steps taken, those of which no parameter had a gradient included."""
        return self._plan.step_count

    @property
    def skipped_steps(self) -> int:
        """The number of steps skipped for gradients that were not finite."""
        return self._plan.skipped_steps

    @property
    def grad_norm(self) -> float:
        """The norm of the last step's gradients, before clipping; NaN if none was taken.

        It is taken for `max_grad_norm`, and for `on_nonfinite` other than "propagate". Its bits are
        those of the gradients' shapes and strides: laid out otherwise, the last digits may differ.
        """
        return self._plan.grad_norm

    @property
    def extras(self) -> Mapping[str, Any]:
        """The options that are the same for all parameters, by name."""
        return MappingProxyType(self._extras)

    @property
    def grad_scale(self) -> float:
        """What the gradients were multiplied by; may be set at any time between steps."""
        return float(self._extras["grad_scale"])

    @grad_scale.setter
    def grad_scale(self, value: float) -> None:
        changed = {**self._extras, "grad_scale": _extras.CHECKS["grad_scale"]("grad_scale", value)}
        self._plan.set_extras(_extras.for_c(changed))
        self._extras = changed

    @property
    def ema(self) -> Any:
        """The averages of the parameters over steps, in their structure.

        Raises
        ------
        FastoptError
            The optimizer was made without `ema_decay`.
        """
        if self._extras["ema_decay"] is None:
            raise FastoptError("there is no average; make the optimizer with ema_decay=0.999, say")
        averages = {key: arrays["ema"][...] for key, arrays in self._parameters.arrays.items()}
        return self._parameters.in_structure(averages)

    def sync_master(self) -> None:
        """Take the parameters' values over into their float32 masters, after writing to them."""
        self._require_own_parameters()
        for key, w in self._parameters.by_key().items():
            if "master" in self._parameters.arrays[key]:
                self._parameters.arrays[key]["master"][...] = w

    @property
    def looks_ahead(self) -> bool:
        """Whether gradients are to be taken inside `extrapolated`."""
        return any(self.lookahead(group.options) for group in self.param_groups)

    @property
    def lr(self) -> float:
        """The learning rate of the step about to be taken; setting it sets every group's.

        Raises
        ------
        FastoptError
            Read where groups differ; set where one has a schedule.
        """
        rates = {float(group["lr"]) for group in self.param_groups}
        if len(rates) > 1:
            raise FastoptError(f"groups have learning rates {sorted(rates)}; see param_groups")
        return rates.pop() if rates else float("nan")

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            if group.schedule is not None:
                raise FastoptError(f"lr follows {group.schedule!r}; it can not be set")
        for group in self.param_groups:
            group["lr"] = value

    # Steps

    def step(self, grads: Grads = None) -> None:
        """Update every parameter in place.

        Parameters
        ----------
        grads
            The structure of ``params``: an array, a list or a dict (with groups one flat list, in
            order).  Of any layout and floating dtype, or anything with ``__array__`` or
            ``__dlpack__``, PyTorch's bfloat16 included.  None in place of a gradient leaves that
            parameter, its state and its step alone.  Without an argument the gradients given to
            `bind` are used.

        Raises
        ------
        FastoptError, TypeError
            A gradient that is missing, of the wrong shape, or in memory that the step would
            write.  Nothing has been changed then.
        """
        if self._sums:
            self._step_of_sums(grads)
        elif self.options_changed:
            self._step_with_new_options(grads)
        else:
            if self._must_look_ahead:
                self._ahead.require_taken(self.step_count)
            self._plan.step(grads, None, self._rates() if self._scheduled else None)

    def accumulate(self, grads: Grads) -> None:
        """Add gradients to those that the next ``step()`` without an argument takes the sum of.

        Parameters
        ----------
        grads
            As for `step`, dense. The sum is float32, or float64 for a float64 parameter. None adds
            nothing: as long as nothing has been added, ``step()`` takes the bound gradients.

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
        arrays = self.checked_gradients(grads)
        sums, pairs = dict(self._sums), []
        for (key, w), array in zip(self._parameters.by_key().items(), arrays, strict=True):
            if array is not None:
                if key not in sums:
                    sums[key] = own_array(w, computed_in(w), 0.0)
                pairs.append((sums[key], array))
        with np.errstate(all="ignore"):  # no error may leave some out
            try:
                _core.add_all(pairs)
            finally:  # Ctrl-C is heard when all have been added
                self._sums = sums

    def checked_gradients(self, grads: Grads) -> list[Array | None]:
        """Return dense gradients as arrays, in the order of `_groups.arrays_of`."""
        return self._plan.as_arrays(grads)

    def _step_of_sums(self, grads: Grads) -> None:
        grads, sums, counts = self._accumulated(grads), self._sums, self._counts
        self._sums = {}
        try:
            self.step(grads)
        finally:  # Ctrl-C is heard when the step has been taken
            if self._counts == counts:
                self._sums = sums

    @property
    def _counts(self) -> tuple[int, int]:
        return self.step_count, self.skipped_steps

    def _accumulated(self, grads: Grads) -> Grads:
        """Return the sums in the structure of the parameters."""
        if grads is not None:
            raise FastoptError(
                "gradients have been accumulated; accumulate these too, then call step()"
            )
        sums = {key: self._sums.get(key) for key in self._parameters.by_key()}
        return self._parameters.in_structure(sums)

    def _step_with_new_options(self, grads: Grads) -> None:
        self._must_look_ahead = self.looks_ahead
        if self._must_look_ahead:
            self._ahead.require_taken(self.step_count)
        self.options_changed = False  # here, so that one set during the step is not lost
        try:
            self._plan.step(grads, [group.for_c() for group in self.param_groups], self._rates())
        except BaseException:
            self.options_changed = True
            raise

    def _rates(self) -> list[tuple[int, float]]:
        """Return the learning rates of the groups that follow a schedule."""
        return [(i, group["lr"]) for i, group in self._scheduled]

    def bind(self, grads: Grads) -> None:
        """Use these arrays as the gradients of every ``step()`` to come; the caller refills them.

        Parameters
        ----------
        grads
            As for `step`, dense; None where there is no gradient.

        Raises
        ------
        FastoptError, TypeError
            As from `step`, or a gradient of which only a copy could be read: a number, rows, or
            what makes its array anew each time.  What was bound before remains.
        """
        self._plan.bind(grads)

    def zero_grad(self) -> None:
        """Set the bound gradients to 0, and forget those given to `accumulate`.

        Raises
        ------
        FastoptError
            No gradients are bound or accumulated, or one is read-only.
        """
        self._plan.require_idle()
        bound = [grad for grad in self._plan.gradients or () if grad is not None]
        if self._plan.gradients is None and not self._sums:
            raise FastoptError("zero_grad() clears bound gradients; bind(grads) first")
        for grad in bound:
            if not grad.flags.writeable:
                raise FastoptError("a bound gradient is read-only; it can not be set to 0")
        for grad in bound:
            grad.fill(0.0)
        self._sums = {}

    @contextmanager
    def extrapolated(self) -> Iterator[None]:
        """Move the parameters to Nesterov's look-ahead point w - momentum * buffer for a while.

        On leaving the block they are what they were, bit for bit::

            with opt.extrapolated():
                grads = gradient(w)
            opt.step(grads)

        Yields
        ------
        None

        Raises
        ------
        FastoptError
            The rule takes its gradients where the parameters are (``nesterov="lookahead"`` and
            the textbook's Nesterov do not).
        """
        if not self.looks_ahead:
            raise FastoptError(
                f"{type(self).__name__} takes gradients at the parameters themselves; "
                "extrapolated() is for SGD(nesterov='lookahead')"
            )
        self._plan.require_idle()
        points = (
            (w, point(w, self._parameters.arrays[key], *ahead))
            for group in self.param_groups
            if (ahead := self.lookahead(group.options)) is not None
            for key, w in group.arrays.items()
        )
        with self._ahead.visit(self._parameters.by_key().values(), points):
            yield
            self._ahead.taken_at = self.step_count

    # Saving

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that a later `load_state_dict` needs, laid out as PyTorch's.

        ``{"rule", "step_count", "state": {key: {"step", ...}}, "param_groups": [{...}]}``

        Returns
        -------
        dict
        """
        self._plan.require_idle()
        return _state_dict.of(self, self._sums)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, from an optimizer of the same class and shapes.

        Or what that of torch.optim's class of the same name returned: its tensors become state,
        its options options (``foreach`` and the like are left out).  Parameters correspond by name
        where both sides have names (PyTorch's of ``named_parameters()``, ours of a dict), else in
        their order.  Options that PyTorch lacks take its formula; a schedule of this optimizer goes
        on, from the largest ``step`` there is (PyTorch's SGD counts none).

        Parameters
        ----------
        state_dict : dict

        Raises
        ------
        FastoptError
            Another rule, other groups, parameters, shapes, dtypes or options.  The optimizer is
            unchanged then.
        """
        self._plan.require_idle()
        _state_dict.load(self, state_dict)

    def save(self, path: str | os.PathLike[str], *, batches: Batches | None = None) -> None:
        """Write parameters and `state_dict` to a file, for `load`; see `fastopt.checkpoint`.

        A file that was there is replaced in one instant: whoever reads it, even after a crash,
        finds the old one or the new one, whole.  Its permissions stay, as does a link to it.

        Parameters
        ----------
        path
            Written as .safetensors if that is how it ends (``pip install 'fastopt[checkpoint]'``),
            else as NumPy's .npz.  Nothing in it is a pickle.
        batches
            The place in their epoch is kept in the same file, in the same instant.

        Raises
        ------
        FastoptError, OSError
            Inside `extrapolated`, without the package named above, or where the file system
            refuses.

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

        self._require_own_parameters()
        checkpoint.write(path, "optimizer", _state_dict.all_of(self, batches))

    def load(self, path: str | os.PathLike[str], *, batches: Batches | None = None) -> None:
        """Take over what `save` wrote: parameters, in place, state, options and steps, to the bit.

        The optimizer must be of the same class, with parameters of the same shapes and dtypes in
        the same groups; options are those of the file then, as after `load_state_dict`.  What all
        parameters share, `seed` and `max_grad_norm` for instance, is as this optimizer was made.

        Parameters
        ----------
        path : str or path
        batches
            Go on at the place that was saved; of the same rows and options.  Without, a place that
            is in the file is left aside.

        Raises
        ------
        FastoptError, OSError
            A damaged or foreign file, or one of another optimizer or other batches, or without
            batches.  Parameters, optimizer and batches are unchanged then.
        """
        from fastopt import checkpoint

        self._require_own_parameters()
        saved = checkpoint.read(path, "optimizer")
        if batches is not None and saved.get("batches") is None:
            raise FastoptError(f"{os.fspath(path)} was saved without batches")
        with checkpoint.loading(path):
            _state_dict.load_all(self, saved, batches)

    def _require_own_parameters(self) -> None:
        self._plan.require_idle()
        self._ahead.require_back()

    def attributes_after(
        self, step_count: int, skipped_steps: int, sums: dict[int | str, Array]
    ) -> list[tuple[object, str, Any]]:
        """Return (holder, name, value) of all that has to be set to go on from what is loaded.

        Gradients taken before are of other parameters.
        """
        return [
            (self._plan, "step_count", step_count),
            (self._plan, "skipped_steps", skipped_steps),
            (self, "_sums", sums),
            (self._ahead, "taken_at", None),
            (self, "options_changed", True),
        ]

    def __getstate__(self) -> dict[str, Any]:
        self._require_own_parameters()
        return {
            "defaults": self._defaults,
            "n_threads": self._n_threads,
            "extras": self._extras,
            "sums": self._sums,
            "kind": self._parameters.kind,
            "has_mask": self._mask is not None,
            "counts": self._counts,
            "gradients_at": self._ahead.taken_at,
            "groups": [group.pickled() for group in self.param_groups],
            "places": self._parameters.places,
            "arrays": self._parameters.arrays,
            "scalars": self._parameters.scalars,
            "bound": self._plan.gradients,
        }

    def __copy__(self) -> Optimizer:
        raise TypeError(
            f"copy.copy of {type(self).__name__} would share arrays but not counts; use "
            "copy.deepcopy, of optimizer and parameters together if both are to go on"
        )

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        self._defaults = pickled["defaults"]
        self._n_threads = pickled["n_threads"]
        self._extras = pickled["extras"]
        self._sums = pickled["sums"]
        self._mask = forgotten_mask if pickled["has_mask"] else None
        self._ahead = LookAhead(pickled["gradients_at"])
        groups = tuple(ParamGroup(self, *group) for group in pickled["groups"])
        arrays = {
            key: _state_arrays.as_before(w, pickled["arrays"][key])
            for key, w in arrays_of(groups).items()
        }
        self._parameters = Parameters(
            pickled["kind"], groups, pickled["places"], arrays, pickled["scalars"]
        )
        self._build(*pickled["counts"])
        if pickled["bound"] is not None:
            self._plan.bind_in_order(pickled["bound"])

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
