# Copy rows of an array in parallel, for mini-batches.
import numpy as np

from fastopt._errors import FastoptError

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastopt._csrc cimport *


def gather(cnp.ndarray src, cnp.ndarray index, cnp.ndarray out, int n_threads=0):
    """Set out[i] = src[index[i]] for each i, in parallel.

    src: an array whose rows are contiguous; index: contiguous int64; out: contiguous, with the
    dtype and the row shape of src.
    """
    cdef int64_t n_rows = cnp.PyArray_SIZE(index), bad, n_src
    cdef Py_ssize_t stride
    cdef size_t row_bytes
    if (
        src.ndim == 0
        or src.dtype.hasobject
        or not src[:1].flags.c_contiguous
        or index.ndim != 1
        or index.dtype != np.int64
        or not cnp.PyArray_ISCARRAY_RO(index)
        or not cnp.PyArray_ISCARRAY(out)
        or out.dtype != src.dtype
        or (<object>out).shape != (n_rows, *(<object>src).shape[1:])
    ):
        raise FastoptError(
            "gather needs src with contiguous rows, index of contiguous int64, and a contiguous "
            "out with the dtype and the row shape of src"
        )
    n_src = src.shape[0]
    stride = src.strides[0]
    row_bytes = cnp.PyArray_NBYTES(out) // n_rows if n_rows else 0
    cdef void *src_data = cnp.PyArray_DATA(src)
    cdef int64_t *rows = <int64_t *>cnp.PyArray_DATA(index)
    cdef void *out_data = cnp.PyArray_DATA(out)
    with nogil:
        bad = fo_gather(src_data, n_src, stride, row_bytes, rows, n_rows, out_data, n_threads)
    if bad >= 0:
        raise FastoptError(f"index[{bad}] is {rows[bad]}; 0 to {n_src - 1} are allowed")
