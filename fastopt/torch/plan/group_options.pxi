# The options of a group, which are read again if one of them has changed.
from libc.float cimport FLT_MAX


@cython.auto_pickle(False)
cdef class GroupOptions:
    """The options of a group when they were read last."""
    cdef object read  # the result of options.read
    cdef tuple names, values  # the options to compare
    cdef Py_ssize_t n_items
    cdef bint has_tensors  # whether a value may change in place: options are then read at each step
    cdef list lists  # pairs of an option that is a list, such as betas, and its items
    cdef readonly tuple arrays, keys, low_keys, for_c, without_decay
    cdef bint has_step, has_master
    cdef object average  # the key of the state that is an average, or None
    cdef bint copies_first
    cdef bint directs  # whether directions of matrices are computed before a step
    cdef tuple scalars  # the names of the numbers that the rule saves
    cdef readonly str no_rows, sums
    cdef object state_dtype, factored
    cdef dict factored_keys  # by the number of axes: see `factored_of`
    cdef tuple float8_keys, float8_low_keys  # for states of 8 bits
    cdef tuple is_signed  # for each of `arrays`: whether a state of 8 bits has signs

    def __init__(self, optimizer, group):
        read = self.read = options.read(optimizer, group)
        self.names, self.values = read.names, read.values
        self.has_tensors = read.has_tensors
        self.lists = [(value, tuple(value)) for value in read.values if type(value) is list]
        self.n_items = len(group)
        self.arrays, self.keys, self.low_keys = read.arrays, read.keys, read.low_keys
        self.for_c, self.without_decay = read.for_c, read.without_decay
        self.copies_first = read.copies_first
        self.directs = read.direction is not None
        self.has_step = "step" in read.keys
        self.has_master = "master" in read.low_keys
        self.average = added_by(optimizer._options)
        self.scalars = tuple(read.scalars)
        self.no_rows, self.sums = read.no_rows, read.sums
        self.state_dtype = read.state_dtype
        self.float8_keys, self.float8_low_keys = (
            options.with_scales(read, keys) for keys in (read.keys, read.low_keys)
        )
        self.is_signed = tuple([read.float8.get(name) == "signed" for name in read.arrays])
        self.factored = read.factored if options.is_factored(optimizer._rule) else None
        self.factored_keys = {}

    cdef tuple factored_of(self, Py_ssize_t n_axes):
        """Return what the state of a parameter has in addition if the rule is factored.

        (names; whether each axis of each array has the parameter's length, else 1; all keys of the
        state; those of a 16-bit parameter)
        """
        if n_axes not in self.factored_keys:
            shapes = self.factored((2,) * n_axes)
            is_whole = tuple([tuple([n == 2 for n in shape]) for shape in shapes.values()])
            first = 1 if self.has_step else 0
            self.factored_keys[n_axes] = (
                tuple(shapes), is_whole,
                (*self.keys[:first], *shapes, *self.keys[first:]),
                (*self.low_keys[:first], *shapes, *self.low_keys[first:]),
            )
        return self.factored_keys[n_axes]

    cdef int compare(self, group) except -1:
        """Return 0 for no change, 1 if only lr has changed and is a usual float, else 2."""
        cdef Py_ssize_t k
        cdef int changed = 0
        cdef PyObject *value
        if self.has_tensors or len(group) != self.n_items:
            return 2
        for k in range(len(self.names)):
            value = PyDict_GetItemWithError(group, self.names[k]) if PyDict_Check(group) else NULL
            if value != <PyObject *>self.values[k]:
                if (k > 0 or value == NULL or type(<object>value) is not float
                        or not 0 <= <double><object>value <= FLT_MAX):
                    return 2
                changed = 1
        for found, items in self.lists:
            if tuple(found) != items:
                return 2
        return changed

    cdef dict known_items(self, inner):
        """Return the items of a state that a step writes; users may have added other items."""
        keys = {*self.float8_low_keys}.union(*[found[0] for found in self.factored_keys.values()])
        return {key: inner[key] for key in keys if key in inner} if inner else {}

    cdef double take_lr(self, group) except? -1:
        """Return the group's learning rate, and store it as the one read last."""
        self.values = (group["lr"], *self.values[1:])
        return self.values[0]

    cdef tuple keys_of(self, Slot *slot, bint is_low):
        """Return the keys of the state of a parameter, which has 16 bits if is_low."""
        if slot.is_blocked:
            return self.float8_low_keys if is_low else self.float8_keys
        return self.low_keys if is_low else self.keys

    cdef int state_dtype_of(self, Slot *slot) except -1:
        """Return the fo_dtype of a parameter's state."""
        if self.state_dtype == "float8" and slot.is_resolved:
            raise FastoptError(
                "state_dtype is 'float8', but a parameter is complex or a DTensor, which needs "
                "float32 state"
            )
        if slot.is_blocked:
            return FO_F8
        if self.state_dtype is None or not self.arrays:
            return slot.tensor.dtype
        if self.state_dtype == "param":
            return slot.layout.param_dtype
        if slot.tensor.dtype == FO_F64:
            raise FastoptError(
                f"state_dtype is {self.state_dtype!r}, but a parameter is float64, which needs "
                "float64 state"
            )
        is_bfloat16 = self.state_dtype == "bfloat16"
        if is_bfloat16 and slot.is_resolved and (<object>slot.param).is_complex():
            raise FastoptError(
                "state_dtype is 'bfloat16', but a parameter is complex, which needs complex state"
            )
        return FO_BF16 if is_bfloat16 else FO_F32
