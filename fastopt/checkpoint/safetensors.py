"""JSON and arrays in the .safetensors format, with a checksum, which the format lacks."""

from __future__ import annotations

import importlib
import os
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.dtypes import Array
from fastopt.checkpoint.encoding import PLAIN
from fastopt.checkpoint.regular_files import PathLike


def save(file: BinaryIO, plain: str, arrays: Mapping[str, Array]) -> None:
    """Write the JSON ``plain`` and the arrays."""
    metadata = {PLAIN: plain, "crc32": str(_crc32(plain, arrays))}
    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    file.write(_library("write a .safetensors file").numpy.save(in_order, metadata))


def load(path: PathLike) -> tuple[str, dict[str, Array]]:
    """Return the JSON and the arrays that `save` wrote."""
    library = _library(f"read {os.fspath(path)!r}, unless it is damaged,")
    try:
        with library.safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except library.SafetensorError as error:
        raise ValueError from error
    if metadata["crc32"] != str(_crc32(metadata[PLAIN], arrays)):
        raise ValueError
    return metadata[PLAIN], arrays


def _library(purpose: str) -> Any:
    """Return the package safetensors, with its module numpy."""
    try:
        importlib.import_module("safetensors.numpy")
        return importlib.import_module("safetensors")
    except ImportError as error:
        raise FastoptError(
            f"to {purpose} safetensors is needed; from a checkout: pip install '.[checkpoint]'"
        ) from error


def _crc32(plain: str, arrays: Mapping[str, Array]) -> int:
    total = zlib.crc32(plain.encode())
    for name in sorted(arrays):
        total = zlib.crc32(arrays[name].tobytes(), total)
    return total
