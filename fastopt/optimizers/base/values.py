"""The values of a state as float32, for optimizers whose states have fewer bits."""

from __future__ import annotations

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.optimizers.base.arguments import Key
from fastopt.optimizers.base.optimizer import Optimizer
from fastopt.optimizers.base.state import float8


def float32_state(optimizer: Optimizer, key: Key, name: str) -> Array:
    """Return a state of a parameter as float32, also if it is stored in 8 or 16 bits.

    Parameters
    ----------
    optimizer
        An optimizer of fastopt.
    key
        The index of the parameter, or its name if the parameters are a dict, as in
        ``optimizer.state``.
    name
        The name of the state, such as ``"exp_avg"``.

    Returns
    -------
    ndarray
        A new array of the shape of ``optimizer.state[key][name]``.

    Raises
    ------
    FastoptError
        There is no such parameter or state.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> w = np.zeros((16, 256), np.float32)
    >>> opt = fastopt.AdamW(w, state_dtype="float8")
    >>> opt.step(np.ones_like(w))
    >>> opt.state[0]["exp_avg"].dtype, opt.state[0]["exp_avg_scale"].shape
    (dtype('uint8'), (16, 1))
    >>> m = fastopt.float32_state(opt, 0, "exp_avg")
    >>> m.dtype, set(m.ravel().tolist()) <= {0.09375, 0.109375}
    (dtype('float32'), True)
    """
    if key not in optimizer.state:
        raise FastoptError(f"key is {key!r}; the optimizer has {list(optimizer.state)}")
    arrays = optimizer.state[key]
    known = [state for state in arrays if state not in map(float8.scale_of, arrays)]
    if name not in known:
        raise FastoptError(f"name is {name!r}; parameter {key!r} has {known}")
    return np.array(float8.values(type(optimizer)._float8, arrays, name), dtype=np.float32)
