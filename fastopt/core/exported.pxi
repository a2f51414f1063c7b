# The C functions that other extension modules call: see _core.pxd.
from libc.stdint cimport int64_t

from fastopt._csrc cimport *


cdef void parallel_for(int64_t n, int64_t grain, fo_body *body, void *context,
                       int n_threads) noexcept nogil:
    fo_parallel_for(n, grain, body, context, n_threads)


cdef void triangle_times(int is_single, const void *m, int64_t ld, int64_t p, const void *x,
                         void *y, void *work, int n_threads) noexcept nogil:
    fo_triangle_times(is_single, m, ld, p, x, y, work, n_threads)


cdef const fo_products *products_of(int is_single) noexcept nogil:
    return fo_products_of(is_single)


cdef fo_plan *plan_new(const fo_tensor *tensors, int64_t n_tensors, int64_t n_groups,
                       int64_t serial_below) noexcept nogil:
    return fo_plan_new(tensors, n_tensors, n_groups, serial_below)


cdef void plan_free(fo_plan *plan) noexcept nogil:
    fo_plan_free(plan)


cdef fo_tensor *plan_tensors(fo_plan *plan) noexcept nogil:
    return fo_plan_tensors(plan)


cdef fo_group *plan_groups(fo_plan *plan) noexcept nogil:
    return fo_plan_groups(plan)


cdef int plan_reserve(fo_plan *plan) noexcept nogil:
    return fo_plan_reserve(plan)


cdef int step(fo_plan *plan, fo_extras *extras, int n_threads) noexcept nogil:
    return fo_step(plan, extras, n_threads)


cdef int norm(fo_plan *plan, fo_extras *extras, int n_threads) noexcept nogil:
    return fo_norm(plan, extras, n_threads)


cdef int64_t rows_work(int64_t n) noexcept nogil:
    return fo_rows_work(n)


cdef int64_t rows_group(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                        fo_rows *out) noexcept nogil:
    return fo_rows_group(index, n, n_rows, work, out)


cdef int64_t table_bad_row(const fo_table *table, int64_t n_values, int *increase) noexcept nogil:
    return fo_table_bad_row(table, n_values, increase)


cdef double epoch_loss(const fo_epoch *e, const fo_table *table, const int64_t *order, int64_t n,
                       const double *z) noexcept nogil:
    return fo_epoch_loss(e, table, order, n, z)


cdef int64_t epoch_rows(fo_epoch *e, const fo_table *table, const int64_t *order, int64_t first,
                        int64_t n, int64_t batch, const double *lr, int64_t lr_stride,
                        double *z) noexcept nogil:
    return fo_epoch_rows(e, table, order, first, n, batch, lr, lr_stride, z)


cdef void epoch_settle(fo_epoch *e) noexcept nogil:
    fo_epoch_settle(e)
