/* fastopt: parameter updates at the speed of memory.  The whole C API; knows no Python.
 *
 *     fo_plan *plan = fo_plan_new(tensors, n_tensors, n_groups, 1000000);   copies the
 * descriptions fo_plan_groups(plan)[0] = ...; hyperparameters, any time
 *     fo_plan_tensors(plan)[i].grad = g;                           every step
 *     fo_step(plan, n_threads);                                    one pass, one
 * parallel region fo_plan_free(plan);
 *
 * The caller owns every array and keeps it alive; a plan may be used by one thread at a
 * time, different plans by different threads.  Nothing but fo_plan_new allocates. */
#ifndef FASTOPT_H
#define FASTOPT_H

#include <stddef.h>
#include <stdint.h>

enum { FO_MAX_STATES = 3, FO_MAX_HP = 16 };

/* Elements of the largest piece that one kernel call updates; cutting depends on shapes
 * alone. */
enum { FO_CHUNK = 16384 };

typedef enum { FO_F32, FO_F64, FO_N_DTYPES } fo_dtype;

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

/* What weight decay does: g += wd * w, or w *= 1 - lr * wd, or w *= 1 - lr / base_lr *
 * wd. */
typedef enum { FO_DECAY_COUPLED, FO_DECAY_LR, FO_DECAY_SCHEDULE } fo_decay;

typedef struct {
    fo_rule rule;
    fo_decay decay;
    int maximize; /* the gradient is negated first of all */
    double weight_decay, base_lr;
    double hp[FO_MAX_HP]; /* a fo_<rule>_hp; hp[0] is the learning rate */
} fo_group;

typedef struct {
    fo_dtype dtype;
    int32_t group;
    int64_t size;
    void *param;
    const void *grad; /* NULL: parameter, state and step are left alone */
    void *state[FO_MAX_STATES];
    int64_t *step; /* steps taken; fo_step adds one */
    double
        *saved; /* the rule's scalar from step to step (NAdam's product of momenta) */
} fo_tensor;

typedef struct fo_plan fo_plan;

/* NULL when memory runs out.  Contiguous, native arrays, no two of which overlap.  A
 * step of fewer elements than serial_below is the calling thread's alone: others take
 * long to wake. */
fo_plan *fo_plan_new(const fo_tensor *tensors, int64_t n_tensors, int64_t n_groups,
                     int64_t serial_below);
void fo_plan_free(fo_plan *plan);
fo_tensor *fo_plan_tensors(fo_plan *plan);
fo_group *fo_plan_groups(fo_plan *plan);

void fo_step(fo_plan *plan, int n_threads);

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

/* OpenMP's default number of threads now, and its version date; 1 and 0 without OpenMP.
 */
int fo_max_threads(void);
int fo_openmp_version(void);

/* The compiler and its flags. */
const char *fo_compiler(void);
const char *fo_cflags(void);

#endif
