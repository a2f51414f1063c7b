# The functions of csrc/ that other extension modules call through _core, because OpenMP and the
# kernels are linked into one extension only.  Each is the function fo_NAME of csrc/.
from libc.stdint cimport int64_t

from fastopt._csrc cimport (
    fo_body, fo_epoch, fo_extras, fo_group, fo_plan, fo_products, fo_rows, fo_table, fo_tensor
)

# For fastopt.kalman._kalman: the loop of parallel.h, the kernels of triangle.h and of
# products.h.
cdef void parallel_for(int64_t n, int64_t grain, fo_body *body, void *context,
                       int n_threads) noexcept nogil
cdef void triangle_times(int is_single, const void *m, int64_t ld, int64_t p, const void *x,
                         void *y, void *work, int n_threads) noexcept nogil
cdef const fo_products *products_of(int is_single) noexcept nogil

# For fastopt.torch._plan: steps (fastopt.h).
cdef fo_plan *plan_new(const fo_tensor *tensors, int64_t n_tensors, int64_t n_groups,
                       int64_t serial_below) noexcept nogil
cdef void plan_free(fo_plan *plan) noexcept nogil
cdef fo_tensor *plan_tensors(fo_plan *plan) noexcept nogil
cdef fo_group *plan_groups(fo_plan *plan) noexcept nogil
cdef int plan_reserve(fo_plan *plan) noexcept nogil
cdef int step(fo_plan *plan, fo_extras *extras, int n_threads) noexcept nogil
cdef int norm(fo_plan *plan, fo_extras *extras, int n_threads) noexcept nogil
cdef int64_t rows_work(int64_t n) noexcept nogil
cdef int64_t rows_group(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                        fo_rows *out) noexcept nogil

# For fastopt.estimators._epochs (epochs.h).
cdef int64_t table_bad_row(const fo_table *table, int64_t n_values, int *increase) noexcept nogil
cdef double epoch_loss(const fo_epoch *e, const fo_table *table, const int64_t *order, int64_t n,
                       const double *z) noexcept nogil
cdef int64_t epoch_rows(fo_epoch *e, const fo_table *table, const int64_t *order, int64_t first,
                        int64_t n, int64_t batch, const double *lr, int64_t lr_stride,
                        double *z) noexcept nogil
cdef void epoch_settle(fo_epoch *e) noexcept nogil
