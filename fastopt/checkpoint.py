"""Nested dicts of arrays and plain values as a file: .npz, without pickle, replaced atomically."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastopt._errors import FastoptError

_PLAIN = "plain"  # the entry with all that is no array, as JSON
_ARRAY, _TUPLE = "__array__", "__tuple__"  # what stands there for what JSON has not


def write(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a file that `read` and ``numpy.load`` read, or leave the one that was there."""
    arrays: dict[str, Any] = {}
    plain = json.dumps(_without_arrays(content, "", arrays))
    target = Path(path)
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            np.savez(file, allow_pickle=False, **{_PLAIN: np.array(plain)}, **arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `write` was given, tuples as tuples."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            entries = {name: file[name] for name in file.files}
        plain = json.loads(str(entries.pop(_PLAIN)))
        content: dict[str, Any] = _with_arrays(plain, entries)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise FastoptError(f"{os.fspath(path)!r} is no file of fastopt, or damaged") from error
    return content


def _without_arrays(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """Return what JSON can hold, the arrays put aside."""
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        return {
            k: _without_arrays(v, f"{name}.{k}" if name else k, arrays) for k, v in value.items()
        }
    if isinstance(value, (tuple, list)):
        inner = [_without_arrays(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        return {_TUPLE: inner} if isinstance(value, tuple) else inner
    return value


def _with_arrays(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_with_arrays(inner, arrays) for inner in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_ARRAY}:
        return arrays[value[_ARRAY]]
    if set(value) == {_TUPLE}:
        return tuple(_with_arrays(inner, arrays) for inner in value[_TUPLE])
    return {key: _with_arrays(inner, arrays) for key, inner in value.items()}
