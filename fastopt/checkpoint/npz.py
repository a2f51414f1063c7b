"""JSON and arrays in NumPy's .npz format: a zip file with a .npy file for each array."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from fastopt.arrays.accepted import Array
from fastopt.checkpoint.encoding import PLAIN


class _Archive(zipfile.ZipFile):
    """A ZipFile whose finalizer is not written in Python.

    If the handler of a signal runs while Python code is called from C that ignores errors, the
    KeyboardInterrupt is lost.  `ZipFile.__del__` and `NpzFile.__del__` are such code, as is the
    closing of a member that was not closed, and `str` of an array.
    """

    # A method in C without effect; the `with` statement closes.
    __del__ = object.__sizeof__  # type: ignore[assignment]


def save(file: BinaryIO, plain: str, arrays: Mapping[str, Array]) -> None:
    """Write the JSON ``plain`` and the arrays."""
    np.savez(file, allow_pickle=False, **{PLAIN: np.array(plain)}, **arrays)


def load(file: BinaryIO) -> tuple[str, dict[str, Array]]:
    """Return the JSON and the arrays that `save` wrote."""
    # Not by numpy.load, nor by str() of an array: see _Archive.
    arrays = {}
    with _Archive(file) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                arrays[name.removesuffix(".npy")] = np.lib.format.read_array(
                    member, allow_pickle=False
                )
    return arrays.pop(PLAIN).item(), arrays
