"""Whether two functions of the user are the same, also if one was defined in another process."""

from __future__ import annotations

import functools
import hashlib
import re
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def fingerprint(function: object) -> tuple[str, str] | None:
    """Return the version of Python and a hash of what a function computes, or None.

    The hash is that of the bytecode, constants, defaults, captured variables and global variables
    that are used, if they are numbers, text, arrays or functions.  Hashes can be compared only for
    the same version of Python.  The result is None unless `function` is a function or a partial.
    """
    if not isinstance(function, (types.FunctionType, functools.partial)):
        return None
    digest = hashlib.sha256()
    for part in _parts(function, set()):
        digest.update(f"{len(part)}:".encode() + part)
    return str(sys.implementation.cache_tag), digest.hexdigest()[:32]


def differ(one: tuple[str, str] | None, other: tuple[str, str] | None) -> bool:
    """Return whether fingerprints are those of different functions."""
    if one is None or other is None:
        return one is not other
    return one[0] == other[0] and one[1] != other[1]


def _parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    """Yield bytes that describe a value."""
    yield type(value).__name__.encode()
    if isinstance(value, types.FunctionType):
        if id(value) in seen:
            return
        seen.add(id(value))
        yield from _parts(value.__code__, seen)
        yield from _parts([value.__defaults__, value.__kwdefaults__], seen)
        for cell in value.__closure__ or ():
            yield from _parts(cell.cell_contents, seen)
        for name in value.__code__.co_names:
            used = value.__globals__.get(name)
            if isinstance(used, (int, float, complex, str, tuple, np.ndarray, types.FunctionType)):
                yield from _parts(used, seen)
    elif isinstance(value, types.CodeType):
        yield value.co_code
        yield from _parts([value.co_names, value.co_consts], seen)
    elif isinstance(value, functools.partial):
        yield from _parts([value.func, value.args, value.keywords], seen)
    elif isinstance(value, Mapping):
        yield from _parts(list(value.items()), seen)
    elif isinstance(value, (list, tuple)):
        yield str(len(value)).encode()
        for inner in value:
            yield from _parts(inner, seen)
    elif isinstance(value, (set, frozenset)):
        yield repr(sorted(map(repr, value))).encode()
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"{value.dtype.str} {value.shape}".encode()
        yield value.tobytes()
    else:
        yield re.sub(r" at 0x\w+", "", repr(value)).encode()  # without addresses
