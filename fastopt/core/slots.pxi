# Describe parameters and their state arrays to C: one Slot for each parameter.
import numpy as np

from fastopt._errors import FastoptError
from fastopt.arrays.layout import memory_order

cimport numpy as cnp
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free

from fastopt._csrc cimport *
from fastopt cimport _numpy as np_c


# All pointers to Python objects are borrowed: the Plan owns the objects.
cdef struct Slot:
    PyObject *param
    PyObject *name  # for error messages
    PyObject *no_rows  # why a row-sparse gradient is refused, or ""
    PyObject *holder  # the caller's list or dict that contains the parameter, or NULL
    PyObject *key
    Py_ssize_t position  # in a list; -1 in a dict
    int numpy_type
    bint is_dense  # parameter and states are in the dtype of the computation, without gaps
    bint is_plain  # the same, and C-contiguous
    uintptr_t disjoint  # the address of a contiguous gradient that passed the overlap check
    # The memory of the gradient at the last step whose gradients all passed require_clearable.
    uintptr_t cleared
    int cleared_type
    Py_ssize_t cleared_strides[FO_MAX_AXES]
    fo_tensor *tensor
    fo_layout *layout
    fo_rows *rows
    fo_factored *factored
    int *axes  # the parameter's axes in the order of the layout's
    const int64_t *row_numbers  # 0, 1, ..., number of rows; NULL if the rule is not row-wise


cdef class Layouts:
    """The layouts, rows, axes and factored states that the slots of some parameters point at.

    When parameters are added, the new plan shares those of the plan that it replaces.
    """
    cdef fo_layout *layouts
    cdef fo_rows *rows
    cdef fo_factored *factored
    cdef int *axes

    def __cinit__(self, size_t n_params):
        self.layouts = <fo_layout *>calloc(n_params + 1, sizeof(fo_layout))
        self.rows = <fo_rows *>calloc(n_params + 1, sizeof(fo_rows))
        self.factored = <fo_factored *>calloc(n_params + 1, sizeof(fo_factored))
        self.axes = <int *>calloc(n_params + 1, FO_MAX_AXES * sizeof(int))
        if not self.layouts or not self.rows or not self.factored or not self.axes:
            raise MemoryError

    def __dealloc__(self):
        free(self.layouts)
        free(self.rows)
        free(self.factored)
        free(self.axes)


cdef int bfloat16_type = -1  # NumPy's type number, which is assigned when ml_dtypes is imported


cdef notice_dtype(dtype):
    """Remember NumPy's type number of bfloat16."""
    global bfloat16_type
    if dtype.kind == "V" and dtype.name == "bfloat16":  # kind first, because name is slow
        bfloat16_type = dtype.num


cdef int code_of(int numpy_type):
    """Return the fo_dtype of one of NumPy's type numbers, or -1 if there is none."""
    if numpy_type == cnp.NPY_FLOAT:
        return FO_F32
    if numpy_type == cnp.NPY_DOUBLE:
        return FO_F64
    if numpy_type == np_c.NPY_HALF:
        return FO_F16
    return FO_BF16 if numpy_type == bfloat16_type else -1


cdef base_array(Slot *slot):
    """Return the parameter as a plain ndarray; a subclass may override shape and the like."""
    return np.asarray(<object>slot.param)


cdef describe_holder(Slot *slot, holder, key):
    """Record the list or dict in which the caller keeps the parameter, or None."""
    if holder is not None:
        slot.holder = <PyObject *>holder
        slot.key = <PyObject *>key
        slot.position = key if isinstance(holder, list) else -1


cdef describe_tensor(fo_tensor *tensor, name, cnp.ndarray param, tuple states, tuple extra,
                     tuple scalars):
    """Point a tensor at the arrays of a parameter."""
    cdef Py_ssize_t k
    cdef cnp.ndarray array, step, saved
    tensor.dtype = FO_F64 if cnp.PyArray_TYPE(param) == cnp.NPY_DOUBLE else FO_F32
    tensor.size = cnp.PyArray_SIZE(param)
    tensor.param = cnp.PyArray_DATA(param)
    step, saved = scalars
    if cnp.PyArray_SIZE(saved) != FO_MAX_SAVED:
        raise AssertionError(f"{name} has {cnp.PyArray_SIZE(saved)} saved numbers")
    tensor.step = <int64_t *>cnp.PyArray_DATA(step)
    tensor.saved = <double *>cnp.PyArray_DATA(saved)
    for k, array in enumerate(states):
        tensor.state[k] = data_of(name, array, tensor.size)
    master, ema, row_state, *_ = extra
    if row_state is not None:
        tensor.row_state = data_of(name, row_state, cnp.PyArray_DIMS(param)[0])
    if master is not None:
        tensor.master = data_of(name, master, tensor.size)
    if ema is not None:
        tensor.ema = data_of(name, ema, tensor.size)


cdef describe_factored(Slot *slot, fo_tensor *tensor, cnp.ndarray param, tuple states):
    """Point a tensor at the state arrays of a factored rule, after describe_layout."""
    cdef Py_ssize_t k
    cdef cnp.ndarray array
    for k in range(param.ndim):
        slot.factored.axis[slot.axes[k]] = k
    for k, array in enumerate(states):
        slot.factored.state[k] = cnp.PyArray_DATA(array)
    tensor.factored = slot.factored


cdef void *data_of(name, cnp.ndarray array, int64_t size) except? NULL:
    """Return the address of a state array, which must have `size` elements."""
    if cnp.PyArray_SIZE(array) != size:
        raise FastoptError(
            f"the state of {name} has {cnp.PyArray_SIZE(array)} elements; {size} are needed: "
            "the parameter was resized before it was copied"
        )
    return cnp.PyArray_DATA(array)


cdef describe_scales(Slot *slot, fo_tensor *tensor, name, tuple block_scales):
    """Point a tensor at the scale bytes of its states of 8 bits; block_scales: see `Plan`."""
    cdef Py_ssize_t k
    cdef cnp.ndarray scale
    for k, (scale, is_signed) in enumerate(block_scales):
        n_blocks = np.prod(float8_blocks(base_array(slot).shape))
        tensor.scale[k] = <uint8_t *>data_of(name, scale, n_blocks)
        slot.layout.code[k] = FO_SIGNED if is_signed else FO_NON_NEGATIVE
        slot.layout.state_dtype = FO_F8


cdef describe_layout(Slot *slot, fo_dtype computed_in, cnp.ndarray param, tuple states, master,
                     bint is_factored, tuple block_scales):
    """Describe the shape, strides and dtypes of a parameter and its states.

    The axes of the layout are those of the parameter, from the largest stride to the smallest, or,
    with states of 8 bits, in C order.
    """
    cdef fo_layout *layout = slot.layout
    cdef int64_t own = 1, index = 1, k, axis
    order = tuple(range(param.ndim)) if block_scales else memory_order(param)
    slot.numpy_type = cnp.PyArray_TYPE(param)
    notice_dtype(param.dtype)
    layout.n_axes = param.ndim
    layout.param_dtype = <fo_dtype>code_of(slot.numpy_type)
    layout.state_dtype = computed_in
    for array in states:
        notice_dtype(array.dtype)
        layout.state_dtype = <fo_dtype>code_of(cnp.PyArray_TYPE(<cnp.ndarray>array))
    dense = (
        layout.param_dtype == computed_in
        and layout.state_dtype == computed_in
        and master is None
        and not block_scales
        # Otherwise C updates it by rows or columns, which needs a layout.
        and slot.row_numbers == NULL
        and not is_factored
    )
    for k in reversed(range(param.ndim)):
        axis = order[k]
        slot.axes[k] = axis
        layout.shape[k] = param.shape[axis]
        layout.param[k] = param.strides[axis]
        layout.own[k] = own
        if param.shape[axis] > 1 and layout.param[k] != own * param.itemsize:
            dense = False
        own *= layout.shape[k]
        if axis == 0:
            layout.row_axis = k
    for axis in reversed(range(param.ndim)):
        layout.index[<int64_t>order.index(axis)] = index
        index *= param.shape[axis]
    slot.is_dense = dense
    slot.is_plain = dense and param.flags.c_contiguous


cdef row_numbers_of(param):
    """Return 0, 1, ..., len(param), which describes the rows of a dense gradient."""
    return np.arange(len(np.asarray(param)) + 1, dtype=np.int64)
