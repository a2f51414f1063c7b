"""Nested dicts of arrays and plain values as a file, without pickle, replaced atomically.

A path that ends in .safetensors is written in that format, with the extra ``checkpoint`` installed,
any other as NumPy's .npz; `read` tells them apart by what is in the file.  Either holds the arrays
under readable names and, as JSON, everything else.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import json
import os
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.accepted import Array

VERSION = 1  # of the layout; a file of a later one is refused

PathLike = str | os.PathLike[str]

_PLAIN = "plain"  # the entry with all that is no array, as JSON
_RESERVED = {_PLAIN, "file", "allow_pickle", "__metadata__"}  # numpy.savez and safetensors use them
# What stands in the JSON for what it has not: arrays, of dtypes of others too, NumPy's numbers,
# tuples and mappings whose keys are not all text.
_ARRAY, _BITS, _NUMBER = "__array__", "__bits__", "__number__"
_TUPLE, _ITEMS = "__tuple__", "__items__"
_MARKS = ({_ARRAY}, {_ARRAY, _BITS}, {_NUMBER}, {_TUPLE}, {_ITEMS})


def write(path: PathLike, kind: str, content: Mapping[str, Any]) -> None:
    """Write a file that `read` reads, or leave the one that was there."""
    arrays: dict[str, Array] = {}
    inner = _without_arrays(content, "", arrays)
    plain = json.dumps({"fastopt": VERSION, "kind": kind, "content": inner})
    target = _target(path)
    save = _save_safetensors if Path(path).suffix == ".safetensors" else _save_npz
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            if target.exists():
                shutil.copymode(target, part)
            save(file, plain, arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def read(path: PathLike, kind: str) -> dict[str, Any]:
    """Return what `write` was given, tuples as tuples.

    Raises
    ------
    FastoptError
        A damaged or foreign file, or one of another kind or of a later version.
    OSError
        A file that can not be opened.
    """
    with open(path, "rb") as opened:
        is_zip = opened.read(2) == b"PK"
    try:
        text, arrays = (_load_npz if is_zip else _load_safetensors)(path)
        plain = json.loads(text)
        found = plain["fastopt"], plain["kind"]
        content = _with_arrays(plain["content"], arrays) if found == (VERSION, kind) else None
    except FastoptError:
        raise
    except Exception as error:  # damage can make zipfile raise next to anything
        raise FastoptError(f"{os.fspath(path)!r} is no file of fastopt, or damaged") from error
    if content is None:
        raise FastoptError(
            f"{os.fspath(path)!r} holds {found[1]!r} in version {found[0]!r}; "
            f"{kind!r} in version {VERSION} is needed"
        )
    return dict(content)


def remove_leftovers(path: PathLike) -> None:
    """Delete what processes have left that were killed in `write`."""
    target = _target(path)
    for part in target.parent.glob(f"{glob.escape(target.name)}.????????.part"):
        part.unlink(missing_ok=True)


def _target(path: PathLike) -> Path:
    """Return the file itself, where the path is a link to it."""
    return Path(os.path.realpath(path))


class _Archive(zipfile.ZipFile):
    """A ZipFile whose finalizer is not written in Python.

    If the handler of a signal runs while Python code is called from C that ignores errors, the
    KeyboardInterrupt is lost.  `ZipFile.__del__` and `NpzFile.__del__` are such code, as is the
    closing of a member that was not closed, and `str` of an array.
    """

    # A method in C without effect; the `with` statement closes.
    __del__ = object.__sizeof__  # type: ignore[assignment]


def _save_npz(file: BinaryIO, plain: str, arrays: Mapping[str, Array]) -> None:
    np.savez(file, allow_pickle=False, **{_PLAIN: np.array(plain)}, **arrays)


def _load_npz(path: PathLike) -> tuple[str, dict[str, Array]]:
    # Not by numpy.load, nor by str() of an array: see _Archive.
    arrays = {}
    with open(path, "rb") as opened, _Archive(opened) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                arrays[name.removesuffix(".npy")] = np.lib.format.read_array(
                    member, allow_pickle=False
                )
    return arrays.pop(_PLAIN).item(), arrays


def _save_safetensors(file: BinaryIO, plain: str, arrays: Mapping[str, Array]) -> None:
    # The format has no sums of its own to tell damage by.
    metadata = {_PLAIN: plain, "crc32": str(_crc32(plain, arrays))}
    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    file.write(_safetensors("write a .safetensors file").numpy.save(in_order, metadata))


def _load_safetensors(path: PathLike) -> tuple[str, dict[str, Array]]:
    library = _safetensors(f"read {os.fspath(path)!r}, unless it is damaged,")
    try:
        with library.safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except library.SafetensorError as error:
        raise ValueError from error
    if metadata["crc32"] != str(_crc32(metadata[_PLAIN], arrays)):
        raise ValueError
    return metadata[_PLAIN], arrays


def _safetensors(to: str) -> Any:
    try:
        importlib.import_module("safetensors.numpy")
        return importlib.import_module("safetensors")
    except ImportError as error:
        raise FastoptError(
            f"to {to} safetensors is needed: pip install 'fastopt[checkpoint]'"
        ) from error


def _crc32(plain: str, arrays: Mapping[str, Array]) -> int:
    total = zlib.crc32(plain.encode())
    for name in sorted(arrays):
        total = zlib.crc32(arrays[name].tobytes(), total)
    return total


def _without_arrays(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """Return what JSON can hold, the arrays put aside."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError(f"{name} is an array of objects; it can not be saved")
        free = name if name.isprintable() else "array"
        # numpy.load takes "x.npy" for the file that it keeps the array "x" in.
        while free in arrays or free in _RESERVED or free.endswith(".npy"):
            free += "_"
        if value.dtype.kind != "V":
            arrays[free] = value
            return {_ARRAY: free}
        arrays[free] = value.view(f"u{value.dtype.itemsize}")  # bfloat16, which NumPy cannot save
        return {_ARRAY: free, _BITS: value.dtype.name}
    if isinstance(value, Mapping):
        inner = {
            key: _without_arrays(v, f"{name}.{key}" if name else str(key), arrays)
            for key, v in value.items()
        }
        if all(isinstance(key, str) for key in inner) and inner.keys() not in _MARKS:
            return inner
        return {_ITEMS: [[_without_arrays(key, "key", arrays), v] for key, v in inner.items()]}
    if isinstance(value, (tuple, list)):
        inner_list = [_without_arrays(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        return {_TUPLE: inner_list} if isinstance(value, tuple) else inner_list
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()  # the same number, and the same key of a mapping
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, np.generic):
        return {_NUMBER: _without_arrays(np.asarray(value), name, arrays)}
    raise TypeError(f"{name} is a {type(value).__name__}; it can not be saved")


def _with_arrays(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_with_arrays(inner, arrays) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_ARRAY}:
        return arrays[value[_ARRAY]]
    if value.keys() == {_ARRAY, _BITS}:
        return arrays[value[_ARRAY]].view(_named(value[_BITS]))
    if value.keys() == {_NUMBER}:
        return _with_arrays(value[_NUMBER], arrays)[()]
    if value.keys() == {_TUPLE}:
        return tuple(_with_arrays(inner, arrays) for inner in value[_TUPLE])
    if value.keys() == {_ITEMS}:
        return {
            _with_arrays(key, arrays): _with_arrays(inner, arrays) for key, inner in value[_ITEMS]
        }
    return {key: _with_arrays(inner, arrays) for key, inner in value.items()}


def _named(name: str) -> Any:
    """Return a dtype that is not NumPy's own."""
    try:
        return np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    except ImportError as error:
        raise FastoptError(f"to read arrays of {name} ml_dtypes is needed") from error
