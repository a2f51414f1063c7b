"""Attributes: what an optimizer has, which of it can be set, and how groups are added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fastopt._core import Plan, assign_all
from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base import extras as _extras
from fastopt.optimizers.base.arguments import Extra, Key
from fastopt.optimizers.base.names import meant
from fastopt.optimizers.base.points import averages
from fastopt.optimizers.base.points.excursion import Excursion
from fastopt.optimizers.base.points.lookahead import LookAhead
from fastopt.optimizers.base.rule import COMMON, Rule, checks_of
from fastopt.optimizers.base.state.accumulated import Accumulated
from fastopt.optimizers.base.state.groups import ParamGroup, Status
from fastopt.optimizers.base.state.parameters import Parameters
from fastopt.optimizers.base.state.plan import plan_of
from fastopt.optimizers.base.state.structure import Part, by_decay


class Attributes(Rule):
    """The parameters, groups, options and counts of an optimizer."""

    # Set by the constructor and by unpickling:
    _defaults: dict[str, Any]  # the options of a group that does not give them
    _mask: Callable[[str], bool] | None
    _float8_mask: Callable[[str], bool] | None
    _n_threads: int
    _extras: dict[str, Any]
    _accumulated: Accumulated
    _excursion: Excursion
    _ahead: LookAhead
    _must_prepare: bool  # whether the next step calls `Optimizer._prepare`
    _status: Status
    # Set by `_set_parameters`:
    _parameters: Parameters
    _plan: Plan
    _scheduled: list[tuple[int, ParamGroup]]
    _directed: list[ParamGroup]
    state: Mapping[Key, Mapping[str, Array]]
    del __annotations__  # noqa: F821  help() would list it for each class

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
        attributes: list[tuple[object, str, Any]] = [
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
    def _counts(self) -> tuple[int, int]:
        return self.step_count, self.skipped_steps

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
    def ema(self) -> Any:
        """The averages of the parameters over steps, in the structure of the parameters.

        Raises
        ------
        FastoptError
            The optimizer was made without `ema_decay`.
        """
        averages.require_ema(self._extras)
        arrays = self._parameters.arrays
        return self._parameters.in_structure(
            {key: arrays[key]["ema"][...] for key in self._parameters.by_key()}
        )

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
