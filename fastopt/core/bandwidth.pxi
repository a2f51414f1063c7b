# Move as many bytes as a step does, without its arithmetic: the lower bound on the time of a step.
from fastopt._errors import FastoptError

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastopt._csrc cimport *


N_LOOPS = FO_N_LOOPS


def move(cnp.ndarray source, list arrays, int n_threads=0, int loop=0):
    """Add the bits of source to those of each array, in one pass over memory.

    arrays: a parameter with the dtype of source, and its states; all are contiguous and have the
    size of source.  The states of a float16 or bfloat16 parameter are float32.
    loop: 0 to N_LOOPS - 1, the order of loads and stores (csrc/limit.h).  Every loop has the same
    result.
    """
    cdef cnp.ndarray array
    cdef void *data[1 + FO_MAX_STATES]
    cdef int kind = cnp.PyArray_TYPE(source), n_arrays = 0
    cdef int64_t size = cnp.PyArray_SIZE(source)
    if code_of(kind) < 0:
        notice_dtype(source.dtype)
    cdef int dtype = code_of(kind)
    if (
        dtype < 0
        or not 0 <= loop < FO_N_LOOPS
        or not 1 <= len(arrays) <= 1 + FO_MAX_STATES
        or not cnp.PyArray_ISCARRAY_RO(source)
    ):
        raise FastoptError(
            f"move: source ({source.dtype}) or arrays ({len(arrays)} of them) is not of the form "
            f"needed: a contiguous source of a supported dtype and 1 to {1 + FO_MAX_STATES} arrays"
        )
    for array in arrays:
        if (
            not cnp.PyArray_ISCARRAY(array)
            or cnp.PyArray_SIZE(array) != size
            or cnp.PyArray_TYPE(array) != kind
        ):
            raise FastoptError(
                f"move: arrays[{n_arrays}] ({array.dtype}) is not of the form needed: contiguous "
                f"and writeable, with {size} elements and the dtype of source or of its states"
            )
        data[n_arrays] = cnp.PyArray_DATA(array)
        n_arrays += 1
        if dtype != FO_F64:
            kind = cnp.NPY_FLOAT  # the dtype of states
    cdef const void *g = cnp.PyArray_DATA(source)
    with nogil:
        fo_limit(
            <fo_dtype>dtype, <fo_loop>loop, g, data[0], data + 1, n_arrays - 1, size, n_threads
        )
