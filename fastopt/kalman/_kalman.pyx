"""The boundary of csrc/kalman: checks arrays, passes BLAS as pointers, releases the GIL."""

import numpy as np

from fastopt._core import max_threads
from fastopt._errors import FastoptError

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from scipy.linalg.cython_blas cimport (
    dgemm, dgemv, dsymm, dsymv, dsyrk, dtrsm, sgemm, sgemv, ssymm, ssymv, ssyrk, strsm
)
from scipy.linalg.cython_lapack cimport dpotrf, spotrf

from fastopt.kalman._ckalman cimport *
from fastopt._core cimport parallel_for, products_of, triangle_times

cnp.import_array()

cdef fo_blas BLAS
BLAS.f64.symm, BLAS.f64.gemm, BLAS.f64.gemv = dsymm, dgemm, dgemv
BLAS.f64.symv, BLAS.f64.trsm, BLAS.f64.syrk, BLAS.f64.potrf = dsymv, dtrsm, dsyrk, dpotrf
BLAS.f32.symm, BLAS.f32.gemm, BLAS.f32.gemv = ssymm, sgemm, sgemv
BLAS.f32.symv, BLAS.f32.trsm, BLAS.f32.syrk, BLAS.f32.potrf = ssymv, strsm, ssyrk, spotrf

FAMILIES = {
    ("gaussian", "identity"): FO_GAUSSIAN_IDENTITY,
    ("binomial", "logit"): FO_BERNOULLI_LOGIT,
    ("binomial", "probit"): FO_BERNOULLI_PROBIT,
    ("binomial", "cloglog"): FO_BERNOULLI_CLOGLOG,
    ("poisson", "log"): FO_POISSON_LOG,
    ("gamma", "log"): FO_GAMMA_LOG,
    ("gamma", "inverse"): FO_GAMMA_INVERSE,
    ("negative_binomial", "log"): FO_NEGATIVE_BINOMIAL_LOG,
    ("inverse_gaussian", "log"): FO_INVERSE_GAUSSIAN_LOG,
    ("inverse_gaussian", "inverse_squared"): FO_INVERSE_GAUSSIAN_INVERSE_SQUARED,
    ("tweedie", "log"): FO_TWEEDIE_LOG,
}


STATUS = {
    FO_KALMAN_OK: "",
    FO_KALMAN_INDEFINITE: "indefinite",
    FO_KALMAN_NONFINITE: "nonfinite",
}


cdef class Rows:
    """Base of the filters: calls a filter in C for rows and returns its status."""
    cdef int64_t p
    cdef bint is_single  # the rows are float32
    cdef fo_counts *counted
    cdef int n_threads  # 0: the default of OpenMP
    cdef int *threads  # where C reads the number of threads, or NULL
    cdef tuple arrays  # kept alive for C
    cdef bint busy  # a call is running

    cdef fo_kalman_status absorb(self, const fo_glm *glm, void *x, int64_t ldx,
                                 const fo_targets *targets, int64_t n) noexcept nogil:
        return FO_KALMAN_NONFINITE

    @property
    def counts(self):
        """(n_obs, n_clipped, innovations); can be set."""
        return self.counted.n_obs, self.counted.n_clipped, self.counted.innovations

    @counts.setter
    def counts(self, tuple values):
        self.counted.n_obs, self.counted.n_clipped, self.counted.innovations = values

    def require_idle(self):
        """Raise if a call is running."""
        if self.busy:
            raise FastoptError("a call of this filter is running, perhaps in another thread")

    def change(self, cnp.ndarray x, cnp.ndarray y):
        """Absorb at most one block of rows of variance 1; `y` is the residual y - x'w."""
        cdef fo_glm glm
        glm.family, glm.shape, glm.is_change, glm.is_explicit = FO_GAUSSIAN_IDENTITY, 0, 1, 0
        return self.run(&glm, x, y, None, None, len(y))

    def rows(self, tuple family, double shape, bint is_explicit, double gamma_min,
             double gamma_max, cnp.ndarray x, cnp.ndarray y, cnp.ndarray weight,
             cnp.ndarray offset, int64_t at_once):
        """Absorb rows, `at_once` at a time; check for signals in between.

        Returns "" or the name of a failure. The state is then that before the failing block.
        """
        cdef fo_glm glm = glm_of(family, shape, is_explicit, gamma_min, gamma_max)
        return self.run(&glm, x, y, weight, offset, at_once)

    def few_rows(self, tuple family, double shape, bint is_explicit, double gamma_min,
                 double gamma_max, double low, double high, bint open_low,
                 int64_t sortable, int64_t most, x, y, cnp.ndarray shift,
                 bint has_intercept):
        """Absorb rows of arrays that need no conversion; return the status, None for others.

        The arrays are C-ordered: x of float64 or float32, of `p` columns without the intercept, y
        of float64. Rows have `shift` subtracted and a 1 put in front; without a shift, they have
        the dtype that the filter reads. y is in the range from `low` to `high`, and not sorted if
        there are more than `sortable` rows. There are fewer than `most` rows.
        """
        cdef cnp.ndarray rows, targets
        cdef cnp.npy_intp[2] shape_of
        cdef int64_t n, lead = 1 if has_intercept else 0
        if not (cnp.PyArray_CheckExact(x) and cnp.PyArray_CheckExact(y)):
            return None
        rows, targets = x, y
        cdef int kind = cnp.PyArray_TYPE(rows)
        if not (cnp.PyArray_NDIM(rows) == 2 and cnp.PyArray_NDIM(targets) == 1
                and (kind == cnp.NPY_DOUBLE or kind == cnp.NPY_FLOAT)
                and cnp.PyArray_TYPE(targets) == cnp.NPY_DOUBLE
                and cnp.PyArray_ISCARRAY_RO(rows) and cnp.PyArray_ISCARRAY_RO(targets)):
            return None
        n = cnp.PyArray_DIM(rows, 0)
        if not (0 < n < most and cnp.PyArray_DIM(targets, 0) == n
                and cnp.PyArray_DIM(rows, 1) == self.p - lead):
            return None
        if not fo_are_allowed(<double *>cnp.PyArray_DATA(targets), n, low, high, open_low,
                              sortable):
            return None
        if shift is not None:
            require_targets(self.p - lead, shift, None)
            shape_of[0], shape_of[1] = n, self.p
            rows = cnp.PyArray_EMPTY(
                2, shape_of, cnp.NPY_FLOAT if self.is_single else cnp.NPY_DOUBLE, 0)
            fo_centre_rows(cnp.PyArray_DATA(x), kind == cnp.NPY_FLOAT, n, self.p - lead,
                           <double *>cnp.PyArray_DATA(shift), has_intercept,
                           cnp.PyArray_DATA(rows), self.is_single)
        elif (kind == cnp.NPY_FLOAT) != self.is_single or lead:
            return None
        if fo_nonfinite_row(cnp.PyArray_DATA(rows), self.is_single, self.p, n, self.p) >= 0:
            return None
        cdef fo_glm glm = glm_of(family, shape, is_explicit, gamma_min, gamma_max)
        cdef fo_targets of
        of.y, of.weight, of.offset = <double *>cnp.PyArray_DATA(targets), NULL, NULL
        return self.run_checked(&glm, rows, self.p, &of, n, n)

    cdef run(self, const fo_glm *glm, cnp.ndarray x, cnp.ndarray y, cnp.ndarray weight,
             cnp.ndarray offset, int64_t at_once):
        cdef fo_targets targets
        require_rows(x, self.p, self.is_single)
        require_targets(len(x), y, weight)
        require_targets(len(x), y, offset)
        targets.y = <double *>cnp.PyArray_DATA(y)
        targets.weight = <double *>cnp.PyArray_DATA(weight) if weight is not None else NULL
        targets.offset = <double *>cnp.PyArray_DATA(offset) if offset is not None else NULL
        return self.run_checked(glm, x, row_stride(x), &targets, cnp.PyArray_SIZE(y), at_once)

    cdef run_checked(self, const fo_glm *glm, cnp.ndarray x, int64_t ldx,
                     const fo_targets *targets, int64_t n, int64_t at_once):
        cdef fo_kalman_status status
        cdef fo_targets of
        cdef int64_t i = 0, now
        cdef char *first
        self.require_idle()
        self.busy = True
        try:
            if self.threads != NULL:
                self.threads[0] = self.n_threads if self.n_threads else max_threads()
            while i < n:
                now = min(n - i, at_once)
                of = fo_targets_from(targets, i)
                first = <char *>cnp.PyArray_DATA(x) + i * ldx * cnp.PyArray_ITEMSIZE(x)
                with nogil:
                    status = self.absorb(glm, first, ldx, &of, now)
                if status != FO_KALMAN_OK:
                    return STATUS[status]
                i += now
                PyErr_CheckSignals()
            return ""
        finally:
            self.busy = False


def columns(int64_t p, int64_t n, str char):
    """Return n columns of p zeros, in Fortran order, as `Filter` needs them: aligned to 64 bytes.

    The length of the columns is rounded up, so that each of them is aligned.
    """
    cdef int64_t size = np.dtype(char).itemsize, ld = fo_apart(p, char == "f")
    cdef cnp.ndarray room = np.zeros(ld * n * size + 64, np.uint8)
    cdef int64_t skip = -<int64_t>cnp.PyArray_DATA(room) % 64
    return room[skip:skip + ld * n * size].view(char).reshape((ld, n), order="F")


cdef class Filter(Rows):
    """Coefficients w and covariance m, float32 or float64, in the layout of `columns`.

    Rows have the dtype of m. With `by_blas`, matrix products are those of BLAS and only the lower
    triangle of m is used, else all of it, which is symmetric. With `by_blas` and `in_parts`, the
    product of m and a single row is computed without BLAS, by `n_threads` threads (0 for the
    default of OpenMP).
    """
    cdef fo_kalman c

    def __cinit__(self, cnp.ndarray w, cnp.ndarray m, int block, double keep,
                  double max_trace, int n_threads, bint by_blas, bint in_parts):
        cdef int64_t p = cnp.PyArray_SIZE(w)
        cdef str char = m.dtype.char
        require_state(w, p, "d")
        self.is_single = self.c.is_single = char == "f"
        self.c.p, self.c.block = p, block
        self.c.rows = fo_padded(p, self.is_single)
        self.c.ld = fo_apart(p, self.is_single)
        self.c.ldc = fo_apart(block, self.is_single)
        require_state(m, self.c.ld * p, "f" if self.is_single else "d")
        cdef cnp.ndarray pending = columns(p, block, char), u = columns(p, block, char)
        cdef cnp.ndarray c = columns(block, block, char)
        cdef cnp.ndarray xt = columns(block, 0 if by_blas else p, char)
        cdef cnp.ndarray scalars = columns(3 * self.c.ldc + self.c.ld, 1, "d")
        cdef cnp.ndarray parts = np.empty((FO_TRIANGLE_PARTS if in_parts else 0, p), char)
        self.arrays = w, m, pending, u, c, xt, scalars, parts
        self.p, self.counted = p, &self.c.counts
        self.c.w = <double *>cnp.PyArray_DATA(w)
        self.c.m = cnp.PyArray_DATA(m)
        self.c.pending = cnp.PyArray_DATA(pending)
        self.c.u = cnp.PyArray_DATA(u)
        self.c.c = cnp.PyArray_DATA(c)
        self.c.xt = NULL if by_blas else cnp.PyArray_DATA(xt)
        self.c.scalars = <double *>cnp.PyArray_DATA(scalars)
        self.c.parts = cnp.PyArray_DATA(parts) if in_parts else NULL
        self.c.times = triangle_times
        self.c.products = products_of(self.is_single)
        self.n_threads, self.threads = n_threads, &self.c.n_threads
        self.c.scale = 1
        self.c.forgetting.keep, self.c.forgetting.max_trace = keep, max_trace

    cdef fo_kalman_status absorb(self, const fo_glm *glm, void *x, int64_t ldx,
                                 const fo_targets *targets, int64_t n) noexcept nogil:
        return fo_kalman_rows(&self.c, &BLAS, glm, x, ldx, targets, n)

    def settle(self):
        """Write the pending terms into the covariance."""
        self.require_idle()
        fo_kalman_settle(&self.c, &BLAS)

    def trace(self):
        self.require_idle()
        return fo_kalman_trace(&self.c)

    def variances(self):
        """Return the diagonal of the covariance."""
        cdef cnp.ndarray variances = np.empty(self.p)
        self.require_idle()
        fo_kalman_variances(&self.c, <double *>cnp.PyArray_DATA(variances))
        return variances


cdef class Factors(Rows):
    """Coefficients w and covariance U D U'; u is U above the diagonal, column by column."""
    cdef fo_ud c

    def __cinit__(self, cnp.ndarray w, cnp.ndarray u, cnp.ndarray d, int block, double keep,
                  double max_trace, int n_threads):
        cdef int64_t p = cnp.PyArray_SIZE(w)
        self.c.is_single = u.dtype.char == "f"
        require_state(w, p, "d")
        require_state(d, p, "d")
        require_state(u, p * (p - 1) // 2, "f" if self.c.is_single else "d")
        cdef cnp.ndarray work = np.empty(p * (4 * block + 1)), scalars = np.empty(3 * block)
        self.arrays = w, u, d, work, scalars
        self.p, self.counted = p, &self.c.counts
        self.n_threads, self.threads = n_threads, &self.c.n_threads
        self.c.p, self.c.block = p, block
        self.c.w = <double *>cnp.PyArray_DATA(w)
        self.c.u = cnp.PyArray_DATA(u)
        self.c.d = <double *>cnp.PyArray_DATA(d)
        self.c.work = <double *>cnp.PyArray_DATA(work)
        self.c.scalars = <double *>cnp.PyArray_DATA(scalars)
        self.c.largest = np.inf
        self.c.forgetting.keep, self.c.forgetting.max_trace = keep, max_trace
        self.c.loop = parallel_for

    cdef fo_kalman_status absorb(self, const fo_glm *glm, void *x, int64_t ldx,
                                 const fo_targets *targets, int64_t n) noexcept nogil:
        return fo_ud_rows(&self.c, glm, <double *>x, ldx, targets, n)

    def trace(self):
        self.require_idle()
        return fo_ud_trace(&self.c)

    def variances(self):
        """Return the diagonal of the covariance."""
        cdef cnp.ndarray variances = np.empty(self.p)
        self.require_idle()
        fo_ud_variances(&self.c, <double *>cnp.PyArray_DATA(variances))
        return variances


cdef class DecoupledFilter(Rows):
    """Coefficients w in the order of the blocks, and the blocks m, each a square.

    `start` has the first coefficient of each block; if it is None, m is a diagonal. `order` has
    the column of each coefficient in the rows, or is None if the order is the same.
    """
    cdef fo_decoupled c
    cdef tuple work

    def __cinit__(self, cnp.ndarray w, cnp.ndarray m, cnp.ndarray start, cnp.ndarray order,
                  double keep, double max_trace):
        self.arrays = w, m, start, order
        if not (is_plain(w) and is_plain(m) and is_whole(start) and is_whole(order)):
            raise FastoptError("DecoupledFilter: an array has the wrong dtype or layout")
        self.c.p = cnp.PyArray_SIZE(w)
        self.c.w, self.c.m = <double *>cnp.PyArray_DATA(w), <double *>cnp.PyArray_DATA(m)
        if start is not None:
            self.c.n_blocks = cnp.PyArray_SIZE(start) - 1
            self.c.start = <int64_t *>cnp.PyArray_DATA(start)
        if order is not None:
            self.c.order = <int64_t *>cnp.PyArray_DATA(order)
        self.c.forgetting.keep, self.c.forgetting.max_trace = keep, max_trace
        self.p, self.counted = self.c.p, &self.c.counts
        self.make_room(1)

    cdef make_room(self, int n):
        """Allocate work arrays for n outputs."""
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

    cdef fo_kalman_status absorb(self, const fo_glm *glm, void *x, int64_t ldx,
                                 const fo_targets *targets, int64_t n) noexcept nogil:
        return fo_decoupled_rows(&self.c, &BLAS.f64, glm, <double *>x, ldx, targets, n)

    def trace(self):
        return fo_decoupled_trace(&self.c)

    def outputs(self, cnp.ndarray x, cnp.ndarray residual):
        """Absorb the whitened outputs of one observation; return "" or the name of a failure."""
        cdef int n = len(x)
        cdef fo_kalman_status status
        require_rows(x, self.p, False)
        require_targets(n, residual, None)
        cdef int64_t ldx = row_stride(x)
        self.require_idle()
        self.busy = True
        try:
            self.make_room(n)
            with nogil:
                status = fo_decoupled_outputs(
                    &self.c, &BLAS.f64, <double *>cnp.PyArray_DATA(x), ldx,
                    <double *>cnp.PyArray_DATA(residual), n)
            return STATUS[status]
        finally:
            self.busy = False


def nonfinite_row(cnp.ndarray x):
    """Return the index of the first row with a NaN or an infinity, or -1."""
    cdef int64_t row, n = x.shape[0], p = x.shape[1]
    cdef bint is_single = x.dtype.char == "f"
    require_rows(x, p, is_single)
    cdef int64_t ldx = row_stride(x)
    with nogil:
        row = fo_nonfinite_row(cnp.PyArray_DATA(x), is_single, ldx, n, p)
    return row


def marks_of(y, cnp.ndarray labels):
    """Return 1.0 where y is labels[1] and 0.0 where it is labels[0]; None if it is neither.

    None, too, unless both arrays are contiguous, of the same type, int64 or float64.
    """
    if not (cnp.PyArray_CheckExact(y) and cnp.PyArray_SIZE(labels) == 2):
        return None
    cdef cnp.ndarray given = y, mark
    cdef int kind = cnp.PyArray_TYPE(given)
    if not (cnp.PyArray_NDIM(given) == 1 and kind == cnp.PyArray_TYPE(labels)
            and (kind == cnp.NPY_DOUBLE or kind == cnp.NPY_INT64)
            and cnp.PyArray_ISCARRAY_RO(given) and cnp.PyArray_ISCARRAY_RO(labels)):
        return None
    cdef cnp.npy_intp n = cnp.PyArray_SIZE(given)
    mark = cnp.PyArray_EMPTY(1, &n, cnp.NPY_DOUBLE, 0)
    if fo_mark_labels(cnp.PyArray_DATA(given), n, cnp.PyArray_DATA(labels),
                      <double *>cnp.PyArray_DATA(mark)):
        return mark
    return None


def observe(tuple family, double shape, double y, double z):
    """Return mean, slope, variance, score, weight and fall at linear predictor z."""
    cdef fo_observation at = fo_observe(FAMILIES[family], shape, y, z)
    return at.mean, at.slope, at.variance, at.score, at.weight, at.fall


def deviance(tuple family, double shape, double y, double z):
    """Return the unit deviance at linear predictor z."""
    cdef fo_observation at = fo_observe(FAMILIES[family], shape, y, z)
    return fo_deviance(FAMILIES[family], shape, y, z, &at)


def observe_rows(tuple family, double shape, cnp.ndarray y, cnp.ndarray z):
    """Return mean, variance, score, weight and unit deviance of each observation."""
    cdef int64_t n = cnp.PyArray_SIZE(y)
    require_targets(n, y, z)
    cdef fo_family kind = FAMILIES[family]
    cdef cnp.ndarray mean = np.empty(n), variance = np.empty(n)
    cdef cnp.ndarray score = np.empty(n), weight = np.empty(n), deviance = np.empty(n)
    fo_observe_rows(
        kind, shape, <double *>cnp.PyArray_DATA(y), <double *>cnp.PyArray_DATA(z), n,
        <double *>cnp.PyArray_DATA(mean), <double *>cnp.PyArray_DATA(variance),
        <double *>cnp.PyArray_DATA(score), <double *>cnp.PyArray_DATA(weight),
        <double *>cnp.PyArray_DATA(deviance),
    )
    return mean, variance, score, weight, deviance


def observed_weights(tuple family, double shape, cnp.ndarray y, cnp.ndarray z):
    """Return -d score / dz of each observation, whose expectation is the weight."""
    cdef int64_t n = cnp.PyArray_SIZE(y)
    require_targets(n, y, z)
    cdef cnp.ndarray observed = np.empty(n)
    fo_observed_weights(
        FAMILIES[family], shape, <double *>cnp.PyArray_DATA(y), <double *>cnp.PyArray_DATA(z), n,
        <double *>cnp.PyArray_DATA(observed),
    )
    return observed


def implicit(tuple family, double shape, double y, double prior, double eta, double g):
    """Return the linear predictor z after an implicit update, and what `observe` returns at z."""
    cdef double z
    cdef fo_observation at = fo_implicit(FAMILIES[family], shape, y, prior, eta, g, &z)
    return z, (at.mean, at.slope, at.variance, at.score, at.weight, at.fall)


cdef require_state(cnp.ndarray array, int64_t size, str char):
    if not (array.dtype.char == char and cnp.PyArray_SIZE(array) == size
            and array.flags.forc and array.flags.writeable and array.flags.aligned):
        raise FastoptError("Rows: an array of the state has the wrong size, dtype or layout")


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
            raise FastoptError("Rows: y or weight has the wrong size, dtype or layout")


cdef int64_t row_stride(cnp.ndarray x):
    return x.strides[0] // x.itemsize if x.shape[0] > 1 else x.shape[1]


cdef require_rows(cnp.ndarray x, int64_t p, bint is_single):
    if (x.ndim != 2 or x.shape[1] != p or x.dtype.char != ("f" if is_single else "d")
            or not x.flags.aligned
            or (p > 1 and x.strides[1] != x.itemsize) or x.strides[0] % x.itemsize
            or (x.shape[0] > 1 and x.strides[0] < p * x.itemsize)):
        raise FastoptError("Rows: x has the wrong shape, dtype or layout")
