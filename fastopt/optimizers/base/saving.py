"""Saving: the methods that save, load, pickle and copy an optimizer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._checks import THREADS, flag
from fastopt._errors import FastoptError
from fastopt.optimizers.base.evaluation_points import EvaluationPoints
from fastopt.optimizers.base.points.excursion import Excursion
from fastopt.optimizers.base.points.lookahead import LookAhead
from fastopt.optimizers.base.state.accumulated import Accumulated
from fastopt.optimizers.base.state.float8 import forgotten_mask as forgotten_float8_mask
from fastopt.optimizers.base.state.groups import Status, arrays_of
from fastopt.optimizers.base.state.parameters import unpickled
from fastopt.optimizers.base.state.structure import forgotten_mask
from fastopt.optimizers.base.state_dicts.state_dict import (
    Attribute,
    checked,
    entry,
    state_dict_of,
)

if TYPE_CHECKING:
    from fastopt.batching import Batches


class Saving(EvaluationPoints):
    """The methods that save, load, pickle and copy an optimizer."""

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
        """Write the parameters and the `state_dict` to a file for `load`.

        An existing file is replaced atomically: a reader finds the old or the new contents, even
        after a crash.  Its permissions are kept, and a link to it stays a link.

        Parameters
        ----------
        path
            If it ends in .safetensors, the file has that format (``pip install '.[checkpoint]'``),
            else NumPy's .npz.  Both hold the arrays under readable names and everything else as
            JSON, without pickled objects.
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
        self._float8_mask = forgotten_float8_mask if pickled["has_float8_mask"] else None
        self._excursion = Excursion()
        self._ahead = LookAhead(pickled["gradients_at"])
        self._must_prepare = False
        self._status = Status()
        self._set_parameters(unpickled(type(self), self._status, pickled), pickled["counts"])
        if pickled["bound"] is not None:
            self._plan.bind_in_order(pickled["bound"])

    def __copy__(self) -> Saving:
        raise TypeError(
            f"copy.copy of {type(self).__name__} would share arrays but not counts; use "
            "copy.deepcopy, of optimizer and parameters together if the copy is to be stepped too"
        )


# Functions for other modules of fastopt


def all_of(optimizer: Saving, batches: Batches | None) -> dict[str, Any]:
    """Return what `load_all` needs; it contains the parameters themselves, not copies.

    The caller must be inside `Plan.during`, or no other thread may use the optimizer.
    """
    return {
        "params": arrays_of(optimizer.param_groups),
        "optimizer": optimizer._saved(),
        "batches": None if batches is None else batches.state_dict(),
    }


def load_all(
    optimizer: Saving, saved: Mapping[str, Any], batches: Batches | None, options: bool = True
) -> None:
    """Load the result of `all_of`, and the position in the epoch if batches are given."""
    state_dict, values = (entry("", saved, name) for name in ("optimizer", "params"))
    position = [] if batches is None else batches.attributes_at(entry("", saved, "batches"))
    optimizer._load(state_dict, values, position, options=options)
