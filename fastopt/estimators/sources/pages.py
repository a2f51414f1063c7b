"""Memory of mapped files, given back to the operating system after it was read."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from fastopt.estimators.sources.block import Array

__all__ = ["give_back", "mapping_of"]


def mapping_of(array: object) -> mmap.mmap | None:
    """Return the mapping of a file in which an array lies, or None.

    Parameters
    ----------
    array : object
        An array; `numpy.memmap`, a view of one, or any other.

    Returns
    -------
    mmap or None
        None too for mode "c": its pages have changes that are nowhere else.
    """
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(mapping := _mmap(array), mmap.mmap):
            return None if getattr(array, "mode", "c") == "c" else mapping
        array = array.base
    return None


def _mmap(array: Any) -> object:
    return getattr(array, "_mmap", None)


def give_back(mapping: mmap.mmap | None, rows: Array) -> None:
    """Let the operating system free the pages of rows of a mapped file.

    They are read from the file again when they are needed.  Pages between these rows are freed,
    too; for a Fortran-ordered array these are all pages.  Otherwise the process would appear to
    need as much memory as the file has.

    Parameters
    ----------
    mapping : mmap or None
        Nothing is done for None, nor where the system has no ``madvise``.
    rows : array of shape (n, p) or (n,)
        A view of the mapping.
    """
    if mapping is None or not rows.size or not hasattr(mapping, "madvise"):
        return
    start = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
    low, high = (address - start for address in np.lib.array_utils.byte_bounds(rows))
    # The next rows may begin in the last page.
    low, high = (at // mmap.PAGESIZE * mmap.PAGESIZE for at in (low, high))
    if high > low:
        mapping.madvise(mmap.MADV_DONTNEED, low, high - low)
