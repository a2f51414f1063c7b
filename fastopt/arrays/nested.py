"""Nested dicts, lists and tuples of arrays as one flat dict, and back."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastopt._checks import flag
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import as_array, is_array
from fastopt.arrays.dtypes import Array

__all__ = ["flatten"]

Nest = Callable[[Mapping[str, Any]], Any]  # makes a nested structure from a flat dict


def flatten(tree: Any, *, copy: bool = True) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Return the arrays of a nested structure as a flat dict, and a function that nests them again.

    Pass the flat dict of the parameters to an optimizer, and that of the gradients to its ``step``.

    Parameters
    ----------
    tree
        Nested dicts (or other mappings), lists, tuples and named tuples of arrays: the parameters
        or gradients of JAX, Flax or Haiku, for example.  None is an empty structure, as in JAX.
    copy
        If True, arrays of other libraries that NumPy cannot write to, such as JAX's, are copied
        into new `numpy.ndarray` objects, so that they can be parameters.  NumPy arrays and PyTorch
        tensors on the CPU are not copied.  If False, every leaf is returned as it is, which
        suffices for gradients.

    Returns
    -------
    flat : dict
        Maps names to arrays.  A name consists of the keys, indices and field names on the path to
        the array, joined by "/", as in ``"layers/0/weight"``.
    unflatten : callable
        Takes a dict with the same names and returns its values in the structure of ``tree``.

    Raises
    ------
    FastoptError, TypeError
        Two arrays have the same name, a leaf is not an array (with ``copy=True``), or ``unflatten``
        receives a dict with other names.

    Notes
    -----
    ``unflatten(flat)`` contains the arrays of ``flat``, not copies.  An optimizer updates them in
    place, so one call is enough if the model accepts NumPy arrays, as JAX functions do.  A
    parameter without a gradient needs the value None under its name:
    ``opt.step(dict.fromkeys(opt.params) | flat_grads)``.

    Examples
    --------
    >>> import numpy as np, fastopt
    >>> params = {"layers": [{"weight": np.ones((2, 2)), "bias": np.zeros(2)}], "scale": np.ones(1)}
    >>> flat, unflatten = fastopt.flatten(params)
    >>> list(flat)
    ['layers/0/weight', 'layers/0/bias', 'scale']
    >>> opt = fastopt.SGD(flat, lr=0.5)
    >>> grads = {"layers": [{"weight": np.ones((2, 2)), "bias": np.ones(2)}], "scale": np.ones(1)}
    >>> opt.step(fastopt.flatten(grads, copy=False)[0])
    >>> params["layers"][0]["bias"]
    array([-0.5, -0.5])
    >>> unflatten(flat)["scale"] is params["scale"]
    True
    """
    flat: dict[str, Any] = {}
    nest = _split(tree, "", flat)
    if flag("copy", copy):
        flat = {name: _writable(name, leaf) for name, leaf in flat.items()}
    names = list(flat)

    def unflatten(values: Mapping[str, Any]) -> Any:
        if not isinstance(values, Mapping) or values.keys() != set(names):
            found = list(values) if isinstance(values, Mapping) else values
            raise FastoptError(f"the values have the names {found!r}; {names} are needed")
        return nest(values)

    return flat, unflatten


def _split(node: Any, name: str, flat: dict[str, Any]) -> Nest:
    """Add the leaves below a node to a flat dict, and return a function that rebuilds the node."""
    if node is None:
        return lambda _: None
    if isinstance(node, Mapping):
        children = {key: _split(child, _join(name, key), flat) for key, child in node.items()}
        new = _maker(node)
        return lambda values: new({key: nest(values) for key, nest in children.items()})
    if isinstance(node, (list, tuple)):
        keys = getattr(type(node), "_fields", range(len(node)))
        nests = [
            _split(child, _join(name, key), flat) for key, child in zip(keys, node, strict=True)
        ]
        make = getattr(type(node), "_make", list if isinstance(node, list) else tuple)
        return lambda values: make(nest(values) for nest in nests)
    if name in flat:
        raise FastoptError(f"two arrays of the tree have the name {name!r}; names must differ")
    flat[name] = node
    return lambda values: values[name]


def _join(name: str, key: object) -> str:
    return f"{name}/{key}" if name else str(key)


def _maker(node: Mapping[Any, Any]) -> Callable[[dict[Any, Any]], Any]:
    """Return a function that converts a dict to a mapping of the type of `node`."""
    if type(node) is dict:
        return dict
    if not isinstance(node, dict):
        return type(node)
    shell = copying.copy(node)  # keeps the default of a defaultdict, for example
    shell.clear()
    return lambda items: copying.copy(shell) | items


def _writable(name: str, leaf: Any) -> Array:
    """Return an array itself, a writable view of another library's array, or else a copy."""
    if isinstance(leaf, np.ndarray):
        return leaf
    if not is_array(leaf):
        raise TypeError(
            f"{name!r} is a {type(leaf).__name__}; an array is needed as a parameter, and any "
            "gradient is allowed with copy=False"
        )
    array = as_array(repr(name), leaf)
    return array if array.flags.writeable else np.array(array)
