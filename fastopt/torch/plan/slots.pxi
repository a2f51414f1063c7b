# How a parameter and its state are described to C: one Slot for each parameter.
from cpython.dict cimport PyDict_Check, PyDict_GetItemWithError, PyDict_Next, PyDict_SetItem
from cpython.long cimport PyLong_Check


cdef double MAX_STEPS = <int64_t>1 << 62


# Pointers to Python objects are borrowed: other references keep the objects alive.
cdef struct Slot:
    PyObject *param
    Py_ssize_t group
    bint is_refused  # its memory cannot be used, so it must not have a gradient
    bint is_resolved  # complex or a DTensor: `tensors.plain(param)` stores its elements
    bint is_shard  # a DTensor
    bint is_dense  # the parameter has the dtype of the arithmetic, and no gaps
    bint is_blocked  # its states have 8 bits
    bint is_new  # this step makes the rule's state arrays
    bint was_sparse  # the last gradient was sparse
    int64_t taken  # the number of steps taken
    int64_t count  # the step count that C reads: `taken`; with SGD's buffer, 0 if it is new
    double saved[FO_MAX_SAVED]  # numbers that the rule stores between steps
    PyObject *inner  # the state dict of the parameter, during a step
    void *step_data  # the address of "step" in the state
    int step_dtype
    void *saved_data[FO_MAX_SAVED]  # the addresses of the saved numbers in the state
    int saved_dtype[FO_MAX_SAVED]
    fo_tensor *tensor
    fo_layout layout
    fo_rows rows
    fo_factored factored
    int64_t factored_size[FO_MAX_AXES]  # the number of elements of each of its arrays
    int n_factored
    int axes[FO_MAX_AXES]  # axes[k] is the parameter's axis that is axis k of the layout


cdef int describe(Slot *slot, fo_tensor *tensor, param, bint has_float8) except -1:
    """Describe a parameter to C; has_float8: whether its states have 8 bits, if they can.

    One that cannot be updated is marked as refused; a step raises an error if it has a gradient.
    """
    cdef View view
    cdef int64_t own = 1, extent = 1, index = 1, k, axis
    cdef fo_layout *layout = &slot.layout
    tensor.step, tensor.saved = &slot.count, slot.saved
    slot.taken = -1  # this and the saved numbers are read at the first step
    for k in range(FO_MAX_SAVED):
        slot.saved[k] = float("nan")
    if not isinstance(param, Tensor):
        raise TypeError(f"a parameter is a {type(param).__name__}; a torch.Tensor is needed")
    if not tensors.is_readable(param):
        slot.is_refused = True
        return 0
    slot.is_shard = distributed.is_dtensor(param)
    slot.is_resolved = tensors.needs_resolving(param)
    plain = tensors.plain(param) if slot.is_resolved else param
    if not view_of(<PyObject *>plain, &view) or view.dtype < 0:
        slot.is_refused = True
        return 0
    by_stride = sorted(range(view.n_axes), key=lambda axis: -plain.stride(axis))
    slot.is_blocked = has_float8 and view.dtype != FO_F64 and not slot.is_resolved
    order = list(range(view.n_axes)) if slot.is_blocked else by_stride
    tensor.dtype = FO_F64 if view.dtype == FO_F64 else FO_F32
    layout.n_axes = view.n_axes
    layout.param_dtype = <fo_dtype>view.dtype
    layout.state_dtype = tensor.dtype
    slot.is_dense = view.dtype == tensor.dtype
    for k in reversed(range(view.n_axes)):
        axis = order[k]
        slot.axes[k] = axis
        slot.factored.axis[axis] = k
        layout.shape[k] = view.shape[axis]
        layout.param[k] = view.strides[axis] * size_of(view.dtype)
        layout.own[k] = own
        if view.shape[axis] > 1 and view.strides[axis] != own:
            slot.is_dense = False
        own *= view.shape[axis]
        if axis == 0:
            layout.row_axis = k
    tensor.size = own
    for axis in reversed(by_stride):
        if view.shape[axis] > 1:
            if view.strides[axis] < extent and has_elements(&view):
                slot.is_refused = True  # elements may share memory
            extent += (view.shape[axis] - 1) * view.strides[axis]
    for axis in reversed(range(view.n_axes)):
        layout.index[<int64_t>order.index(axis)] = index
        index *= view.shape[axis]
    return 0


cdef bint is_as_described(Slot *slot, View *param) noexcept:
    """Return whether the shape, strides and dtype of a parameter are those of the plan."""
    cdef fo_layout *layout = &slot.layout
    cdef int k, axis
    if param.n_axes != layout.n_axes or param.dtype != layout.param_dtype:
        return False
    for k in range(layout.n_axes):
        axis = slot.axes[k]
        if (param.shape[axis] != layout.shape[k]
                or (layout.shape[k] > 1 and slot.tensor.size
                    and param.strides[axis] * size_of(param.dtype) != layout.param[k])):
            return False
    return True


cdef bint is_laid_out(Slot *slot, View *view, int dtype) noexcept:
    """Return whether a state tensor has the layout of the parameter's state, and this dtype."""
    cdef fo_layout *layout = &slot.layout
    cdef int k, axis
    if view.n_axes != layout.n_axes or view.dtype != dtype or not is_aligned(view):
        return False
    for k in range(layout.n_axes):
        axis = slot.axes[k]
        if (view.shape[axis] != layout.shape[k]
                or (layout.shape[k] > 1 and slot.tensor.size
                    and view.strides[axis] != layout.own[k])):
            return False
    return True


cdef int find_states(Slot *slots, Py_ssize_t begin, Py_ssize_t end, states,
                     list keep_alive) except -1:
    """Set the state dict of each parameter that has a gradient, or NULL.

    States are usually in the order of the parameters.  No hash of a tensor is needed then; it
    would be a Python call for each.
    """
    cdef Py_ssize_t i, place = 0
    cdef PyObject *key = NULL
    cdef PyObject *inner = NULL
    cdef bint is_in_order = begin == 0 and PyDict_Next(states, &place, &key, &inner)
    for i in range(begin, end):
        if is_in_order and key == slots[i].param:
            slots[i].inner = inner
            is_in_order = PyDict_Next(states, &place, &key, &inner)
        elif slots[i].tensor.grad == NULL:
            continue
        else:
            slots[i].inner = PyDict_GetItemWithError(states, <object>slots[i].param)
            is_in_order = False  # the call may have run code that changes the dict
        if slots[i].inner != NULL:
            keep_alive.append(<object>slots[i].inner)
    return 0


# The first items of a state dict.  Keys are usually found by identity, without their hashes.
cdef enum:
    MAX_ITEMS = 12

cdef struct Items:
    int n
    PyObject *key[MAX_ITEMS]
    PyObject *value[MAX_ITEMS]


cdef void list_items(inner, Items *items) noexcept:
    cdef Py_ssize_t place = 0
    items.n = 0
    while items.n < MAX_ITEMS and PyDict_Next(inner, &place, &items.key[items.n],
                                              &items.value[items.n]):
        items.n += 1


cdef PyObject *item(Items *items, inner, name) except? NULL:
    """Return the value of a key, or NULL if there is none."""
    cdef int k
    for k in range(items.n):
        if items.key[k] == <PyObject *>name:
            return items.value[k]
    return PyDict_GetItemWithError(inner, name)  # an equal key, or one beyond those that are listed


cdef int point_at_states(Slot *slot, optimizer, inner, GroupOptions group, list keep_alive,
                         list started) except -1:
    """Set the state pointers of a parameter; make or convert its state where necessary."""
    cdef Py_ssize_t k
    cdef Items items
    cdef bint is_low = slot.layout.param_dtype == FO_F16 or slot.layout.param_dtype == FO_BF16
    cdef tuple keys = group.keys_of(slot, is_low)
    cdef tuple names = (), is_whole = ()
    cdef fo_tensor *tensor = slot.tensor
    cdef int dtype = group.state_dtype_of(slot)
    if inner is not None and not PyDict_Check(inner):
        raise TypeError(f"the state of a parameter is a {type(inner).__name__}; a dict is needed")
    if group.factored is not None:
        names, is_whole, keys, low_keys = group.factored_of(slot.layout.n_axes)
        keys = low_keys if is_low else keys
    items.n = 0
    if inner is not None:
        list_items(inner, &items)
    slot.is_new = False
    if not has_all(&items, inner, keys):
        slot.is_new = not has_all(&items, inner, group.arrays)
        inner = state.start(optimizer.state, <object>slot.param, group.read, keys,
                            DTYPE_OF[dtype], started)
        list_items(inner, &items)
        keep_alive.append(inner)
    slot.inner = <PyObject *>inner
    slot.layout.state_dtype = <fo_dtype>dtype
    for k in range(len(group.arrays)):
        name = group.arrays[k]
        if slot.is_blocked:
            tensor.state[k] = byte_data(slot, inner, name, False, keep_alive)
            tensor.scale[k] = <uint8_t *>byte_data(slot, inner, scale_of(name), True, keep_alive)
            slot.layout.code[k] = FO_SIGNED if group.is_signed[k] else FO_NON_NEGATIVE
        else:
            tensor.state[k] = state_data(slot, &items, inner, group, name, dtype, keep_alive)
    for k in range(len(group.arrays), FO_MAX_STATES):
        tensor.state[k] = NULL
    slot.n_factored = len(names)
    tensor.factored = &slot.factored if names else NULL
    for k in range(len(names)):
        slot.factored.state[k] = factored_data(slot, &items, inner, names[k], is_whole[k],
                                               &slot.factored_size[k], group, keep_alive)
    tensor.master = tensor.ema = NULL
    if is_low and group.has_master:
        tensor.master = state_data(slot, &items, inner, group, "master", FO_F32, keep_alive)
    if group.average is not None:
        tensor.ema = state_data(slot, &items, inner, group, group.average, tensor.dtype,
                                keep_alive)
    if not slot.is_dense or dtype != tensor.dtype or tensor.master != NULL or names:
        tensor.layout = &slot.layout
    read_count(slot, &items, inner, group, keep_alive)
    read_saved(slot, &items, inner, group, keep_alive)
    return 0


cdef int point_at_shared(Slot *slot, inner, GroupOptions group, list keep_alive) except -1:
    """Set the step count and saved numbers of a parameter without a gradient, or NULL.

    All parameters have the same numbers if the sums of their rule are over all of them.
    """
    cdef Items items
    slot.tensor.step, slot.tensor.saved = NULL, NULL
    if inner is None:
        return 0
    list_items(inner, &items)
    if has_all(&items, inner, ("step", *group.scalars)):
        slot.inner = <PyObject *>inner
        keep_alive.append(inner)
        read_count(slot, &items, inner, group, keep_alive)
        read_saved(slot, &items, inner, group, keep_alive)
    return 0


cdef int read_saved(Slot *slot, Items *items, inner, GroupOptions group,
                    list keep_alive) except -1:
    """Read the numbers that the rule stores between steps."""
    cdef Py_ssize_t k
    slot.tensor.step, slot.tensor.saved = &slot.count, slot.saved
    for k in range(len(group.scalars)):
        slot.saved_data[k] = scalar_data(items, inner, group.scalars[k], &slot.saved_dtype[k],
                                         keep_alive)
        slot.saved[k] = known_or_read(slot.saved_data[k], slot.saved_dtype[k], slot.saved[k])
    for k in range(len(group.scalars), FO_MAX_SAVED):
        slot.saved[k] = 0
    return 0


cdef bint has_all(Items *items, inner, tuple keys) except -1:
    """Return whether a state dict has a value for each key."""
    cdef PyObject *value
    if inner is None:
        return not keys
    for key in keys:
        value = item(items, inner, key)
        if value == NULL or value == <PyObject *>None:
            return False
    return True


cdef void *byte_data(Slot *slot, inner, name, bint has_scales, list keep_alive) except NULL:
    """Return the address of the codes or of the scale bytes of a state of 8 bits."""
    cdef View view
    tensor = state.bytes_of(<object>slot.param, inner, name, has_scales)
    if not view_of(<PyObject *>tensor, &view):
        raise AssertionError(f"state {name!r} has no memory")
    keep_alive.append(tensor)
    return view.data


cdef void *state_data(Slot *slot, Items *items, inner, GroupOptions group, name, int dtype,
                      list keep_alive) except NULL:
    """Return the address of a state tensor, converted to the layout and dtype if necessary."""
    cdef View view
    cdef object tensor = <object>item(items, inner, name)
    if slot.is_resolved and isinstance(tensor, Tensor):
        tensor = tensors.plain(tensor)
    if (not isinstance(tensor, Tensor) or not view_of(<PyObject *>tensor, &view)
            or not is_laid_out(slot, &view, dtype)):
        tensor = state.lay_out(<object>slot.param, inner, name, DTYPE_OF[dtype],
                               group.read.float8, slot.is_blocked)
        if not view_of(<PyObject *>tensor, &view) or not is_laid_out(slot, &view, dtype):
            raise AssertionError(f"state {name!r} could not be laid out")
    keep_alive.append(tensor)
    return view.data if slot.tensor.size else <void *>slot


cdef void *factored_data(Slot *slot, Items *items, inner, name, tuple is_whole, int64_t *size,
                         GroupOptions group, list keep_alive) except NULL:
    """Return the address of a state tensor of a factored rule, converted if necessary."""
    cdef View view
    cdef object tensor = <object>item(items, inner, name)
    if (not isinstance(tensor, Tensor) or not view_of(<PyObject *>tensor, &view)
            or not is_factored(slot, &view, is_whole, size)):
        tensor = state.lay_out_factored(<object>slot.param, inner, name, group.read)
        view_of(<PyObject *>tensor, &view)
        if not is_factored(slot, &view, is_whole, size):
            raise AssertionError(f"state {name!r} could not be laid out")
    keep_alive.append(tensor)
    return view.data if size[0] else <void *>slot


cdef bint is_factored(Slot *slot, View *view, tuple is_whole, int64_t *size) except -1:
    """Return whether a tensor has the dtype of the arithmetic and is contiguous, in the shape of
    the parameter with length 1 in some axes; set the number of its elements.
    """
    cdef Py_ssize_t axis
    cdef int64_t length
    cdef bint is_contiguous = True
    size[0] = 1
    if view.n_axes != slot.layout.n_axes or view.dtype != slot.tensor.dtype:
        return False
    for axis in reversed(range(len(is_whole))):
        length = slot.layout.shape[slot.factored.axis[axis]] if is_whole[axis] else 1
        if view.shape[axis] != length:
            return False
        is_contiguous = is_contiguous and (length <= 1 or view.strides[axis] == size[0])
        size[0] *= length
    return (is_contiguous and is_aligned(view)) or size[0] == 0


cdef int read_count(Slot *slot, Items *items, inner, GroupOptions group, list keep_alive) except -1:
    """Read the step count, which users and checkpoints may have changed."""
    cdef object step
    cdef double value
    slot.step_data = NULL
    if group.has_step:
        step = <object>item(items, inner, "step")
        if PyLong_Check(step):
            value = slot.taken = step
        else:
            slot.step_data = scalar_data(items, inner, "step", &slot.step_dtype, keep_alive)
            value = known_or_read(slot.step_data, slot.step_dtype, <double>slot.taken)
            slot.taken = <int64_t>value if 0 <= value < MAX_STEPS else -1
        if slot.taken < 0:
            raise FastoptError(f"state 'step' is {value}; allowed: 0 to 2**62")
    else:
        slot.taken = 0
    slot.count = slot.taken
    if group.copies_first and group.arrays:
        slot.count = 0 if slot.is_new else max(slot.taken, 1)
    return 0


cdef void *scalar_data(Items *items, inner, name, int *dtype, list keep_alive) except NULL:
    """Return the address of a tensor with one number."""
    cdef View view
    cdef object tensor = <object>item(items, inner, name)
    if not view_of_scalar(tensor, &view):
        if isinstance(tensor, Tensor):
            tensors.require_memory(f"state {name!r}", tensor)
        tensor = inner[name] = torch.tensor(float(tensor), dtype=torch.float32)
        view_of(<PyObject *>tensor, &view)
    keep_alive.append(tensor)
    dtype[0] = view.dtype
    return view.data


cdef bint view_of_scalar(value, View *view) except -1:
    """Describe a tensor with one float32 or float64 number; return False for anything else."""
    cdef int k
    if not isinstance(value, Tensor) or not view_of(<PyObject *>value, view):
        return False
    for k in range(view.n_axes):
        if view.shape[k] != 1:
            return False
    return view.dtype == FO_F32 or view.dtype == FO_F64


cdef double known_or_read(void *data, int dtype, double known) noexcept:
    """Return the number in a tensor, or `known` if the tensor contains it rounded to float32.

    A step count above 2^24 is not exact in float32, and a product that is rounded at each step
    accumulates errors.
    """
    if dtype == FO_F64:
        return (<double *>data)[0]
    if (<float *>data)[0] == <float>known:
        return known
    return (<float *>data)[0]


cdef int write_scalars(Slot *slot, GroupOptions group) except -1:
    """Write the step count and the saved numbers back into the state."""
    slot.taken += 1
    if slot.step_data != NULL:
        write_scalar(slot.step_data, slot.step_dtype, <double>slot.taken)
    elif group.has_step:
        PyDict_SetItem(<object>slot.inner, "step", slot.taken)
    write_saved(slot, group)
    return 0


cdef void write_saved(Slot *slot, GroupOptions group) noexcept:
    """Write the saved numbers back into the state."""
    cdef Py_ssize_t k
    for k in range(len(group.scalars)):
        write_scalar(slot.saved_data[k], slot.saved_dtype[k], slot.saved[k])


cdef void write_scalar(void *data, int dtype, double value) noexcept:
    if dtype == FO_F64:
        (<double *>data)[0] = value
    else:
        (<float *>data)[0] = <float>value
