# Declarations of csrc/kalman and csrc/triangle.h for Cython.
from libc.stdint cimport int64_t

from fastopt._csrc cimport fo_body


cdef extern from "kalman/families.h" nogil:
    ctypedef enum fo_family:
        FO_GAUSSIAN_IDENTITY
        FO_BERNOULLI_LOGIT
        FO_BERNOULLI_PROBIT
        FO_BERNOULLI_CLOGLOG
        FO_POISSON_LOG
        FO_GAMMA_LOG
        FO_GAMMA_INVERSE
        FO_NEGATIVE_BINOMIAL_LOG
        FO_INVERSE_GAUSSIAN_LOG
        FO_INVERSE_GAUSSIAN_INVERSE_SQUARED
        FO_TWEEDIE_LOG

    ctypedef struct fo_observation:
        double mean
        double slope
        double variance
        double score
        double weight
        double fall

    fo_observation fo_observe(fo_family family, double shape, double y, double z)
    double fo_deviance(fo_family family, double shape, double y, double z,
                       const fo_observation *at)
    fo_observation fo_implicit(fo_family family, double shape, double y, double prior,
                               double eta, double g, double *root)


cdef extern from "kalman/scoring.h" nogil:
    void fo_observe_rows(fo_family family, double shape, const double *y, const double *z,
                         int64_t n, double *mean, double *variance, double *score,
                         double *weight, double *deviance)
    void fo_observed_weights(fo_family family, double shape, const double *y, const double *z,
                             int64_t n, double *observed)


cdef extern from "kalman/given.h" nogil:
    void fo_centre_rows(const void *x, int is_single, int64_t n, int64_t p,
                        const double *shift, int has_intercept, void *to, int to_single)
    int fo_mark_labels(const void *y, int64_t n, const void *labels, double *mark)
    int fo_are_allowed(const double *y, int64_t n, double low, double high, int open_low,
                       int64_t sortable)


cdef extern from "kalman/gain.h" nogil:
    ctypedef struct fo_glm:
        fo_family family
        double shape
        int is_change
        int is_explicit
        double gamma_min
        double gamma_max

    ctypedef struct fo_targets:
        const double *y
        const double *weight
        const double *offset

    fo_targets fo_targets_from(const fo_targets *all, int64_t i)

    ctypedef struct fo_counts:
        double innovations
        int64_t n_obs
        int64_t n_clipped

    ctypedef struct fo_forgetting:
        double keep
        double max_trace

    ctypedef enum fo_kalman_status:
        FO_KALMAN_OK
        FO_KALMAN_INDEFINITE
        FO_KALMAN_NONFINITE


cdef extern from "products.h" nogil:
    ctypedef struct fo_products:
        pass

    int64_t fo_padded(int64_t p, int is_single)
    int64_t fo_apart(int64_t p, int is_single)


cdef extern from "triangle.h" nogil:
    enum:
        FO_TRIANGLE_PARTS

    ctypedef void fo_triangle_product(int is_single, const void *m, int64_t ld, int64_t p,
                                      const void *x, void *y, void *work,
                                      int n_threads) noexcept nogil


cdef extern from "kalman/kalman.h" nogil:
    ctypedef struct fo_blas_f32:
        void (*symm)(
            char *, char *, int *, int *, float *, float *, int *, float *,
            int *, float *, float *, int *) noexcept nogil
        void (*gemm)(
            char *, char *, int *, int *, int *, float *, float *, int *,
            float *, int *, float *, float *, int *) noexcept nogil
        void (*gemv)(
            char *, int *, int *, float *, float *, int *, float *, int *,
            float *, float *, int *) noexcept nogil
        void (*symv)(
            char *, int *, float *, float *, int *, float *, int *, float *,
            float *, int *) noexcept nogil
        void (*trsm)(
            char *, char *, char *, char *, int *, int *, float *, float *,
            int *, float *, int *) noexcept nogil
        void (*syrk)(
            char *, char *, int *, int *, float *, float *, int *, float *,
            float *, int *) noexcept nogil
        void (*potrf)(char *, int *, float *, int *, int *) noexcept nogil

    ctypedef struct fo_blas_f64:
        void (*symm)(
            char *, char *, int *, int *, double *, double *, int *, double *,
            int *, double *, double *, int *) noexcept nogil
        void (*gemm)(
            char *, char *, int *, int *, int *, double *, double *, int *,
            double *, int *, double *, double *, int *) noexcept nogil
        void (*gemv)(
            char *, int *, int *, double *, double *, int *, double *, int *,
            double *, double *, int *) noexcept nogil
        void (*symv)(
            char *, int *, double *, double *, int *, double *, int *, double *,
            double *, int *) noexcept nogil
        void (*trsm)(
            char *, char *, char *, char *, int *, int *, double *, double *,
            int *, double *, int *) noexcept nogil
        void (*syrk)(
            char *, char *, int *, int *, double *, double *, int *, double *,
            double *, int *) noexcept nogil
        void (*potrf)(char *, int *, double *, int *, int *) noexcept nogil

    ctypedef struct fo_blas:
        fo_blas_f32 f32
        fo_blas_f64 f64

    ctypedef struct fo_kalman:
        int p
        int n_pending
        int block
        int rows
        int ld
        int ldc
        int is_single
        double *w
        void *m
        void *pending
        double scale
        void *u
        void *c
        void *xt
        double *scalars
        void *parts
        fo_triangle_product *times
        const fo_products *products
        int n_threads
        fo_forgetting forgetting
        fo_counts counts

    fo_kalman_status fo_kalman_rows(fo_kalman *k, const fo_blas *blas, const fo_glm *glm,
                                    void *x, int64_t ldx, const fo_targets *targets,
                                    int64_t n)
    void fo_kalman_settle(fo_kalman *k, const fo_blas *blas)
    int64_t fo_nonfinite_row(const void *x, int is_single, int64_t ldx, int64_t n, int64_t p)
    double fo_kalman_trace(const fo_kalman *k)
    void fo_kalman_variances(const fo_kalman *k, double *variances)


cdef extern from "parallel.h" nogil:
    ctypedef void fo_parallel_loop(int64_t n, int64_t grain, fo_body *body, void *context,
                                   int n_threads) noexcept nogil


cdef extern from "kalman/ud.h" nogil:
    ctypedef struct fo_ud:
        int64_t p
        int64_t block
        int is_single
        double *w
        void *u
        double *d
        double *work
        double *scalars
        double largest
        fo_forgetting forgetting
        fo_counts counts
        fo_parallel_loop *loop
        int n_threads

    fo_kalman_status fo_ud_rows(fo_ud *k, const fo_glm *glm, const double *x, int64_t ldx,
                                const fo_targets *targets, int64_t n)
    double fo_ud_trace(const fo_ud *k)
    void fo_ud_variances(const fo_ud *k, double *variances)


cdef extern from "kalman/decoupled.h" nogil:
    ctypedef struct fo_decoupled:
        int p
        int capacity
        int64_t n_blocks
        const int64_t *start
        const int64_t *order
        double *w
        double *m
        double *x
        double *u
        double *s
        double *next
        fo_forgetting forgetting
        fo_counts counts

    fo_kalman_status fo_decoupled_rows(fo_decoupled *k, const fo_blas_f64 *blas,
                                       const fo_glm *glm, const double *x, int64_t ldx,
                                       const fo_targets *targets, int64_t n)
    fo_kalman_status fo_decoupled_outputs(fo_decoupled *k, const fo_blas_f64 *blas,
                                          const double *x, int64_t ldx,
                                          const double *residual, int n)
    double fo_decoupled_trace(const fo_decoupled *k)
