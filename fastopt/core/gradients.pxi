# Read the gradient of each parameter as an array, check it, and point C's tensor at it.
import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.accepted import as_gradient
from fastopt.arrays.sparse import RowSparse, as_rows, require_within

cimport numpy as cnp
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t

from fastopt._csrc cimport *
from fastopt cimport _numpy as np_c
from fastopt._numpy cimport PyArrayObject


MISSING = object()


cdef tuple in_order(str kind, tuple keys, grads):
    """Return the gradients in the order of the parameters; keys: those of a dict."""
    if kind == "array":
        return (grads,)
    if kind == "dict":
        if not isinstance(grads, dict):
            raise TypeError(f"gradients are a {type(grads).__name__}; a dict is needed")
        if len(grads) == len(keys):
            found = []
            for key in keys:  # not by grads[key]: a defaultdict would create missing keys
                grad = (<dict>grads).get(key, MISSING)
                if grad is MISSING:
                    break
                found.append(grad)
            else:
                return tuple(found)
        raise FastoptError(f"gradients have keys {list(grads)}; {list(keys)} are needed")
    if not isinstance(grads, (list, tuple)):
        raise TypeError(f"gradients are a {type(grads).__name__}; a list or tuple is needed")
    if len(grads) != len(keys):
        raise FastoptError(f"{len(grads)} gradients for {len(keys)} parameters")
    return tuple(grads)


cdef tuple read_gradients(Slot *slots, Py_ssize_t n_params, tuple grads):
    """Return the gradients, each as an array, as the result of read_rows, or None.

    Reading a gradient may call the caller's code, for example ``__array__``, which may resize any
    array.  All gradients are therefore read before point_at_gradients takes an address.
    """
    cdef Py_ssize_t i
    cdef PyObject *grad
    for i in range(n_params):
        grad = np_c.PyTuple_GetItem(grads, i)
        if grad != <PyObject *>None and not np_c.PyArray_CheckExact(grad):
            break
    else:
        return grads
    arrays = []
    for i in range(n_params):
        arrays.append(read_gradient(slots + i, grads[i]))
    return tuple(arrays)


cdef object read_gradient(Slot *slot, grad):
    """Return a gradient as an array, as the result of read_rows, or None."""
    if grad is None or np_c.PyArray_CheckExact(<PyObject *>grad):
        return grad
    if isinstance(grad, RowSparse) or hasattr(grad, "tocsr"):
        return read_rows(slot, grad)
    return as_gradient(<object>slot.name, base_array(slot), grad)


cdef tuple read_rows(Slot *slot, grad):
    """Return the values and the indices of a row-sparse gradient, and scratch memory."""
    cdef cnp.npy_intp n_work
    if slot.tensor.ema:
        raise FastoptError(
            f"the gradient of {<object>slot.name} is row-sparse; ema_decay and lookahead_steps "
            "average all rows, so they need dense gradients"
        )
    if <object>slot.no_rows:
        raise FastoptError(
            f"the gradient of {<object>slot.name} is row-sparse; {<object>slot.no_rows}"
        )
    if type(grad) is RowSparse:
        values, indices = grad.values, grad.indices
    else:
        values = indices = None
    if not are_rows(slot, values, indices):
        indices, values = as_rows(<object>slot.name, base_array(slot), grad)
        notice_dtype(values.dtype)
    n_work = fo_rows_work(cnp.PyArray_SIZE(indices))
    return values, indices, cnp.PyArray_EMPTY(1, &n_work, cnp.NPY_INT64, False)


cdef bint are_rows(Slot *slot, values, indices) noexcept:
    """Return whether these arrays are rows of the parameter, in a form that C can read."""
    cdef PyArrayObject *of_rows = <PyArrayObject *>values
    cdef PyArrayObject *numbers = <PyArrayObject *>indices
    cdef fo_layout *layout = slot.layout
    cdef int k, axis
    if (
        not np_c.PyArray_CheckExact(<PyObject *>values)
        or not np_c.PyArray_CheckExact(<PyObject *>indices)
        or np_c.PyArray_NDIM(numbers) != 1
        or not np_c.PyArray_ISCARRAY_RO(numbers)
        or np_c.PyArray_TYPE(numbers) not in (cnp.NPY_INT64, cnp.NPY_LONGLONG)
        or layout.n_axes == 0
        or np_c.PyArray_NDIM(of_rows) != layout.n_axes
        or not np_c.PyArray_IS_C_CONTIGUOUS(of_rows)
        or not np_c.PyArray_ISNOTSWAPPED(of_rows)
        or code_of(np_c.PyArray_TYPE(of_rows)) < 0
        or np_c.PyArray_DIMS(of_rows)[0] != np_c.PyArray_SIZE(numbers)
    ):
        return False
    for k in range(layout.n_axes):
        axis = slot.axes[k]
        if axis > 0 and np_c.PyArray_DIMS(of_rows)[axis] != layout.shape[k]:
            return False
    return True


cdef int point_at_gradients(Slot *slots, Py_ssize_t n_params, Written written,
                            tuple grads) except -1:
    """Check every gradient and point its tensor at it; grads: the result of read_gradients."""
    cdef Py_ssize_t i
    cdef Slot *slot
    cdef PyObject *grad
    cdef PyArrayObject *param
    for i in range(n_params):
        slot = slots + i
        require_unchanged(slot)
        param = <PyArrayObject *>slot.param
        grad = np_c.PyTuple_GetItem(grads, i)
        slot.tensor.rows = NULL
        if grad == <PyObject *>None:
            slot.tensor.grad = NULL
        elif (
            slot.is_plain
            and np_c.PyArray_CheckExact(grad)
            and np_c.PyArray_TYPE(<PyArrayObject *>grad) == slot.numpy_type
            and np_c.PyArray_ISCARRAY_RO(<PyArrayObject *>grad)
            and np_c.PyArray_SAMESHAPE(<PyArrayObject *>grad, param)
        ):
            if <uintptr_t>np_c.PyArray_DATA(<PyArrayObject *>grad) != slot.disjoint:
                written.require_contiguous_apart(slot, grad)
            slot.tensor.layout = NULL
            slot.tensor.grad = np_c.PyArray_DATA(<PyArrayObject *>grad)
        elif (
            np_c.PyArray_CheckExact(grad)
            and np_c.PyArray_ISNOTSWAPPED(<PyArrayObject *>grad)
            and code_of(np_c.PyArray_TYPE(<PyArrayObject *>grad)) >= 0
            and np_c.PyArray_SAMESHAPE(<PyArrayObject *>grad, param)
        ):
            point_at_array(slot, written, grad)
        elif not np_c.PyArray_CheckExact(grad):
            values, indices, work = <object>grad
            point_at_rows(slot, written, values, indices, work)
        else:
            array = as_gradient(<object>slot.name, base_array(slot), <object>grad)
            # If as_gradient raises no error, only the type number of bfloat16 was still unknown.
            notice_dtype(array.dtype)
            point_at_array(slot, written, grad)
    return 0


cdef int point_at_array(Slot *slot, Written written, PyObject *grad) except -1:
    """Point a tensor at a gradient of any layout and dtype."""
    cdef PyArrayObject *array = <PyArrayObject *>grad
    cdef fo_layout *layout = slot.layout
    cdef Py_ssize_t *strides = np_c.PyArray_STRIDES(array)
    cdef uintptr_t begin = <uintptr_t>np_c.PyArray_DATA(array), end
    cdef int64_t reach, k
    # Whether the gradient has the dtype and strides of the parameter, so that C needs no layout.
    cdef bint alike = (
        slot.is_dense and np_c.PyArray_ISALIGNED(array)
        and np_c.PyArray_TYPE(array) == slot.numpy_type
    )
    require_layout(slot)
    slot.tensor.grad = np_c.PyArray_DATA(array)
    layout.grad_dtype = <fo_dtype>code_of(np_c.PyArray_TYPE(array))
    end = begin + np_c.PyArray_ITEMSIZE(array)
    for k in range(layout.n_axes):
        layout.grad[k] = strides[slot.axes[k]]
        alike = alike and (layout.grad[k] == layout.param[k] or layout.shape[k] == 1)
        reach = layout.grad[k] * (layout.shape[k] - 1)
        if reach < 0:
            begin += <uintptr_t>reach
        else:
            end += <uintptr_t>reach
    if slot.tensor.size:
        written.require_apart(slot, begin, end, <object>grad)
    slot.tensor.layout = NULL if alike else layout
    if slot.row_numbers != NULL:
        point_at_every_row(slot)
    return 0


cdef void point_at_every_row(Slot *slot) noexcept:
    """Describe a dense gradient as a row-sparse one in which each row occurs once, in order."""
    slot.rows.n = slot.layout.shape[slot.layout.row_axis]
    slot.rows.row = slot.rows.start = slot.rows.order = slot.row_numbers
    slot.rows.clears = True
    slot.tensor.rows = slot.rows


cdef int point_at_rows(Slot *slot, Written written, cnp.ndarray values, cnp.ndarray indices,
                       cnp.ndarray work) except -1:
    """Point a tensor at a row-sparse gradient; the arrays: the result of read_rows."""
    cdef fo_layout *layout = slot.layout
    cdef uintptr_t begin = <uintptr_t>cnp.PyArray_DATA(values)
    cdef int64_t k, bad, n = cnp.PyArray_SIZE(indices)
    cdef int64_t n_rows
    require_layout(slot)
    if fo_rows_work(n) != cnp.PyArray_SIZE(work) or not are_rows(slot, values, indices):
        raise FastoptError(
            f"the gradient of {<object>slot.name} changed while the gradients were read"
        )
    n_rows = layout.shape[layout.row_axis]
    written.require_apart(slot, begin, begin + cnp.PyArray_NBYTES(values), values)
    bad = fo_rows_group(<int64_t *>cnp.PyArray_DATA(indices), n, n_rows,
                        <int64_t *>cnp.PyArray_DATA(work), slot.rows)
    if bad >= 0:
        require_within(<object>slot.name, base_array(slot), indices)
        raise FastoptError(  # another thread has changed the index since
            f"the gradient of {<object>slot.name} changed while the gradients were read"
        )
    layout.grad_dtype = <fo_dtype>code_of(cnp.PyArray_TYPE(values))
    for k in range(layout.n_axes):
        layout.grad[k] = values.strides[slot.axes[k]]
    slot.tensor.grad = cnp.PyArray_DATA(values)
    slot.tensor.layout = layout
    slot.tensor.rows = slot.rows
    return 0
