"""The boundary of csrc/kalman.c and decoupled.c: BLAS as pointers, rows without the lock."""

import numpy as np

from fastopt._errors import FastoptError

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from scipy.linalg.cython_blas cimport dgemm, dgemv, dsymm, dsymv, dsyrk, dtrsm
from scipy.linalg.cython_lapack cimport dpotrf

from fastopt._ckalman cimport *

cnp.import_array()

cdef fo_blas BLAS
BLAS.symm, BLAS.gemm, BLAS.gemv = dsymm, dgemm, dgemv
BLAS.symv, BLAS.trsm, BLAS.syrk, BLAS.potrf = dsymv, dtrsm, dsyrk, dpotrf

FAMILIES = {
    ("gaussian", "identity"): FO_GAUSSIAN_IDENTITY,
    ("bernoulli", "logit"): FO_BERNOULLI_LOGIT,
    ("bernoulli", "probit"): FO_BERNOULLI_PROBIT,
    ("bernoulli", "cloglog"): FO_BERNOULLI_CLOGLOG,
    ("poisson", "log"): FO_POISSON_LOG,
    ("gamma", "log"): FO_GAMMA_LOG,
    ("gamma", "inverse"): FO_GAMMA_INVERSE,
    ("negative_binomial", "log"): FO_NEGATIVE_BINOMIAL_LOG,
}

STATUS = {
    FO_KALMAN_OK: "",
    FO_KALMAN_INDEFINITE: "indefinite",
    FO_KALMAN_NONFINITE: "nonfinite",
}


cdef class Filter:
    """Coefficients w, covariance m (Fortran order, its lower triangle), blocks of rows."""
    cdef fo_kalman c
    cdef tuple arrays
    cdef bint busy

    def __cinit__(self, cnp.ndarray w, cnp.ndarray m, int block, double keep,
                  double max_trace):
        cdef int64_t p = cnp.PyArray_SIZE(w)
        for array, size in ((w, p), (m, p * p)):
            if not (array.dtype.char == "d" and array.size == size and array.flags.forc
                    and array.flags.writeable and array.flags.aligned):
                raise FastoptError("Filter: an array is not of the form needed")
        cdef cnp.ndarray pending = np.empty((block, p)), u = np.empty((block, p))
        cdef cnp.ndarray c = np.empty((block, block)), scalars = np.empty(3 * block + p)
        self.arrays = w, m, pending, u, c, scalars
        self.c.p, self.c.block = p, block
        self.c.w = <double *>cnp.PyArray_DATA(w)
        self.c.m = <double *>cnp.PyArray_DATA(m)
        self.c.pending = <double *>cnp.PyArray_DATA(pending)
        self.c.u = <double *>cnp.PyArray_DATA(u)
        self.c.c = <double *>cnp.PyArray_DATA(c)
        self.c.scalars = <double *>cnp.PyArray_DATA(scalars)
        self.c.keep, self.c.max_trace, self.c.scale = keep, max_trace, 1

    @property
    def counts(self):
        """(n_obs, n_clipped, innovations), to read and to set."""
        return self.c.n_obs, self.c.n_clipped, self.c.innovations

    @counts.setter
    def counts(self, tuple values):
        self.c.n_obs, self.c.n_clipped, self.c.innovations = values

    def settle(self):
        """Write all that is pending into the covariance."""
        self.require_idle()
        fo_kalman_settle(&self.c, &BLAS)

    def trace(self):
        self.require_idle()
        return fo_kalman_trace(&self.c)

    def variances(self):
        """The diagonal of the covariance."""
        cdef cnp.ndarray variances = np.empty(self.c.p)
        self.require_idle()
        fo_kalman_variances(&self.c, <double *>cnp.PyArray_DATA(variances))
        return variances

    def require_idle(self):
        """Raise if a call is running."""
        if self.busy:
            raise FastoptError("a call of this filter is running, maybe in another thread")

    def change(self, cnp.ndarray x, cnp.ndarray y):
        """Absorb at most a block of rows, of unit variance, where y is y - x'w."""
        cdef fo_glm glm
        glm.family, glm.shape, glm.is_change, glm.is_explicit = FO_GAUSSIAN_IDENTITY, 0, 1, 0
        require_rows(x, self.c.p)
        require_targets(len(x), y, None)
        self.require_idle()
        self.busy = True
        try:
            return self.run(&glm, x, row_stride(x), y, None, len(y), len(y))
        finally:
            self.busy = False

    def rows(self, tuple family, double shape, bint is_explicit, double gamma_min,
             double gamma_max, cnp.ndarray x, cnp.ndarray y, cnp.ndarray weight,
             int64_t at_once):
        """Absorb rows in runs of `at_once`, between which signals are answered.

        Returns "" or what failed; the state is then that before the failing block.
        """
        cdef fo_glm glm = glm_of(family, shape, is_explicit, gamma_min, gamma_max)
        cdef int64_t n = cnp.PyArray_SIZE(y)
        require_rows(x, self.c.p)
        require_targets(len(x), y, weight)
        cdef int64_t ldx = row_stride(x)
        self.require_idle()
        self.busy = True
        try:
            return self.run(&glm, x, ldx, y, weight, n, at_once)
        finally:
            self.busy = False

    cdef str run(self, const fo_glm *glm, cnp.ndarray x, int64_t ldx, cnp.ndarray y,
                 cnp.ndarray weight, int64_t n, int64_t at_once):
        cdef fo_kalman_status status
        cdef int64_t i = 0, now
        while i < n:
            now = min(n - i, at_once)
            with nogil:
                status = fo_kalman_rows(
                    &self.c, &BLAS, glm,
                    <double *>cnp.PyArray_DATA(x) + i * ldx, ldx,
                    <double *>cnp.PyArray_DATA(y) + i,
                    <double *>cnp.PyArray_DATA(weight) + i if weight is not None else NULL,
                    now,
                )
            if status != FO_KALMAN_OK:
                return STATUS[status]
            i += now
            PyErr_CheckSignals()
        return ""


cdef class DecoupledFilter:
    """Coefficients w, block after block; their blocks m, one square after the other.

    `start` is where each block begins, or None, and m a diagonal; `order` the number of each
    coefficient in the rows, or None.
    """
    cdef fo_decoupled c
    cdef tuple arrays, work
    cdef bint busy

    def __cinit__(self, cnp.ndarray w, cnp.ndarray m, cnp.ndarray start, cnp.ndarray order,
                  double keep, double max_trace):
        self.arrays = w, m, start, order
        if not (is_plain(w) and is_plain(m) and is_whole(start) and is_whole(order)):
            raise FastoptError("DecoupledFilter: an array is not of the form needed")
        self.c.p = cnp.PyArray_SIZE(w)
        self.c.w, self.c.m = <double *>cnp.PyArray_DATA(w), <double *>cnp.PyArray_DATA(m)
        if start is not None:
            self.c.n_blocks = cnp.PyArray_SIZE(start) - 1
            self.c.start = <int64_t *>cnp.PyArray_DATA(start)
        if order is not None:
            self.c.order = <int64_t *>cnp.PyArray_DATA(order)
        self.c.keep, self.c.max_trace = keep, max_trace
        self.make_room(1)

    cdef make_room(self, int n):
        if n <= self.c.capacity:
            return
        cdef int64_t p = self.c.p
        cdef cnp.ndarray x = np.empty(n * p if self.c.order != NULL else 0)
        cdef cnp.ndarray u = np.empty(n * p), s = np.empty(n * (n + 1)), next = np.empty(p)
        self.work = x, u, s, next
        self.c.x, self.c.u = <double *>cnp.PyArray_DATA(x), <double *>cnp.PyArray_DATA(u)
        self.c.s = <double *>cnp.PyArray_DATA(s)
        self.c.next = <double *>cnp.PyArray_DATA(next)
        self.c.capacity = n

    @property
    def counts(self):
        """(n_obs, n_clipped, innovations), to read and to set."""
        return self.c.n_obs, self.c.n_clipped, self.c.innovations

    @counts.setter
    def counts(self, tuple values):
        self.c.n_obs, self.c.n_clipped, self.c.innovations = values

    def trace(self):
        return fo_decoupled_trace(&self.c)

    def require_idle(self):
        """Raise if a call is running."""
        if self.busy:
            raise FastoptError("a call of this filter is running, maybe in another thread")

    def outputs(self, cnp.ndarray x, cnp.ndarray residual):
        """Absorb one observation, whitened; returns "" or what failed."""
        cdef int n = len(x)
        cdef fo_kalman_status status
        require_rows(x, self.c.p)
        require_targets(n, residual, None)
        cdef int64_t ldx = row_stride(x)
        self.require_idle()
        self.busy = True
        try:
            self.make_room(n)
            with nogil:
                status = fo_decoupled_outputs(
                    &self.c, &BLAS, <double *>cnp.PyArray_DATA(x), ldx,
                    <double *>cnp.PyArray_DATA(residual), n)
            return STATUS[status]
        finally:
            self.busy = False

    def rows(self, tuple family, double shape, bint is_explicit, double gamma_min,
             double gamma_max, cnp.ndarray x, cnp.ndarray y, cnp.ndarray weight,
             int64_t at_once):
        """Absorb rows one by one, signals answered every `at_once`; "" or what failed."""
        cdef fo_glm glm = glm_of(family, shape, is_explicit, gamma_min, gamma_max)
        cdef int64_t i = 0, now, n = cnp.PyArray_SIZE(y)
        cdef fo_kalman_status status
        require_rows(x, self.c.p)
        require_targets(len(x), y, weight)
        cdef int64_t ldx = row_stride(x)
        self.require_idle()
        self.busy = True
        try:
            while i < n:
                now = min(n - i, at_once)
                with nogil:
                    status = fo_decoupled_rows(
                        &self.c, &BLAS, &glm,
                        <double *>cnp.PyArray_DATA(x) + i * ldx, ldx,
                        <double *>cnp.PyArray_DATA(y) + i,
                        <double *>cnp.PyArray_DATA(weight) + i
                        if weight is not None else NULL,
                        now,
                    )
                if status != FO_KALMAN_OK:
                    return STATUS[status]
                i += now
                PyErr_CheckSignals()
            return ""
        finally:
            self.busy = False


def nonfinite_row(cnp.ndarray x):
    """The first row of a matrix with a NaN or an infinity, or -1."""
    cdef int64_t row, n = x.shape[0], p = x.shape[1]
    require_rows(x, p)
    cdef int64_t ldx = row_stride(x)
    with nogil:
        row = fo_nonfinite_row(<double *>cnp.PyArray_DATA(x), ldx, n, p)
    return row


def observe(tuple family, double shape, double y, double z):
    """The mean at linear predictor z, its slope, the variance, the score, the weight."""
    cdef fo_observation at = fo_observe(FAMILIES[family], shape, y, z)
    return at.mean, at.slope, at.variance, at.score, at.weight, at.fall


def implicit(tuple family, double shape, double y, double prior, double eta, double g):
    """The linear predictor after an implicit update."""
    return fo_implicit(FAMILIES[family], shape, y, prior, eta, g)


cdef bint is_plain(cnp.ndarray array):
    return array.dtype.char == "d" and cnp.PyArray_ISCARRAY_RO(array)


cdef bint is_whole(cnp.ndarray array):
    return array is None or array.dtype == np.int64 and cnp.PyArray_ISCARRAY_RO(array)


cdef fo_glm glm_of(tuple family, double shape, bint is_explicit, double gamma_min,
                   double gamma_max):
    cdef fo_glm glm
    glm.is_change = 0
    glm.family, glm.shape, glm.is_explicit = FAMILIES[family], shape, is_explicit
    glm.gamma_min, glm.gamma_max = gamma_min, gamma_max
    return glm


cdef require_targets(int64_t n, cnp.ndarray y, cnp.ndarray weight):
    for array in (y,) if weight is None else (y, weight):
        if not is_plain(array) or array.size != n:
            raise FastoptError("Filter: y or weight is not of the form needed")


cdef int64_t row_stride(cnp.ndarray x):
    return x.strides[0] // x.itemsize if x.shape[0] > 1 else x.shape[1]


cdef require_rows(cnp.ndarray x, int64_t p):
    if (x.ndim != 2 or x.shape[1] != p or x.dtype.char != "d" or not x.flags.aligned
            or (p > 1 and x.strides[1] != x.itemsize) or x.strides[0] % x.itemsize
            or (x.shape[0] > 1 and x.strides[0] < p * x.itemsize)):
        raise FastoptError("Filter: rows are not of the form needed")
