# Check that a gradient shares no memory with the arrays that a step writes.
import numpy as np

from fastopt.arrays.overlap import Spans

cimport numpy as cnp
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t

from fastopt cimport _numpy as np_c
from fastopt._numpy cimport PyArrayObject


def byte_bounds(list arrays):
    """Return the address of the first byte of each array, and the address after its last byte.

    They are the rows of one array of uintp, and equal for an array without elements.
    """
    cdef cnp.ndarray bounds = np.empty((2, len(arrays)), dtype=np.uintp), array
    cdef uintptr_t *starts = <uintptr_t *>cnp.PyArray_DATA(bounds)
    cdef uintptr_t *ends = starts + len(arrays)
    cdef Py_ssize_t i, reach
    cdef int k
    for i, array in enumerate(arrays):
        starts[i] = ends[i] = <uintptr_t>cnp.PyArray_DATA(array)
        if cnp.PyArray_SIZE(array) == 0:
            continue
        ends[i] += <uintptr_t>cnp.PyArray_ITEMSIZE(array)
        for k in range(array.ndim):
            reach = cnp.PyArray_STRIDES(array)[k] * (cnp.PyArray_DIMS(array)[k] - 1)
            if reach < 0:
                starts[i] += <uintptr_t>reach
            else:
                ends[i] += <uintptr_t>reach
    return bounds


cdef class Written:
    """The memory of all parameters and state arrays: `Spans`, but searched without Python calls.

    The lists have an entry for each new parameter; before: the memory of the others, or None.
    """
    cdef object spans  # keeps alive what C points at
    cdef cnp.ndarray starts, ends

    def __cinit__(self, list names, list params, list states, list extra, list scalars,
                  list block_scales, Written before):
        cdef list owners = [], arrays = []
        only_scales = [[array for array, _ in of_one] for of_one in block_scales]
        for name, param, *several in zip(names, params, states, extra, scalars, only_scales,
                                         strict=True):
            owners.append(name)
            arrays.append(np.asarray(param))
            name = f"the state of {name}"
            for own in several:
                for array in own:
                    if array is not None:
                        owners.append(name)
                        arrays.append(array)
        spans = Spans() if before is None else before.spans
        self.spans = spans.with_arrays(owners, arrays, byte_bounds(arrays))
        self.starts, self.ends = self.spans.starts, self.spans.ends

    cdef int require_contiguous_apart(self, Slot *slot, PyObject *grad) except -1:
        """Raise an error if a contiguous gradient overlaps, else remember its address."""
        cdef uintptr_t begin = <uintptr_t>np_c.PyArray_DATA(<PyArrayObject *>grad)
        self.require_apart(slot, begin, begin + np_c.PyArray_NBYTES(<PyArrayObject *>grad),
                           <object>grad)
        slot.disjoint = begin
        return 0

    cdef int require_apart(self, Slot *slot, uintptr_t begin, uintptr_t end, grad) except -1:
        """Raise an error if a gradient at addresses begin to end shares memory with an array."""
        cdef uintptr_t *starts = <uintptr_t *>cnp.PyArray_DATA(self.starts)
        cdef uintptr_t *ends = <uintptr_t *>cnp.PyArray_DATA(self.ends)
        cdef int64_t n_spans = cnp.PyArray_SIZE(self.starts)
        cdef int64_t low = 0, high = n_spans, middle
        if begin == end:
            return 0
        while low < high:  # find the first span that ends after the gradient begins
            middle = (low + high) // 2
            if ends[middle] > begin:
                high = middle
            else:
                low = middle + 1
        if low < n_spans and starts[low] < end:  # the spans overlap; compare the elements
            self.spans.require_apart(f"the gradient of {<object>slot.name}", grad)
        return 0
