# The functions of _core that fastopt.kalman._kalman calls: the parallel loop, because OpenMP is
# linked into one extension only, and a kernel that is compiled for each instruction set.
from libc.stdint cimport int64_t

from fastopt._csrc cimport fo_body

cdef void parallel_for(int64_t n, int64_t grain, fo_body *body, void *context,
                       int n_threads) noexcept nogil
cdef void triangle_times(int is_single, const void *m, int64_t p, const void *x, void *y,
                         void *work, int n_threads) noexcept nogil
