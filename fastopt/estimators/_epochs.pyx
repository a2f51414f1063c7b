"""The boundary of csrc/epochs: checks arrays, fills structs, releases the GIL, calls C."""

import numpy as np

from fastopt._core import RULES, max_threads
from fastopt._errors import FastoptError
from fastopt.kalman._kalman import FAMILIES

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t

from fastopt._csrc cimport (
    FO_F32, FO_F64, FO_SPARSE_WORK, fo_epoch, fo_family, fo_rule, fo_table
)
from fastopt._core cimport epoch_loss, epoch_rows, epoch_settle, table_bad_row

cnp.import_array()


cdef class Table:
    """Rows with their targets: x is a matrix, or the values of a CSR matrix with p columns.

    `start` (int64) and `column` (int32) are those of the CSR matrix, or None.  `increases` tells
    whether the columns of each of its rows do; for steps they must be distinct.  The arrays must
    not change while the table is in use.
    """
    cdef fo_table c
    cdef tuple arrays
    cdef readonly bint increases

    def __cinit__(self, cnp.ndarray x, cnp.ndarray start, cnp.ndarray column, int64_t p,
                  cnp.ndarray y, cnp.ndarray weight, cnp.ndarray offset):
        cdef int64_t n = cnp.PyArray_SIZE(y), bad
        cdef int increases = 1
        self.arrays = x, start, column, y, weight, offset
        self.c.n, self.c.p = n, p
        self.c.dtype = FO_F32 if x.dtype == np.float32 else FO_F64
        require(x, -1, "f4" if self.c.dtype == FO_F32 else "f8", column is None)
        self.c.x = cnp.PyArray_DATA(x)
        self.c.y = <const double *>data(y, n)
        self.c.weight = <const double *>data(weight, n)
        self.c.offset = <const double *>data(offset, n)
        if column is None:
            if x.ndim != 2 or x.shape[0] != n or x.shape[1] != p:
                raise FastoptError("Table: x has the wrong shape")
            self.c.ldx = x.strides[0] // x.itemsize if n > 1 else p
            return
        require(start, n + 1, "i8", False)
        require(column, cnp.PyArray_SIZE(x), "i4", False)
        self.c.start = <const int64_t *>cnp.PyArray_DATA(start)
        self.c.column = <const int32_t *>cnp.PyArray_DATA(column)
        with nogil:
            bad = table_bad_row(&self.c, cnp.PyArray_SIZE(x), &increases)
        self.increases = increases
        if bad >= 0:
            raise FastoptError(f"X is no valid sparse matrix: row {bad} has indices out of range")


cdef class Steps:
    """The coefficients w of a model, the states of its rule, and the steps on rows.

    Every array has p + 1 numbers, the intercept last, except `l1`, `l2`, `mean` and `factor`.
    """
    cdef fo_epoch c
    cdef int64_t batch
    cdef tuple arrays
    cdef bint busy, is_sparse

    def __cinit__(self, tuple family, double shape, bint has_intercept, str rule,
                  cnp.ndarray w, tuple states, cnp.ndarray average,
                  int64_t average_from, double l1, double l2, cnp.ndarray l1_of,
                  cnp.ndarray l2_of, cnp.ndarray mean, cnp.ndarray factor, bint is_sparse,
                  cnp.ndarray last, int64_t batch, int n_threads):
        cdef int64_t size = cnp.PyArray_SIZE(w), p = size - 1
        cdef int k
        number, n_states, _ = RULES[rule]
        if len(states) != n_states or p < 1 or batch < 1:
            raise FastoptError("Steps: wrong number of states, columns or rows")
        self.c.family, self.c.shape = <fo_family><int>FAMILIES[family], shape
        self.c.p, self.c.has_intercept, self.c.rule = p, has_intercept, <fo_rule><int>number
        self.c.w = <double *>changing(w, size)
        for k in range(n_states):
            self.c.state[k] = <double *>changing(states[k], size)
        if average is not None:
            self.c.average = <double *>changing(average, size)
        self.c.average_from = average_from
        self.c.l1, self.c.l2 = l1, l2
        self.c.l1_of, self.c.l2_of = <const double *>data(l1_of, p), <const double *>data(l2_of, p)
        self.c.most_l2 = 0 if l2_of is None else l2_of.max()
        self.c.mean, self.c.factor = <const double *>data(mean, p), <const double *>data(factor, p)
        self.c.scale = 1
        self.batch, self.is_sparse = batch, is_sparse
        self.c.n_threads = n_threads if n_threads else max_threads()
        cdef int64_t some = p if is_sparse else 0
        work = {name: np.zeros(length, dtype) for name, length, dtype in (
            ("g", p, "f8"), ("before", p, "f8"), ("row", p * self.c.n_threads, "f8"),
            ("scores", batch, "f8"), ("sparse", FO_SPARSE_WORK * some, "f8"),
            ("touched", some, "i4"), ("marked", some, "u1"), ("done", some, "f8"),
            ("missed", some, "f8"))}
        self.c.g = <double *>changing(work["g"], p)
        self.c.before = <double *>changing(work["before"], p)
        self.c.row = <double *>changing(work["row"], p * self.c.n_threads)
        self.c.scores = <double *>changing(work["scores"], batch)
        if is_sparse:
            self.c.sparse = <double *>cnp.PyArray_DATA(work["sparse"])
            self.c.touched = <int32_t *>cnp.PyArray_DATA(work["touched"])
            self.c.marked = <unsigned char *>cnp.PyArray_DATA(work["marked"])
            if average is not None:
                self.c.missed = <double *>cnp.PyArray_DATA(work["missed"])
            if last is not None:
                require(last, p, "i8", False)
                self.c.last = <int64_t *>cnp.PyArray_DATA(last)
            elif l1 > 0:
                self.c.done = <double *>cnp.PyArray_DATA(work["done"])
        self.arrays = w, states, average, l1_of, l2_of, mean, factor, last, work

    @property
    def counts(self):
        """(steps, steps in the average, scalars of the rule, its last hyperparameters).

        Can be set.
        """
        return self.c.t, self.c.averaged, tuple(self.c.saved), tuple(self.c.hp)

    @counts.setter
    def counts(self, tuple values):
        cdef int k
        self.c.t, self.c.averaged, saved, hp = values
        for k in range(len(saved)):
            self.c.saved[k] = saved[k]
        for k in range(len(hp)):
            self.c.hp[k] = hp[k]

    def rows(self, Table table, cnp.ndarray order, cnp.ndarray lr, cnp.ndarray z, int64_t at_once):
        """Take steps on the rows of a table, in this order; check for signals in between.

        `lr` has one number for each step, or one for all.  Writes the linear predictor of each row
        to z.  Returns -1, or the position of a row whose score is not finite.
        """
        cdef int64_t n = cnp.PyArray_SIZE(z), i = 0, now, bad = -1
        cdef int64_t stride = 1 if cnp.PyArray_SIZE(lr) > 1 else 0
        cdef const int64_t *of
        cdef fo_table part = table.c
        cdef const void *rates = data(lr, -1)
        cdef void *out = changing(z, n)
        if part.p != self.c.p or (part.start != NULL) != self.is_sparse or (
                stride and cnp.PyArray_SIZE(lr) * self.batch < n) or not cnp.PyArray_SIZE(lr):
            raise FastoptError("Steps: the table or lr has the wrong size")
        of = rows_of(table, order, n)
        if self.busy:
            raise FastoptError("a call of this estimator is running, perhaps in another thread")
        self.busy = True
        at_once += self.batch - at_once % self.batch
        try:
            while i < n and bad < 0:
                now = min(n - i, at_once)
                with nogil:
                    bad = epoch_rows(&self.c, &part, of, i, now, self.batch,
                                     <const double *>rates + stride * (i // self.batch), stride,
                                     <double *>out + i)
                if bad >= 0:
                    bad += i
                i += now
                PyErr_CheckSignals()
        finally:
            with nogil:
                epoch_settle(&self.c)
            self.busy = False
        return bad

    def loss(self, Table table, cnp.ndarray order, cnp.ndarray z):
        """Return the sum of the losses of rows, times their weights, at linear predictors."""
        cdef int64_t n = cnp.PyArray_SIZE(z)
        cdef const void *at = data(z, n)
        cdef const int64_t *of = rows_of(table, order, n)
        cdef double sum
        with nogil:
            sum = epoch_loss(&self.c, &table.c, of, n, <const double *>at)
        return sum


cdef const int64_t *rows_of(Table table, cnp.ndarray order, int64_t n) except? NULL:
    """Check an order of n rows of a table; None is that of the table."""
    if order is None:
        if n > table.c.n:
            raise FastoptError("Steps: z is longer than the table")
        return NULL
    require(order, n, "i8", False)
    if n and (order.min() < 0 or order.max() >= table.c.n):
        raise FastoptError("Steps: order has rows out of range")
    return <const int64_t *>cnp.PyArray_DATA(order)


cdef require(cnp.ndarray array, int64_t size, str kind, bint is_matrix):
    if (array.dtype.str[1:] != kind or not array.dtype.isnative or not array.flags.aligned
            or (size >= 0 and cnp.PyArray_SIZE(array) != size)
            or not (is_rows(array) if is_matrix else array.flags.c_contiguous)):
        raise FastoptError("Table: an array has the wrong size, dtype or layout")


cdef bint is_rows(cnp.ndarray x):
    """Return whether each row of x is contiguous and rows do not overlap."""
    return x.ndim == 2 and (x.shape[1] < 2 or x.strides[1] == x.itemsize) and (
        x.shape[0] < 2 or x.strides[0] >= x.shape[1] * x.itemsize) and not (
        x.strides[0] % x.itemsize)


cdef const void *data(cnp.ndarray array, int64_t size) except? NULL:
    if array is None:
        return NULL
    require(array, size, "f8", False)
    return cnp.PyArray_DATA(array)


cdef void *changing(cnp.ndarray array, int64_t size) except? NULL:
    require(array, size, "f8", False)
    if not array.flags.writeable:
        raise FastoptError("Steps: an array is read-only")
    return cnp.PyArray_DATA(array)
