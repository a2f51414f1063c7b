# Loops that KeyboardInterrupt cannot stop halfway: they run in C code, and Python delivers the
# exception only between bytecodes.  After an interrupt, either no array has changed or all have.
import numpy as np

from cpython.object cimport PyObject_GenericSetAttr


def assign_all(list pairs, attributes=()):
    """Set array[...] = value for each pair, then holder.name = value for each triple."""
    for array, value in pairs:
        array[...] = value
    for holder, name, value in attributes:
        PyObject_GenericSetAttr(holder, name, value)  # skips a __setattr__ written in Python


def add_all(list pairs):
    """Add value to array in place, for each pair."""
    for array, value in pairs:
        np.add(array, value, out=array, casting="same_kind")
