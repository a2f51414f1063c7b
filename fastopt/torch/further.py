"""The optimizers that torch.optim lacks: their arguments are those of fastopt's class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastopt._errors import FastoptError
from fastopt.optimizers.base.ranges import warn_of_0
from fastopt.optimizers.base.rule import checks_of
from fastopt.torch import options
from fastopt.torch.door import Door


class Further(Door):
    """Base class of the optimizers that torch.optim lacks.

    A subclass states its rule, which is a class of `fastopt`: its arguments, defaults and errors
    are those of that class.  Options are checked at construction and whenever they have changed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _, others = options.split(kwargs)
        own = {name: value for name, value in kwargs.items() if name not in others}
        defaults = options.bound(self._rule, args, others)
        super().__init__(defaults.pop("params"), defaults, **own)

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
            warn_of_0(self._rule, self._options_of(self.param_groups[-1]))
        except BaseException:
            del self.param_groups[-1]
            raise

    _sparse = "rows"

    def _options_of(self, group: Mapping[str, Any]) -> dict[str, Any]:
        return options.of_rule(self._rule, group)

    def _torch_step(self, _: Callable[[], Any] | None) -> Any:
        raise FastoptError(
            "a group has capturable or differentiable; these options of torch.optim do not exist "
            f"in {type(self).__name__}"
        )

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        super().__setstate__(pickled)
        for group in self.param_groups:
            for name in self.defaults.keys() & checks_of(self._rule).keys():
                group.setdefault(name, self.defaults[name])
