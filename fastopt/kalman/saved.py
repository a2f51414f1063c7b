"""How a filter is saved, restored and copied."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from fastopt import checkpoint
from fastopt._errors import FastoptError
from fastopt.kalman.exclusive import OneThread, exclusive
from fastopt.kalman.state import State

Own = TypeVar("Own", bound="Saved")


class Saved:
    """The methods of `KalmanSGD` that save, restore and copy it."""

    _one_thread: OneThread
    _state: State

    @exclusive
    def state_dict(self) -> dict[str, Any]:
        """Return everything that the absorbed data have changed: numbers and copies of arrays.

        Returns
        -------
        dict of str to number or array
        """
        return self._state.as_dict()

    @exclusive
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Replace the state by that of a `state_dict`; after an error it is unchanged.

        Parameters
        ----------
        state_dict : dict
            The state of a filter with the same options.

        Raises
        ------
        FastoptError, TypeError
            The state is damaged, or that of a filter with other options.
        """
        self._state.load(state_dict)

    @exclusive
    def __getstate__(self) -> dict[str, Any]:
        return {"options": self._state.options.as_arguments(), "state": self.state_dict()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(**saved["options"])  # type: ignore[misc]
        self._state.restore(saved["state"])

    def copy(self: Own) -> Own:
        """Return an independent copy.

        Returns
        -------
        KalmanSGD
        """
        other = type(self).__new__(type(self))
        other.__setstate__(self.__getstate__())
        return other

    __copy__ = copy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write options and state to a file that `load` and ``numpy.load`` read.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        OSError
            The file cannot be written.
        """
        checkpoint.write(path, "KalmanSGD", self.__getstate__())

    @classmethod
    def load(cls: type[Own], path: str | os.PathLike[str]) -> Own:
        """Return the filter that `save` wrote.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        KalmanSGD

        Raises
        ------
        FastoptError, OSError
            The file cannot be read, is damaged or is not from `save`.
        """
        made = cls.__new__(cls)
        saved = checkpoint.read(path, "KalmanSGD")
        with checkpoint.loading(path):
            require_arrays(saved)
            made.__setstate__(saved)
        return made


def require_arrays(saved: Mapping[str, Any]) -> None:
    """Raise unless there is an array as large as the covariance that the options describe.

    A small file can describe a large filter; without this check, its memory would be allocated.
    """
    options = saved["options"]
    start, covariance = options["n_params_or_w0"], options["covariance"]
    p = start if isinstance(start, int) else np.size(start)
    if covariance == "full":
        needed = p * (p - 1) // 2  # mode "ud" needs least: a triangle without its diagonal
    elif covariance == "diag":
        needed = p
    else:
        needed = sum(np.size(block) ** 2 for block in covariance)
    arrays = [value for value in saved["state"].values() if isinstance(value, np.ndarray)]
    found = max((array.size for array in arrays), default=0)
    if found < max(p, needed):
        raise FastoptError(
            f"the state has arrays of at most {found} elements; the options need {max(p, needed)}"
        )
