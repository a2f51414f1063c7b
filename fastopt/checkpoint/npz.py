"""JSON and arrays in NumPy's .npz format: a zip file with a .npy file for each array.

A file may come from an untrusted source.  Headers are checked before any array is allocated, so
that reading takes no more memory than the file has bytes.
"""

from __future__ import annotations

import errno
import math
import os
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from typing import IO, BinaryIO

import numpy as np

from fastopt.arrays.dtypes import Array
from fastopt.checkpoint.encoding import PLAIN

LOCAL_HEADER = 30  # bytes before the name of a member
LONGEST_NAMES = 2 * 0xFFFF  # bytes of the name and of the extra field after it, at most
IS_ENCRYPTED = 0x1  # a flag of a member


class _Archive(zipfile.ZipFile):
    """A ZipFile whose finalizer is not written in Python.

    If the handler of a signal runs while Python code is called from C that ignores errors, the
    KeyboardInterrupt is lost.  `ZipFile.__del__` and `NpzFile.__del__` are such code, as is the
    closing of a member that was not closed, and `str` of an array.
    """

    start_dir: int

    # A method in C without effect; the `with` statement closes the file.
    __del__ = object.__sizeof__  # type: ignore[assignment]


def save(file: BinaryIO, plain: str, arrays: Mapping[str, Array]) -> None:
    """Write the JSON ``plain`` and the arrays."""
    np.savez(file, allow_pickle=False, **{PLAIN: np.array(plain)}, **arrays)


def load(file: BinaryIO) -> tuple[str, dict[str, Array]]:
    """Return the JSON and the arrays that `save` wrote; raise ValueError for other zip files."""
    # numpy.load and str() of an array are not used, for the reason given in _Archive.
    arrays = {}
    with _opened(file) as archive:
        _require_stored_members(archive)
        for info in archive.infolist():
            with archive.open(info) as member:
                arrays[info.filename.removesuffix(".npy")] = _array(member, info)
    return arrays.pop(PLAIN).item(), arrays


def _opened(file: BinaryIO) -> _Archive:
    try:
        return _Archive(file)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ValueError("the zip file has a negative offset") from error


def _require_stored_members(archive: _Archive) -> None:
    """Raise unless the file consists of uncompressed .npy files, one after the other."""
    members = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if len({info.filename for info in members}) != len(members):
        raise ValueError("the zip file has two members of one name")
    for info in members:
        if not info.filename.endswith(".npy") or info.filename == ".npy":
            raise ValueError(f"the zip file has the member {info.filename!r}, not an array")
        is_stored = info.compress_type == zipfile.ZIP_STORED
        if not is_stored or info.compress_size != info.file_size or info.flag_bits & IS_ENCRYPTED:
            raise ValueError(f"{info.filename!r} is compressed or encrypted")
    ends = [*(info.header_offset for info in members), archive.start_dir]
    if ends[0] != 0:
        raise ValueError("the zip file does not begin with its first member")
    for info, (begin, end) in zip(members, pairwise(ends), strict=True):
        if not 0 < end - begin - LOCAL_HEADER - info.file_size <= LONGEST_NAMES:
            raise ValueError(f"{info.filename!r} does not end where the next member begins")


def _array(member: IO[bytes], info: zipfile.ZipInfo) -> Array:
    """Return the array of a .npy file."""
    shape, dtype = _header(member)
    found, needed = info.file_size - member.tell(), math.prod(shape) * dtype.itemsize
    if found != needed:
        raise ValueError(f"{info.filename!r} has {found} bytes of data; its header says {needed}")
    member.seek(os.SEEK_SET)
    array = np.lib.format.read_array(member, allow_pickle=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # native byte order


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and dtype of a .npy file."""
    version = np.lib.format.read_magic(member)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    try:
        shape, _, dtype = read(member)
    except MemoryError as error:  # Python's parser raises it for deeply nested expressions
        raise ValueError("the header of an array is damaged") from error
    return shape, dtype
