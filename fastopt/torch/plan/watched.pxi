# The options of a group, read again whenever one of them has been replaced.


@cython.auto_pickle(False)
cdef class Watched:
    """The options of a group as they were read last."""
    cdef object read  # the result of options.read
    cdef tuple names, values  # the watched items of the group
    cdef Py_ssize_t n_items
    cdef bint has_tensors  # whose values may change in place, so that they are always read again
    cdef readonly tuple arrays, keys, low_keys, for_c
    cdef bint has_step, has_master, has_ema
    cdef object saved_name, state_dtype

    def __init__(self, optimizer, group):
        read = self.read = options.read(optimizer, group)
        self.names, self.values = read.names, read.values
        self.has_tensors = read.has_tensors
        self.n_items = len(group)
        self.arrays, self.keys, self.low_keys, self.for_c = (
            read.arrays, read.keys, read.low_keys, read.for_c
        )
        self.has_step = "step" in read.keys
        self.has_master, self.has_ema = "master" in read.low_keys, "ema" in read.keys
        self.saved_name = read.saved_name
        self.state_dtype = read.state_dtype

    cdef int compare(self, group) except -1:
        """Return 0 if nothing was replaced, 1 if only the learning rate was, by a float, else 2."""
        cdef Py_ssize_t k
        cdef int changed = 0
        cdef PyObject *value
        if self.has_tensors or len(group) != self.n_items:
            return 2
        for k in range(len(self.names)):
            value = PyDict_GetItem(group, self.names[k])
            if value != <PyObject *>self.values[k]:
                if k > 0 or value == NULL or type(<object>value) is not float:
                    return 2
                changed = 1
        return changed

    cdef double take_lr(self, group) except? -1:
        """Return the group's learning rate, and remember it as read."""
        self.values = (group["lr"], *self.values[1:])
        return self.values[0]

    cdef int state_dtype_of(self, Slot *slot) except -1:
        """Return the fo_dtype of the state of a parameter."""
        if self.state_dtype is None or not self.arrays:
            return slot.tensor.dtype
        if self.state_dtype == "param":
            return slot.layout.param_dtype
        if slot.tensor.dtype == FO_F64:
            raise FastoptError(
                f"state_dtype is {self.state_dtype!r}, but a parameter is float64, which needs "
                "float64 state"
            )
        return FO_BF16 if self.state_dtype == "bfloat16" else FO_F32
