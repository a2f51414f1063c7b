"""The boundary of csrc/glm: checks arrays, fills structs, releases the GIL."""

import numpy as np

from fastopt._errors import FastoptError
from fastopt.kalman._kalman import FAMILIES

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t

cnp.import_array()

cdef enum:
    SWEEPS = 100  # between checks for signals
    MOST_CALLS = 1000


cdef extern from "kalman/families.h" nogil:
    ctypedef enum fo_family:
        pass


cdef extern from "glm/glm.h" nogil:
    ctypedef struct fo_glm_at:
        fo_family family
        double shape
        int64_t p
        int has_intercept
        const double *mean
        const double *coef
        int has_null
        double null

    ctypedef struct fo_glm_rows:
        const void *x
        int is_single
        int64_t ldx
        const double *y
        const double *weight
        const double *offset

    ctypedef struct fo_glm_sums:
        double deviance
        double pearson
        double null_deviance
        double null_pearson

    void fo_glm_chunk(const fo_glm_at *at, const fo_glm_rows *of, int64_t n, int is_scaled,
                      double *rows, double *score, fo_glm_sums *sums)
    void fo_glm_columns(const fo_glm_rows *of, int64_t n, int64_t p, double *low, double *high,
                        double *total)
    void fo_glm_squares(const fo_glm_rows *of, int64_t n, int64_t p, double *total, double *mean,
                        double *squares, double *work)


cdef extern from "glm/descent.h" nogil:
    int fo_glm_descent(int64_t q, const double *a, const double *l1, double *w, double *rest,
                       double floor, double *first, int most)


def chunk(tuple family, double shape, bint has_intercept, cnp.ndarray x, cnp.ndarray y,
          cnp.ndarray weight, cnp.ndarray offset, cnp.ndarray mean, cnp.ndarray coef, null,
          cnp.ndarray rows, bint is_scaled, cnp.ndarray score):
    """Add a chunk to `score`, write its scaled rows and return its four sums.

    The sums are those of the deviance and Pearson's chi-squared at `coef` and at `null`.
    """
    cdef fo_glm_at at
    cdef fo_glm_rows of
    cdef fo_glm_sums sums
    cdef int64_t n = len(x), p = x.shape[1], q = p + has_intercept
    fill_rows(&of, x, p)
    require(n, y, weight, offset)
    require(p, mean)
    require(q, coef, score)
    if not (is_plain(rows) and rows.flags.writeable and score.flags.writeable
            and rows.size == (n * q if is_scaled else q)):
        raise FastoptError("chunk: rows or score has the wrong size, dtype or layout")
    of.y = <const double *>cnp.PyArray_DATA(y)
    of.weight = <const double *>cnp.PyArray_DATA(weight) if weight is not None else NULL
    of.offset = <const double *>cnp.PyArray_DATA(offset) if offset is not None else NULL
    at.family, at.shape, at.p, at.has_intercept = FAMILIES[family], shape, p, has_intercept
    at.mean = <const double *>cnp.PyArray_DATA(mean) if mean is not None else NULL
    at.coef = <const double *>cnp.PyArray_DATA(coef)
    at.has_null, at.null = null is not None, 0 if null is None else null
    sums.deviance = sums.pearson = sums.null_deviance = sums.null_pearson = 0
    with nogil:
        fo_glm_chunk(&at, &of, n, is_scaled, <double *>cnp.PyArray_DATA(rows),
                     <double *>cnp.PyArray_DATA(score), &sums)
    return sums.deviance, sums.pearson, sums.null_deviance, sums.null_pearson


def columns(cnp.ndarray x, cnp.ndarray weight, cnp.ndarray low, cnp.ndarray high,
            cnp.ndarray total):
    """Update the least and greatest values of the columns and add their weighted sums."""
    cdef fo_glm_rows of
    cdef int64_t n = len(x), p = x.shape[1]
    fill_rows(&of, x, p)
    require(n, weight)
    require(p, low, high, total)
    of.weight = <const double *>cnp.PyArray_DATA(weight) if weight is not None else NULL
    with nogil:
        fo_glm_columns(&of, n, p, <double *>cnp.PyArray_DATA(low),
                       <double *>cnp.PyArray_DATA(high), <double *>cnp.PyArray_DATA(total))


def squares(cnp.ndarray x, cnp.ndarray weight, double total, cnp.ndarray mean,
            cnp.ndarray sums):
    """Add rows to means, and sums of squares about them; return the sum of weights plus `total`."""
    cdef fo_glm_rows of
    cdef int64_t n = len(x), p = x.shape[1]
    cdef cnp.ndarray work = np.empty(2 * p)
    fill_rows(&of, x, p)
    require(n, weight)
    require(p, mean, sums)
    of.weight = <const double *>cnp.PyArray_DATA(weight) if weight is not None else NULL
    with nogil:
        fo_glm_squares(&of, n, p, &total, <double *>cnp.PyArray_DATA(mean),
                       <double *>cnp.PyArray_DATA(sums), <double *>cnp.PyArray_DATA(work))
    return total


def descend(cnp.ndarray matrix, cnp.ndarray l1, cnp.ndarray w, cnp.ndarray rest, double floor):
    """Minimise a quadratic model with an L1 penalty by coordinate descent; change w and rest."""
    cdef int64_t q = w.size
    cdef double first = 0
    cdef int done = 0, _calls
    require(q, l1, w, rest)
    require(q * q, matrix)
    if not (w.flags.writeable and rest.flags.writeable):
        raise FastoptError("descend: w or rest is read-only")
    for _calls in range(MOST_CALLS):
        with nogil:
            done = fo_glm_descent(
                q, <const double *>cnp.PyArray_DATA(matrix), <const double *>cnp.PyArray_DATA(l1),
                <double *>cnp.PyArray_DATA(w), <double *>cnp.PyArray_DATA(rest), floor, &first,
                SWEEPS)
        if done:
            return
        PyErr_CheckSignals()


cdef bint is_plain(cnp.ndarray array):
    return array.dtype.char == "d" and cnp.PyArray_ISCARRAY_RO(array)


def require(int64_t n, *arrays):
    """Raise unless each array is None or has n contiguous float64."""
    for array in arrays:
        if array is not None and not (is_plain(array) and array.size == n):
            raise FastoptError("an array of a chunk has the wrong size, dtype or layout")


cdef fill_rows(fo_glm_rows *of, cnp.ndarray x, int64_t p):
    if (x.ndim != 2 or x.dtype.char not in "fd" or not x.flags.aligned
            or (p > 1 and x.strides[1] != x.itemsize) or x.strides[0] % x.itemsize
            or (x.shape[0] > 1 and x.strides[0] < p * x.itemsize)):
        raise FastoptError("a chunk has the wrong shape, dtype or layout")
    of.x, of.is_single = cnp.PyArray_DATA(x), x.dtype.char == "f"
    of.ldx = x.strides[0] // x.itemsize if x.shape[0] > 1 else p
