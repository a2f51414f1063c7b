# Check that zero_grads can set the dense gradients to 0 during a step.
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import as_gradient, require_followable
from fastopt.arrays.overlap import Spans, may_overlap_itself
from fastopt.arrays.sparse import RowSparse

from cpython.ref cimport PyObject
from libc.stdint cimport uintptr_t

from fastopt cimport _numpy as np_c
from fastopt._numpy cimport PyArrayObject


cdef int require_clearable(Slot *slots, Py_ssize_t n_params, tuple grads, list alive) except -1:
    """Raise an error unless each dense gradient is writeable and shares no memory.

    alive: the result of point_at_gradients.  Row-sparse gradients in it are not cleared.
    """
    cdef Py_ssize_t i
    if passed_before(slots, n_params, grads):
        return 0
    arrays = []
    for i in range(n_params):
        grad, name = grads[i], <object>slots[i].name
        if grad is None or isinstance(grad, RowSparse) or hasattr(grad, "tocsr"):
            continue
        array = as_gradient(name, <object>slots[i].param, grad)
        require_followable(name, grad, array)
        if not array.flags.writeable:
            raise FastoptError(f"the gradient of {name} is read-only; zero_grads clears it")
        if may_overlap_itself(array):
            raise FastoptError(
                f"elements of the gradient of {name} share memory, or may share it; zero_grads "
                "would clear some of them before they are read"
            )
        arrays.append((f"the gradient of {name}", array))
    cleared = Spans(arrays)
    for entry in alive:
        if isinstance(entry, tuple):  # of a row-sparse gradient
            cleared.require_apart(f"the gradient of {entry[0]}", entry[1])
    remember(slots, n_params, grads)
    return 0


cdef bint passed_before(Slot *slots, Py_ssize_t n_params, tuple grads) noexcept:
    """Return whether the gradients have the memory that passed the checks at an earlier step.

    False if one is row-sparse: its memory is not remembered.
    """
    cdef Py_ssize_t i
    cdef int k
    cdef Slot *slot
    cdef PyObject *grad
    cdef PyArrayObject *array
    for i in range(n_params):
        slot = slots + i
        if slot.tensor.grad == NULL:
            continue
        if slot.tensor.rows != NULL and not slot.tensor.rows.clears:
            return False
        grad = np_c.PyTuple_GetItem(grads, i)
        array = <PyArrayObject *>grad
        if (
            not np_c.PyArray_CheckExact(grad)
            or not np_c.PyArray_ISWRITEABLE(array)
            or np_c.PyArray_NDIM(array) != slot.layout.n_axes
            or <uintptr_t>np_c.PyArray_DATA(array) != slot.cleared
            or np_c.PyArray_TYPE(array) != slot.cleared_type
        ):
            return False
        for k in range(slot.layout.n_axes):
            if np_c.PyArray_STRIDES(array)[k] != slot.cleared_strides[k]:
                return False
    return True


cdef int remember(Slot *slots, Py_ssize_t n_params, tuple grads) except -1:
    """Remember the memory of gradients that passed the checks."""
    cdef Py_ssize_t i
    cdef int k
    cdef Slot *slot
    cdef PyObject *grad
    cdef PyArrayObject *array
    for i in range(n_params):
        slot = slots + i
        grad = np_c.PyTuple_GetItem(grads, i)
        slot.cleared = 0
        array = <PyArrayObject *>grad
        if np_c.PyArray_CheckExact(grad) and np_c.PyArray_NDIM(array) == slot.layout.n_axes:
            slot.cleared = <uintptr_t>np_c.PyArray_DATA(array)
            slot.cleared_type = np_c.PyArray_TYPE(array)
            for k in range(slot.layout.n_axes):
                slot.cleared_strides[k] = np_c.PyArray_STRIDES(array)[k]
    return 0
