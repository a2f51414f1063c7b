# Cython declarations of csrc/fastopt.h and of three other headers.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t


cdef extern from "fastopt.h" nogil:
    enum:
        FO_MAX_STATES
        FO_MAX_SAVED
        FO_MAX_HP
        FO_MAX_AXES
        FO_CHUNK
        FO_N_RULES

    ctypedef enum fo_dtype:
        FO_F32
        FO_F64
        FO_F16
        FO_BF16
        FO_F8

    ctypedef enum fo_code:
        FO_SIGNED
        FO_NON_NEGATIVE

    enum:
        FO_BLOCK

    ctypedef enum fo_rule:
        pass

    ctypedef enum fo_decay:
        FO_DECAY_COUPLED
        FO_DECAY_LR
        FO_DECAY_SCHEDULE
        FO_DECAY_PROXIMAL

    ctypedef struct fo_group:
        fo_rule rule
        fo_decay decay
        int maximize
        double weight_decay
        double base_lr
        double l1
        int is_bounded
        double low
        double high
        double *hp

    ctypedef struct fo_layout:
        int n_axes
        int64_t *shape
        int64_t *param
        int64_t *grad
        int64_t *own
        int64_t *index
        int row_axis
        fo_dtype param_dtype
        fo_dtype grad_dtype
        fo_dtype state_dtype
        fo_code *code

    ctypedef struct fo_rows:
        int64_t n
        const int64_t *row
        const int64_t *start
        const int64_t *order
        int clears

    ctypedef struct fo_factored:
        int *axis
        void **state

    ctypedef struct fo_tensor:
        fo_dtype dtype
        int32_t group
        int64_t size
        void *param
        const void *grad
        void **state
        uint8_t **scale
        void *row_state
        void *master
        void *ema
        int64_t *step
        double *saved
        fo_layout *layout
        fo_rows *rows
        fo_factored *factored

    ctypedef struct fo_extras:
        double grad_scale
        double max_grad_norm
        double max_grad_value
        int needs_norm
        int needs_finite
        int norm_is_given
        double given_norm
        int clears_skipped
        int zero_grads
        int stochastic
        double ema_decay
        int64_t lookahead_steps
        double lookahead_alpha
        uint64_t seed
        uint64_t step
        double grad_norm
        double clip
        int64_t nonfinite

    ctypedef struct fo_plan:
        pass

    fo_plan *fo_plan_new(const fo_tensor *tensors, int64_t n_tensors, int64_t n_groups,
                         int64_t serial_below)
    void fo_plan_free(fo_plan *plan)
    fo_tensor *fo_plan_tensors(fo_plan *plan)
    fo_group *fo_plan_groups(fo_plan *plan)
    enum:
        FO_TAKEN
        FO_NONFINITE
        FO_NO_SCRATCH

    int fo_step(fo_plan *plan, fo_extras *extras, int n_threads)
    int fo_norm(fo_plan *plan, fo_extras *extras, int n_threads)
    int fo_plan_reserve(fo_plan *plan)

    int64_t fo_rows_work(int64_t n)
    int64_t fo_rows_group(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                          fo_rows *out)

    int64_t fo_gather(const void *src, int64_t n_src, Py_ssize_t stride, size_t row_bytes,
                      const int64_t *index, int64_t n_rows, void *out, int n_threads)

    void fo_float8_unpack(fo_code code, const uint8_t *state, const uint8_t *scale,
                          int64_t n_rows, int64_t length, float *out)
    void fo_float8_pack(fo_code code, const float *x, int64_t n_rows, int64_t length,
                        uint8_t *state, uint8_t *scale)

    ctypedef struct fo_rule_info:
        const char *name
        int n_states
        const char *hp_names

    const fo_rule_info *fo_rules
    const int *fo_scopes
    enum:
        FO_OF_TENSOR
        FO_OF_ALL

    int fo_isa_count()
    const char *fo_isa_name(int isa)
    int fo_isa_supported(int isa)
    int fo_isa_current()
    void fo_isa_use(int isa)

    int fo_max_threads()
    void fo_limit_threads(int n_cpus)
    int fo_openmp_version()

    const char *fo_compiler()
    const char *fo_cflags()


cdef extern from "parallel.h" nogil:
    ctypedef void fo_body(void *context, int64_t begin, int64_t end) noexcept nogil

    void fo_parallel_for(int64_t n, int64_t grain, fo_body *body, void *context, int n_threads)


cdef extern from "limit.h" nogil:
    ctypedef enum fo_loop:
        FO_N_LOOPS

    void fo_limit(fo_dtype dtype, fo_loop loop, const void *g, void *param, void *const *state,
                  int n_states, int64_t n, int n_threads)


cdef extern from "products.h" nogil:
    ctypedef struct fo_products:
        pass

    const fo_products *fo_products_of(int is_single)


cdef extern from "triangle.h" nogil:
    void fo_triangle_times(int is_single, const void *m, int64_t ld, int64_t p, const void *x,
                           void *y, void *work, int n_threads)


cdef extern from "kalman/families.h" nogil:
    ctypedef enum fo_family:
        pass


cdef extern from "epochs/epochs.h" nogil:
    enum:
        FO_SPARSE_WORK

    ctypedef struct fo_table:
        int64_t n
        int64_t p
        fo_dtype dtype
        const void *x
        int64_t ldx
        const int64_t *start
        const int32_t *column
        const double *y
        const double *weight
        const double *offset

    ctypedef struct fo_epoch:
        fo_family family
        double shape
        int64_t p
        int has_intercept
        fo_rule rule
        double hp[16]
        double saved[4]
        int64_t t
        double *w
        double *state[4]
        double *average
        int64_t average_from
        int64_t averaged
        double l1
        double l2
        const double *l1_of
        const double *l2_of
        double most_l2
        const double *mean
        const double *factor
        double scale
        double due
        double scales
        double intercepts
        int64_t pending
        double *done
        double *missed
        int64_t *last
        double *g
        double *before
        double *row
        double *scores
        double *sparse
        int32_t *touched
        unsigned char *marked
        int n_threads

    int64_t fo_table_bad_row(const fo_table *table, int64_t n_values, int *increase)
    double fo_epoch_loss(const fo_epoch *e, const fo_table *table, const int64_t *order, int64_t n,
                         const double *z)
    int64_t fo_epoch_rows(fo_epoch *e, const fo_table *table, const int64_t *order, int64_t first,
                          int64_t n, int64_t batch, const double *lr, int64_t lr_stride,
                          double *z)
    void fo_epoch_settle(fo_epoch *e)
