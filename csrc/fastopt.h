/* The public C API of fastopt: optimizer steps over many tensors, updated in place.
 *
 *     fo_plan *plan = fo_plan_new(tensors, n_tensors, n_groups, 1000000);
 *     fo_plan_groups(plan)[0] = ...;         hyperparameters; may change between steps
 *     fo_plan_tensors(plan)[i].grad = g;     gradients, before every step
 *     fo_step(plan, &extras, n_threads);     one step for all tensors
 *     fo_plan_free(plan);
 *
 * The caller owns every array and keeps it alive.  A plan is used by one thread at a
 * time; different plans may be used concurrently.  Only fo_plan_new and fo_plan_reserve
 * allocate.  No function needs more than 64 KiB of stack. */
#ifndef FASTOPT_H
#define FASTOPT_H

#include <stddef.h>
#include <stdint.h>

enum { FO_MAX_STATES = 4, FO_MAX_HP = 16, FO_MAX_AXES = 16 };

/* The largest number of scalars that a rule keeps for a tensor between steps. */
enum { FO_MAX_SAVED = 4 };

/* The largest number of elements that one kernel call updates.  How tensors are cut
 * into chunks depends on their shapes alone. */
enum { FO_CHUNK = 16384 };

/* The dtypes of arrays.  Kernels compute in the first two; only states are FO_F8. */
typedef enum {
    FO_F32,
    FO_F64,
    FO_F16,
    FO_BF16,
    FO_F8,
    FO_N_DTYPES = FO_F8, /* of those that may be a parameter's or a gradient's */
    FO_N_REALS = 2
} fo_dtype;

/* What a byte of an FO_F8 state means: a sign, 5 bits of exponent and 2 of mantissa
 * (E5M2 of the OCP 8-bit floating point specification), or 6 and 2 without a sign. */
typedef enum { FO_SIGNED, FO_NON_NEGATIVE, FO_N_CODES } fo_code;

/* The largest number of consecutive elements of an FO_F8 state that share a scale. */
enum { FO_BLOCK = 256 };

/* The update rules: FO_RULE_sgd, FO_RULE_adam, ... */
typedef enum {
#define FO_RULE(name, n_states, ...) FO_RULE_##name,
#include "rules.def"
    FO_N_RULES
} fo_rule;

/* The hyperparameters of each rule (fo_sgd_hp, fo_adam_hp, ...): doubles, in the order
 * of rules.def. */
#define FO_RULE(name, n_states, ...) \
    typedef struct { \
        double __VA_ARGS__; \
    } fo_##name##_hp;
#include "rules.def"

/* How weight decay wd is applied, the first three before the rule, the last after it:
 *     FO_DECAY_COUPLED     g += wd * w
 *     FO_DECAY_LR          w *= 1 - lr * wd
 *     FO_DECAY_SCHEDULE    w *= 1 - lr / base_lr * wd
 *     FO_DECAY_PROXIMAL    w /= 1 + lr * wd */
typedef enum {
    FO_DECAY_COUPLED,
    FO_DECAY_LR,
    FO_DECAY_SCHEDULE,
    FO_DECAY_PROXIMAL
} fo_decay;

/* The options of a group of tensors.  They may change between steps. */
typedef struct {
    fo_rule rule;
    fo_decay decay;
    int maximize; /* nonzero: negate the gradient before anything else */
    double weight_decay, base_lr;
    double l1;      /* after the rule, w is moved towards 0 by lr * l1, not past it */
    int is_bounded; /* nonzero: after that, w is clipped to [low, high] */
    double low, high;
    double hp[FO_MAX_HP]; /* an fo_<rule>_hp; hp[0] is the learning rate */
} fo_group;

/* The shape, strides and dtypes of a tensor's arrays.  Axes are sorted by the stride of
 * the parameter, the largest first, so that the parameter is visited in memory order.
 * States, master and ema ("own" arrays) have no gaps and share one set of strides.
 *
 * With FO_F8 states, axes and own arrays are in C order whatever the strides of the
 * parameter, because consecutive elements share a scale: a row is what one index of
 * axis 0 selects, or all elements if there is only one axis; its elements in C order
 * are cut into blocks of FO_BLOCK, the last of which may be shorter. */
typedef struct {
    int n_axes;
    int64_t shape[FO_MAX_AXES];
    int64_t param[FO_MAX_AXES], grad[FO_MAX_AXES]; /* strides in bytes */
    int64_t own[FO_MAX_AXES];   /* strides of the own arrays, in elements */
    int64_t index[FO_MAX_AXES]; /* strides of the C-order element number, which selects
                                   the random bits of stochastic rounding */
    int row_axis;               /* the axis that fo_rows.row indexes */
    /* The gradient may have any dtype.  If fo_tensor.dtype is FO_F64, parameter and
       states are FO_F64; else the parameter is FO_F32, FO_F16 or FO_BF16, and the
       states are one of these or FO_F8. */
    fo_dtype param_dtype, grad_dtype, state_dtype;
    fo_code code[FO_MAX_STATES]; /* of FO_F8 states */
} fo_layout;

/* A row-sparse gradient: n distinct rows.  The gradient of row[j] is the sum of
 * values[order[k]] for start[j] <= k < start[j + 1], where `values` is fo_tensor.grad
 * with the strides of fo_layout.grad. */
typedef struct {
    int64_t n;
    const int64_t *row, *start, *order;
    int clears; /* nonzero if zero_grads clears the values: they are a dense gradient
                   that is described as rows */
} fo_rows;

/* The state of a rule that keeps statistics of rows and columns (FO_FACTORED in
 * rules.def): contiguous arrays of fo_tensor.dtype, in the order of the rule's class.
 * axis[k] is the axis of fo_layout that is axis k of the parameter. */
typedef struct {
    int axis[FO_MAX_AXES];
    void *state[FO_MAX_AXES];
} fo_factored;

/* A parameter with its gradient, state and options. */
typedef struct {
    fo_dtype dtype; /* FO_F32 or FO_F64: the dtype of the arithmetic, of master, ema and
                       row_state, and, if layout is NULL, of all arrays */
    int32_t group;  /* index into fo_plan_groups */
    int64_t size;   /* number of elements */
    void *param;
    const void *grad; /* NULL: skip this tensor, its state and its step count */
    /* NULL beyond the number of states of the rule.  States of 8 or 16 bits are always
       rounded stochastically. */
    void *state[FO_MAX_STATES];
    /* For FO_F8 states: one byte for each block, the blocks of a row together.  The
       rule must not be row-wise; if the tensor has one axis, the gradient must be
       dense. */
    uint8_t *scale[FO_MAX_STATES];
    void *row_state;   /* one number per row, for a row-wise rule, whose gradients must
                          all have rows; NULL for other rules */
    void *master;      /* the parameter in full precision, of which param is a rounded
                          copy; or NULL */
    void *ema;         /* exponential moving average of the parameter, or the slow
                          weights of Lookahead; or NULL */
    int64_t *step;     /* number of steps taken; fo_step increments it */
    double *saved;     /* FO_MAX_SAVED scalars that the rule keeps between steps (NAdam:
                          the product of momenta) */
    fo_layout *layout; /* NULL: all arrays are of `dtype`, aligned and without gaps, and
                          store their elements in the same order */
    fo_rows *rows;     /* NULL: the gradient is dense, as it must be for a rule that
                          needs sums before its update (FO_SUMS in rules.def) or that
                          is factored */
    fo_factored *factored; /* for a factored rule, which needs a layout, too; NULL for
                              other rules */
} fo_tensor;

/* The options of one step for all tensors, and what the step found. */
typedef struct {
    double grad_scale;     /* gradients are divided by it */
    double max_grad_norm;  /* limit of the total norm; INFINITY: no clipping */
    double max_grad_value; /* limit of each element; INFINITY: no clipping */
    int needs_norm;        /* compute grad_norm; required to clip by norm */
    int needs_finite;      /* skip the step if a gradient is NaN or infinite after
                              grad_scale */
    int norm_is_given;     /* use given_norm and do not compute the norm */
    double given_norm;     /* if norm_is_given: the total norm after grad_scale, of the
                              gradients of this plan and of others; see fo_norm */
    int clears_skipped;    /* zero_grads also applies to a skipped step */
    int zero_grads;        /* set gradients to zero after they are used */
    int stochastic;        /* round float16 and bfloat16 parameters stochastically */
    double ema_decay;      /* of this step */
    /* k > 0: Lookahead, Zhang et al. 2019.  At every k-th step of a tensor, after the
     * rule, ema += lookahead_alpha * (w - ema), clipped to the bounds, and w = ema.
     * 0: ema is an average. */
    int64_t lookahead_steps;
    double lookahead_alpha;
    uint64_t seed, step; /* select the random bits of stochastic rounding */
    double grad_norm;    /* out, if needs_norm or needs_finite: after grad_scale;
                            given_norm if norm_is_given */
    double clip;         /* out, if max_grad_norm is finite: the factor for clipping */
    int64_t nonfinite;   /* out, if needs_norm or needs_finite: the first tensor whose
                            gradient is NaN or infinite after grad_scale, or -1; in, if
                            norm_is_given: what fo_norm found, or -1 */
} fo_extras;

typedef struct fo_plan fo_plan;

/* Create a plan with a copy of `tensors` and n_groups zeroed groups.  Arrays must be of
 * native byte order and must not overlap.  A step that reads and writes fewer numbers
 * than an Adam step of serial_below elements runs on the calling thread, because waking
 * other threads would take longer; a larger step runs on at most 16 threads for each
 * serial_below such elements.  Returns NULL if memory runs out. */
fo_plan *fo_plan_new(const fo_tensor *tensors, int64_t n_tensors, int64_t n_groups,
                     int64_t serial_below);
void fo_plan_free(fo_plan *plan);

/* The plan's tensors and groups.  Before a step, the caller may change everything in a
 * group, and everything in a tensor except `size`: its dtypes, its group, its layout,
 * and every pointer.  The plan keeps none of them from one step to the next.  While
 * `grad` is NULL, no other pointer of the tensor is used, and all may be NULL; except
 * that a rule whose sums are over all tensors (FO_OF_ALL in rules.def) has the same
 * saved scalars for all, and reads and stores those of such a tensor, unless `step` and
 * `saved` are NULL. */
fo_tensor *fo_plan_tensors(fo_plan *plan);
fo_group *fo_plan_groups(fo_plan *plan);

/* What fo_step and fo_norm return. */
enum {
    FO_TAKEN,
    FO_NONFINITE, /* needs_finite is set and a gradient is not finite: nothing was
                     changed except gradients that clears_skipped clears */
    FO_NO_SCRATCH /* nothing was changed; call fo_plan_reserve, then try again */
};

/* Take one step on at most n_threads threads (0: fo_max_threads()). */
int fo_step(fo_plan *plan, fo_extras *extras, int n_threads);

/* Set grad_norm and nonfinite as a step with needs_norm would, from grad_scale and the
 * gradients, and change nothing else.  Tensors whose `grad` is NULL are left out.
 * Returns FO_TAKEN or FO_NO_SCRATCH.
 *
 * To clip by the norm of gradients that several plans or processes hold, call fo_norm
 * for each, combine the norms, set norm_is_given, given_norm and needs_finite, and call
 * fo_step for each.  A step with needs_finite is skipped if `nonfinite` is not -1 or if
 * given_norm is infinite or NaN; so the combined norm must not be finite if any plan
 * has a nonfinite gradient.  Without needs_finite, a norm of NaN makes all gradients
 * NaN when they are clipped, as a norm that fo_step computes does.  Given the grad_norm
 * of fo_norm, a step has the same bits as one that computes its norm, unless the norm
 * of finite gradients overflows double: it is then treated as an infinite one. */
int fo_norm(fo_plan *plan, fo_extras *extras, int n_threads);

/* After fo_step or fo_norm returned FO_NO_SCRATCH: allocate the scratch memory that it
 * needs.  Later steps use it too.  Returns nonzero if memory runs out. */
int fo_plan_reserve(fo_plan *plan);

/* Fill *out for n rows of values, where values[i] belongs to row index[i] of the
 * parameter.  Indices may have any order and may repeat.  `work` has fo_rows_work(n)
 * elements; *out points into it.  Returns -1, or the position of the first index
 * outside [0, n_rows). */
int64_t fo_rows_work(int64_t n);
int64_t fo_rows_group(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                      fo_rows *out);

/* Copy out[i] = src[index[i]] for n_rows rows of row_bytes bytes.  The rows of src are
 * `stride` bytes apart; out is contiguous.  Returns -1, or the position of the first
 * index outside [0, n_src), before anything is written. */
int64_t fo_gather(const void *src, int64_t n_src, ptrdiff_t stride, size_t row_bytes,
                  const int64_t *index, int64_t n_rows, void *out, int n_threads);

/* Convert an FO_F8 state of n_rows rows of `length` elements from and to floats.
 * fo_float8_pack rounds to nearest. */
void fo_float8_unpack(fo_code code, const uint8_t *state, const uint8_t *scale,
                      int64_t n_rows, int64_t length, float *out);
void fo_float8_pack(fo_code code, const float *x, int64_t n_rows, int64_t length,
                    uint8_t *state, uint8_t *scale);

typedef struct {
    const char *name;
    int n_states;
    const char *hp_names; /* "lr, beta1, ..." */
} fo_rule_info;

/* Indexed by fo_rule. */
extern const fo_rule_info fo_rules[FO_N_RULES];

/* Over which elements the sums are that a rule needs before its update. */
typedef enum { FO_OF_TENSOR = 1, FO_OF_ALL } fo_scope;
/* Indexed by fo_rule: an fo_scope, or 0 for a rule that needs no sums. */
extern const int fo_scopes[FO_N_RULES];

/* The instruction sets, numbered from 0, which is "baseline".  fo_isa_use selects one
 * for which fo_isa_supported is nonzero; no step may be running at that time. */
int fo_isa_count(void);
const char *fo_isa_name(int isa);
int fo_isa_supported(int isa);
int fo_isa_current(void);
void fo_isa_use(int isa);

/* The number of threads that n_threads = 0 stands for: OpenMP's current setting.  After
 * fo_limit_threads(n_cpus) it is also at most n_cpus and at most the number of CPUs
 * that the process may use.  fo_limit_threads(0) removes the limit. */
int fo_max_threads(void);
void fo_limit_threads(int n_cpus);

/* The value of _OPENMP (a date, yyyymm), or 0 in a build without OpenMP, which uses one
 * thread. */
int fo_openmp_version(void);

/* The compiler, and the flags it was given. */
const char *fo_compiler(void);
const char *fo_cflags(void);

#endif
