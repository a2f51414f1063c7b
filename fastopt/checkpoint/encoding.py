"""Nested content as JSON and named arrays, and back.

Values that JSON lacks are written as objects with one or two reserved keys: arrays and NumPy's
numbers as names of arrays, tuples as lists, and mappings with keys other than strings as lists of
pairs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array

LONGEST = 200  # characters of an array's name; a zip file has room for 65,535 bytes
PLAIN = "plain"  # the name of the entry that holds the JSON

_RESERVED = {PLAIN, "file", "allow_pickle", "__metadata__"}  # numpy.savez and safetensors use them
_ARRAY, _BITS, _NUMBER = "__array__", "__bits__", "__number__"
_TUPLE, _ITEMS = "__tuple__", "__items__"
_MARKS = ({_ARRAY}, {_ARRAY, _BITS}, {_NUMBER}, {_TUPLE}, {_ITEMS})


def encode(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """Return the value in a form that JSON can represent; add its arrays to ``arrays``.

    name: the path of the value in the content, from which names of arrays are made.
    """
    if isinstance(value, np.ndarray):
        return _encode_array(value, name, arrays)
    if isinstance(value, Mapping):
        inner = {
            key: encode(v, f"{name}.{key}" if name else str(key), arrays)
            for key, v in value.items()
        }
        if all(isinstance(key, str) for key in inner) and inner.keys() not in _MARKS:
            return inner
        return {_ITEMS: [[encode(key, "key", arrays), v] for key, v in inner.items()]}
    if isinstance(value, (tuple, list)):
        inner_list = [encode(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        return {_TUPLE: inner_list} if isinstance(value, tuple) else inner_list
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()  # compares and hashes equal, so it also finds a mapping's key
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, np.generic):
        return {_NUMBER: encode(np.asarray(value), name, arrays)}
    raise TypeError(f"{name} is a {type(value).__name__}; it cannot be saved")


def _encode_array(value: Array, name: str, arrays: dict[str, Array]) -> dict[str, str]:
    if value.dtype.hasobject:
        raise TypeError(f"{name} is an array of objects; it cannot be saved")
    free = name if name.isprintable() and len(name) <= LONGEST else "array"
    # numpy.load would take the name "x.npy" for the file that stores the array "x".
    while free in arrays or free in _RESERVED or free.endswith(".npy"):
        free += "_"
    if value.dtype.kind != "V":
        arrays[free] = value
        return {_ARRAY: free}
    arrays[free] = value.view(f"u{value.dtype.itemsize}")  # bfloat16, which NumPy cannot save
    return {_ARRAY: free, _BITS: value.dtype.name}


def decode(value: Any, arrays: Mapping[str, Array]) -> Any:
    """Return the content that `encode` was given."""
    if isinstance(value, list):
        return [decode(inner, arrays) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_ARRAY}:
        return arrays[value[_ARRAY]]
    if value.keys() == {_ARRAY, _BITS}:
        return arrays[value[_ARRAY]].view(_extension_dtype(value[_BITS]))
    if value.keys() == {_NUMBER}:
        return decode(value[_NUMBER], arrays)[()]
    if value.keys() == {_TUPLE}:
        return tuple(decode(inner, arrays) for inner in value[_TUPLE])
    if value.keys() == {_ITEMS}:
        return {decode(key, arrays): decode(inner, arrays) for key, inner in value[_ITEMS]}
    return {key: decode(inner, arrays) for key, inner in value.items()}


def _extension_dtype(name: str) -> Any:
    """Return a dtype of ml_dtypes."""
    try:
        return np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    except ImportError as error:
        raise FastoptError(f"to read arrays of {name} ml_dtypes is needed") from error
