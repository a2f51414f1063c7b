/* fastopt: parameter updates at the speed of memory.  The whole C API; knows no Python.
 *
 *     fo_plan *plan = fo_plan_new(tensors, n_tensors, n_groups, 1000000);
 *     fo_plan_groups(plan)[0] = ...;                  hyperparameters, any time
 *     fo_plan_tensors(plan)[i].grad = g;              every step
 *     fo_step(plan, &extras, n_threads);              one pass, one parallel region
 *     fo_plan_free(plan);
 *
 * The caller owns every array and keeps it alive; a plan may be used by one thread at a
 * time, different plans by different threads.  Nothing but fo_plan_new allocates. */
#ifndef FASTOPT_H
#define FASTOPT_H

#include <stddef.h>
#include <stdint.h>

enum { FO_MAX_STATES = 3, FO_MAX_HP = 16, FO_MAX_AXES = 16 };

/* Elements of the largest piece that one kernel call updates; cutting depends on shapes
 * alone. */
enum { FO_CHUNK = 16384 };

/* Kernels compute in the first two; arrays may be of any. */
typedef enum { FO_F32, FO_F64, FO_F16, FO_BF16, FO_N_DTYPES, FO_N_REALS = 2 } fo_dtype;

typedef enum {
#define FO_RULE(name, n_states, ...) FO_RULE_##name,
#include "rules.def"
#undef FO_RULE
    FO_N_RULES
} fo_rule;

/* The hyperparameters of each rule, e.g. fo_adam_hp: its doubles in the order of
 * rules.def. */
#define FO_RULE(name, n_states, ...) \
    typedef struct { \
        double __VA_ARGS__; \
    } fo_##name##_hp;
#include "rules.def"
#undef FO_RULE

/* What weight decay does:
 *     g += wd * w,  or  w *= 1 - lr * wd,  or  w *= 1 - lr / base_lr * wd. */
typedef enum { FO_DECAY_COUPLED, FO_DECAY_LR, FO_DECAY_SCHEDULE } fo_decay;

typedef struct {
    fo_rule rule;
    fo_decay decay;
    int maximize; /* the gradient is negated first of all */
    double weight_decay, base_lr;
    double hp[FO_MAX_HP]; /* a fo_<rule>_hp; hp[0] is the learning rate */
} fo_group;

/* How arrays lie that a kernel cannot take as they are.  Axes in the order of work, the
 * outermost first: that of the parameter's strides, so that it is walked as it lies. */
typedef struct {
    int n_axes;
    int64_t shape[FO_MAX_AXES];
    int64_t param[FO_MAX_AXES], grad[FO_MAX_AXES]; /* bytes from element to element */
    int64_t own[FO_MAX_AXES];   /* elements: states, master and ema all lie so */
    int64_t index[FO_MAX_AXES]; /* of an element in C order, which rounding counts by */
    int row_axis;               /* the axis that the rows of fo_rows number */
    fo_dtype param_dtype, grad_dtype, state_dtype;
} fo_layout;

/* A gradient that touches n rows, each once: row[j] gets the sum of values[order[k]]
 * for k from start[j] to start[j + 1] - 1.  Rows of values lie as the layout's grad
 * says.
 */
typedef struct {
    int64_t n;
    const int64_t *row, *start, *order;
    int clears; /* zero_grads acts on them: they are all of a dense gradient */
} fo_rows;

typedef struct {
    fo_dtype dtype; /* that is computed in; also the arrays', but for a layout */
    int32_t group;
    int64_t size;
    void *param;
    const void *grad; /* NULL: parameter, state and step are left alone */
    void *state[FO_MAX_STATES];
    void *row_state; /* or NULL: a number for each row; then all gradients have rows */
    void *master;    /* or NULL: the parameter proper, of which param is a copy */
    void *ema;       /* or NULL: the average of the parameter over steps */
    int64_t *step;   /* steps taken; fo_step adds one */
    double *saved;   /* the rule's scalar between steps (NAdam's product of momenta) */
    fo_layout *layout; /* NULL: all arrays of dtype, in one order, without gaps */
    fo_rows *rows;     /* NULL: the gradient is dense */
} fo_tensor;

/* What a step does besides the rule, for all tensors. */
typedef struct {
    double grad_scale;                    /* gradients were multiplied by it */
    double max_grad_norm, max_grad_value; /* INFINITY: none */
    int needs_norm, needs_finite; /* the gradients are read before anything else */
    int clears_skipped;           /* zero_grads acts on gradients not finite too */
    int zero_grads, stochastic;
    double ema_decay;
    uint64_t seed, step; /* of stochastic rounding */
    double grad_norm;    /* out, where it was needed */
    int64_t nonfinite;   /* out: the first tensor with a NaN or infinity, or -1 */
} fo_extras;

typedef struct fo_plan fo_plan;

/* NULL when memory runs out.  Native arrays, no two of which overlap.  A step of fewer
 * elements than serial_below is the calling thread's alone: others take long to wake.
 */
fo_plan *fo_plan_new(const fo_tensor *tensors, int64_t n_tensors, int64_t n_groups,
                     int64_t serial_below);
void fo_plan_free(fo_plan *plan);
fo_tensor *fo_plan_tensors(fo_plan *plan);
fo_group *fo_plan_groups(fo_plan *plan);

/* Returns 0, or 1 where the gradients must be finite and are not: nothing is done then
 * but to clear them, if asked to. */
int fo_step(fo_plan *plan, fo_extras *extras, int n_threads);

/* Describes a gradient by rows from the index of each row of values, with `work` of
 * fo_rows_work(n) numbers.  Returns the place of the first index outside [0, n_rows),
 * or -1. */
int64_t fo_rows_work(int64_t n);
int64_t fo_rows_group(const int64_t *index, int64_t n, int64_t n_rows, int64_t *work,
                      fo_rows *out);

/* out[i] = src[index[i]] for n_rows rows of row_bytes bytes; the rows of src lie stride
 * bytes apart.  Returns the place of the first index outside [0, n_src), before
 * anything is written, or -1. */
int64_t fo_gather(const void *src, int64_t n_src, ptrdiff_t stride, size_t row_bytes,
                  const int64_t *index, int64_t n_rows, void *out, int n_threads);

typedef struct {
    const char *name;
    int n_states;
    const char *hp_names; /* "lr, beta1, ..." */
} fo_rule_info;

extern const fo_rule_info fo_rules[FO_N_RULES];

/* Instruction sets: fo_isa_name(0) is "baseline"; fo_isa_use() takes one that this CPU
 * has. */
int fo_isa_count(void);
const char *fo_isa_name(int isa);
int fo_isa_supported(int isa);
int fo_isa_current(void);
void fo_isa_use(int isa);

/* The number of threads of a step whose n_threads is 0: OpenMP's now.  After
 * fo_limit_threads at most n_cpus, and at most the CPUs that are open to the caller. */
int fo_max_threads(void);
void fo_limit_threads(int n_cpus);

/* The date of OpenMP's version; 0 without OpenMP, where there is one thread. */
int fo_openmp_version(void);

/* The compiler and its flags. */
const char *fo_compiler(void);
const char *fo_cflags(void);

#endif
