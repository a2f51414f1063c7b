# How a gradient is described to C.
from cpython.object cimport PyObject_GetAttr


cdef str GRAD = "grad"


cdef bint point_at_gradient(Slot *slot, optimizer, list keep_alive) except -1:
    """Check a parameter and its gradient, and set the pointers that C reads.

    Return False if the shape, strides or dtype of the parameter are not those of the plan.
    keep_alive: a list, to which the objects that own the memory are appended.
    """
    cdef View param, grad
    cdef object given = PyObject_GetAttr(<object>slot.param, GRAD), plain = <object>slot.param
    cdef object indices = None
    slot.tensor.grad = NULL
    slot.tensor.rows = NULL
    if given is None:
        return True
    if slot.is_refused and tensors.refuse(plain):
        return False
    if slot.is_resolved:
        plain = tensors.plain(plain)
        given = tensors.plain_gradient(<object>slot.param, given)
        keep_alive.append(plain)
    if not view_of(<PyObject *>plain, &param) or not is_as_described(slot, &param):
        return False
    # view_of() at a sparse tensor raises a C++ exception, which is slow.
    if ((slot.was_sparse and given.is_sparse) or not view_of(<PyObject *>given, &grad)
            or grad.dtype < 0):
        given, indices = tensors.dense_or_rows(optimizer, slot.group, <object>slot.param, given)
        slot.was_sparse = indices is not None
        if not view_of(<PyObject *>given, &grad) or grad.dtype < 0:
            raise tensors.wrong_dtype(<object>slot.param, given)
    if indices is None and not (
        slot.is_dense and is_as_described(slot, &grad) and is_aligned(&param) and is_aligned(&grad)
        and (slot.tensor.size != 1 or not given.is_neg())
    ):
        # The exchange table does not show a pending negation or conjugation.  Only a view with gaps
        # can have one, but the gaps of a tensor with one element are not visible.
        given = tensors.resolved(given)
        view_of(<PyObject *>given, &grad)
        slot.tensor.layout = &slot.layout
    else:
        slot.tensor.layout = NULL
    keep_alive.append(given)
    slot.tensor.param = param.data if param.data != NULL else <void *>slot
    describe_gradient(slot, &grad, indices is None)
    if indices is not None:
        point_at_rows(slot, indices, keep_alive)
    # A tensor without elements may have no address, but it takes part in the step.
    slot.tensor.grad = grad.data if grad.data != NULL else <void *>slot
    return True


cdef int describe_gradient(Slot *slot, View *grad, bint has_all_rows) except -1:
    """Set the strides and dtype of a gradient, or of the values of a sparse gradient."""
    cdef fo_layout *layout = &slot.layout
    cdef int k, axis
    if grad.n_axes != layout.n_axes:
        raise_shape(slot)
    for k in range(layout.n_axes):
        axis = slot.axes[k]
        if grad.shape[axis] != layout.shape[k] and (has_all_rows or axis > 0):
            raise_shape(slot)
        layout.grad[k] = grad.strides[axis] * size_of(grad.dtype)
    layout.grad_dtype = <fo_dtype>grad.dtype
    return 0


cdef raise_shape(Slot *slot):
    raise FastoptError(
        f"a gradient has shape {tuple((<object>slot.param).grad.shape)}; its parameter has "
        f"{tuple((<object>slot.param).shape)}"
    )


cdef int point_at_rows(Slot *slot, indices, list keep_alive) except -1:
    """Describe the rows that are present in a sparse gradient, with int64 indices."""
    cdef View rows, work
    cdef int64_t n = indices.numel(), bad, n_rows = slot.layout.shape[slot.layout.row_axis]
    memory = torch.empty(core.rows_work(n), dtype=torch.int64)
    keep_alive += (memory, indices)
    if not view_of(<PyObject *>indices, &rows) or not view_of(<PyObject *>memory, &work):
        raise AssertionError("the indices of a sparse gradient could not be read")
    bad = core.rows_group(<int64_t *>rows.data, n, n_rows, <int64_t *>work.data, &slot.rows)
    if bad >= 0:
        raise FastoptError(
            f"a sparse gradient has row {int(indices[bad])}; allowed: 0 to {n_rows - 1}"
        )
    slot.tensor.layout = &slot.layout
    slot.tensor.rows = &slot.rows
    return 0
