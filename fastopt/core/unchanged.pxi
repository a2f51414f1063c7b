# Check before each step that a parameter is still the array that was described to C.
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import require_parameter

from cpython.ref cimport PyObject

from fastopt cimport _numpy as np_c
from fastopt._numpy cimport PyArrayObject

MEND = "update it in place (w[...] = new) or make a new optimizer"


cdef int require_unchanged(Slot *slot) except -1:
    """Raise an error if the caller replaced, resized or locked a parameter."""
    cdef PyArrayObject *param = <PyArrayObject *>slot.param
    cdef PyObject *held = slot.param
    if slot.holder != NULL:
        if slot.position < 0:
            held = np_c.PyDict_GetItemWithError(slot.holder, slot.key)
        else:
            held = np_c.PyList_GetItem(slot.holder, slot.position)
            if held == NULL:
                np_c.PyErr_Clear()  # the list became shorter: raise the error below
    if held != slot.param:
        raise FastoptError(
            f"{<object>slot.name} is no longer the array that the optimizer was given; {MEND}"
        )
    if (np_c.PyArray_DATA(param) != slot.tensor.param
            or np_c.PyArray_SIZE(param) != slot.tensor.size
            or np_c.PyArray_TYPE(param) != slot.numpy_type):
        raise FastoptError(f"{<object>slot.name} was resized or given another dtype; {MEND}")
    if slot.is_plain:
        if not np_c.PyArray_ISCARRAY(param):
            require_parameter(<object>slot.name, <object>slot.param)
            require_layout(slot)
        return 0
    require_layout(slot)
    if not np_c.PyArray_ISBEHAVED(param):
        require_parameter(<object>slot.name, <object>slot.param)
    return 0


cdef int require_layout(Slot *slot) except -1:
    """Raise an error if the shape or the strides of a parameter have changed.

    A C-contiguous parameter may be reshaped, as long as its gradients are C-contiguous too.
    """
    cdef PyArrayObject *param = <PyArrayObject *>slot.param
    cdef fo_layout *layout = slot.layout
    cdef int k, axis
    if np_c.PyArray_NDIM(param) != layout.n_axes:
        raise FastoptError(f"{<object>slot.name} was given another shape; {MEND}")
    for k in range(layout.n_axes):
        axis = slot.axes[k]
        if (np_c.PyArray_STRIDES(param)[axis] != layout.param[k]
                or np_c.PyArray_DIMS(param)[axis] != layout.shape[k]):
            raise FastoptError(f"{<object>slot.name} was given another shape or strides; {MEND}")
    return 0
