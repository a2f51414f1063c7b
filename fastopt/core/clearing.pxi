# Check that zero_grads can set the dense gradients to 0 during a step.
from fastopt._errors import FastoptError
from fastopt.arrays.accepted import require_followable
from fastopt.arrays.overlap import Spans, may_overlap_itself

from cpython.ref cimport PyObject
from libc.stdint cimport uintptr_t

from fastopt cimport _numpy as np_c
from fastopt._numpy cimport PyArrayObject


cdef bint require_clearable(Slot *slots, Py_ssize_t n_params, tuple grads,
                            tuple arrays) except -1:
    """Raise an error unless each dense gradient is writeable and shares no memory.

    grads: the caller's objects; arrays: the result of read_gradients.  Row-sparse gradients are not
    cleared.  Return True if the check may have called code of the caller, which may have changed
    the arrays.
    """
    cdef Py_ssize_t i
    if passed_before(slots, n_params, grads):
        return False
    names, dense, rows = [], [], []
    for i in range(n_params):
        array, name = arrays[i], <object>slots[i].name
        if array is None:
            continue
        if isinstance(array, tuple):  # the result of read_rows
            rows.append((f"the gradient of {name}", array[0]))
            continue
        require_followable(name, grads[i], array)
        if not array.flags.writeable:
            raise FastoptError(f"the gradient of {name} is read-only; zero_grads clears it")
        if may_overlap_itself(array):
            raise FastoptError(
                f"elements of the gradient of {name} share memory, or may share it; zero_grads "
                "would clear some of them before they are read"
            )
        names.append(f"the gradient of {name}")
        dense.append(np.asarray(array))
    cleared = Spans().with_arrays(names, dense, byte_bounds(dense))
    for name, values in rows:
        cleared.require_apart(name, values)
    remember(slots, n_params, grads)
    return True


cdef bint passed_before(Slot *slots, Py_ssize_t n_params, tuple grads) noexcept:
    """Return whether the gradients use the memory that passed the checks at an earlier step.

    The result is False if a gradient is row-sparse, because its memory is not remembered.
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
