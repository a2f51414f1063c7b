# Check that a gradient shares no memory with the arrays that a step writes.
from fastopt.arrays.overlap import Spans

cimport numpy as cnp
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t

from fastopt cimport _numpy as np_c
from fastopt._numpy cimport PyArrayObject


cdef class Written:
    """The memory of all parameters and state arrays: `Spans`, but searched without Python calls."""
    cdef object spans
    cdef cnp.ndarray starts, ends

    def __cinit__(self, list names, list params, list states, list extra, list scalars):
        named = list(zip(names, params, strict=True))
        for name, *arrays in zip(names, states, extra, scalars, strict=True):
            named += [
                (f"the state of {name}", array)
                for several in arrays for array in several if array is not None
            ]
        self.spans = Spans(named)
        self.starts, self.ends = self.spans.starts, self.spans.ends

    cdef int require_contiguous_apart(self, Slot *slot, PyObject *grad) except -1:
        """Raise an error if a contiguous gradient overlaps, else remember its address."""
        cdef uintptr_t begin = <uintptr_t>np_c.PyArray_DATA(<PyArrayObject *>grad)
        self.require_apart(slot, begin, begin + np_c.PyArray_NBYTES(<PyArrayObject *>grad),
                           <object>grad)
        slot.disjoint = begin
        return 0

    cdef int require_apart(self, Slot *slot, uintptr_t begin, uintptr_t end, grad) except -1:
        """Raise an error if a gradient at [begin, end) shares an element with these arrays."""
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
