"""Further: the base class of the optimizers that torch.optim lacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from fastopt._checks import Choice
from fastopt._errors import FastoptError
from fastopt.optimizers.base.names import meant
from fastopt.optimizers.base.points import averages
from fastopt.optimizers.base.rule import Rule, checks_of, defaults_of
from fastopt.optimizers.base.state.ranges import require_single, warn_of_0
from fastopt.torch import options
from fastopt.torch.door import Door

DECAYS = Choice((False, True, "lr", "proximal"))


class Further(Door):
    """Base class of the optimizers that torch.optim lacks.

    A subclass states its rule, which is a class of `fastopt`: its arguments, defaults and errors
    are those of that class.  Options are checked at construction and whenever they have changed.
    """

    _sparse = "rows"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = {name: kwargs.pop(name) for name in options.OWN_ONLY & kwargs.keys()}
        defaults = self._bound(args, kwargs)
        super().__init__(defaults.pop("params"), defaults, **own)

    @classmethod
    def _arguments(cls) -> inspect.Signature:
        signature = inspect.signature(cls._rule)
        named = [
            parameter.replace(annotation=parameter.empty)
            for parameter in signature.parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        return options.with_keywords(inspect.Signature(named), defaults_of(cls._rule))

    @classmethod
    def _bound(cls, args: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, with defaults filled in."""
        signature = cls._arguments()
        for name in given:
            if name not in signature.parameters:
                allowed = [*signature.parameters, *options.NAMES]
                raise TypeError(
                    f"unexpected keyword {name!r}{meant(name, allowed)}; allowed: "
                    f"{', '.join(allowed)}"
                )
        found = signature.bind(*args, **given)
        found.apply_defaults()
        return found.arguments

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        Parameters
        ----------
        param_group : dict
            ``params``, and the options that differ from those of the optimizer.

        Raises
        ------
        FastoptError, TypeError
            An option is outside its range or of the wrong type, or two cannot be combined.
        ValueError
            A parameter is in another group already, or is not a leaf.
        """
        super().add_param_group(param_group)
        try:
            found = self._options_of(self.param_groups[-1])
            averages.require_no_other(self._rule, found, self._options)
            warn_of_0(self._rule, found)
        except BaseException:
            del self.param_groups[-1]
            raise

    def _options_of(self, group: Mapping[str, Any]) -> dict[str, Any]:
        return checked(self._rule, group)

    def _torch_step(self, _: Callable[[], Any] | None) -> Any:
        raise FastoptError(
            "a group has capturable or differentiable; these options of torch.optim do not exist "
            f"in {type(self).__name__}"
        )

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        super().__setstate__(pickled)
        for group in self.param_groups:
            for name in checks_of(self._rule):
                group.setdefault(name, self.defaults[name])


def checked(rule: type[Rule], group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a group; raise an error if one is not allowed."""
    checks = {**checks_of(rule), "decoupled_weight_decay": DECAYS}
    found = {name: check(name, options.plain(group[name])) for name, check in checks.items()}
    rule._require(found)
    options.require_here(rule, found)
    if any(p.dtype not in (torch.float64, torch.complex128) for p in group["params"]):
        require_single(found)
    return found
