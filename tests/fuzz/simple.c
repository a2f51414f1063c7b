/* The reference step of simple.h.  It calls the formulas of csrc/rules for one element
 * at a time; tests/reference.py checks the formulas independently. */
#include "simple.h"

#define FO_TABLE simple_kernels
#define FO_VECTOR 16
#define FO_DOT_VECTOR 16
#include "kernels/kernels.inc"
#undef real

typedef void element_fn(double *w, double g, double *state, const fo_coef *rule,
                        const fo_coef *prologue);

#define PASS_0
#define PASS_1 , &s[0]
#define PASS_2 PASS_1, &s[1]
#define PASS_3 PASS_2, &s[2]
#define PASS_4 PASS_3, &s[3]
#define ELEMENT(name, n_states, real, bits) \
    static void name##_once_##bits(double *w, double g, double *state, \
                                   const fo_coef *rule, const fo_coef *prologue) \
    { \
        const name##_coef_##bits c = *(const name##_coef_##bits *)rule; \
        const prologue_coef_##bits p = *(const prologue_coef_##bits *)prologue; \
        real s[FO_MAX_STATES] = {(real)state[0], (real)state[1], (real)state[2], \
                                 (real)state[3]}; \
        const real seen = prologue_grad_##bits((real)*w, (real)g, p); \
        real x = (real)*w * p.keep; \
        name##_element_##bits(&x, seen PASS_##n_states, c); \
        *w = (double)x; \
        for (int k = 0; k < n_states; k++) \
            state[k] = (double)s[k]; \
    }
#define FO_RULE(name, n_states, ...) \
    ELEMENT(name, n_states, float, f32) \
    ELEMENT(name, n_states, double, f64)
#include "rules.def"

static element_fn *const elements[FO_N_RULES][FO_N_REALS] = {
#define FO_RULE(name, n_states, ...) {name##_once_f32, name##_once_f64},
#include "rules.def"
};

/* The number of elements of a row; a dense gradient is treated as one row. */
static int64_t row_length(const simple_tensor *tensor)
{
    const int64_t size = tensor->param->size;
    return !tensor->first ? size : size ? size / tensor->param->shape[0] : 0;
}

static int64_t n_rows(const simple_tensor *tensor)
{
    return tensor->first ? tensor->param->shape[0] : 1;
}

/* Sets *g to the gradient of an element of a row, the sum over the values of that row.
 * Returns whether the row is present in the gradient. */
static int gradient(const simple_tensor *tensor, int64_t row, int64_t i, double *g)
{
    const int64_t length = row_length(tensor);
    int is_present = 0;
    for (int64_t k = tensor->first ? tensor->first[row] : 0; k >= 0;
         k = tensor->first ? tensor->next[k] : -1) {
        const double x =
            rounded(tensor->real, tensor->grad->value[k * length + i], NULL);
        *g = is_present ? rounded(tensor->real, *g + x, NULL) : x;
        is_present = 1;
    }
    return is_present;
}

double simple_norm(const simple_tensor *tensors, int64_t n, double scale,
                   int64_t *nonfinite)
{
    /* The second pass computes the sum of squares of the gradients times 2^-power;
     * `power` makes the largest of them about 1. */
    double most = 0, squares = 0;
    int power = 0;
    *nonfinite = -1;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t t = 0; t < n; t++) {
            const simple_tensor *tensor = &tensors[t];
            for (int64_t row = 0; tensor->grad && row < n_rows(tensor); row++)
                for (int64_t i = 0; i < row_length(tensor); i++) {
                    double g;
                    if (!gradient(tensor, row, i, &g))
                        break;
                    const double x = ldexp(g, -power);
                    squares += pass ? x * x : 0;
                    most = fabs(g) > most ? fabs(g) : most;
                    const double seen = tensor->real == FO_F32
                                            ? (double)((float)g * (float)scale)
                                            : g * scale;
                    if (!isfinite(seen) && *nonfinite < 0)
                        *nonfinite = t;
                }
        }
        power = most > 0 && most < INFINITY ? ilogb(most) : 0;
    }
    return ldexp(sqrt(squares) * scale, power);
}

/* A separate stream of random bits for each step, tensor and array of the tensor. */
static uint64_t stream_of(const fo_extras *extras, int64_t tensor, int array)
{
    const uint64_t numbers[] = {extras->seed, extras->step, (uint64_t)tensor,
                                (uint64_t)array};
    uint64_t x = 0;
    for (int i = 0; i < 4; i++) {
        x ^= numbers[i];
        x += 0x9e3779b97f4a7c15;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        x ^= x >> 31;
    }
    return x;
}

static void put(array *a, int64_t i, double x, int stochastic, uint64_t stream)
{
    const uint32_t random = fo_random16(stream, (uint32_t)i);
    a->value[i] = rounded(a->dtype, x, stochastic ? &random : NULL);
}

/* Updates the state of a row and computes the coefficients of its elements.  Squares
 * are summed in lanes, the order that csrc guarantees. */
static void update_row_state(const simple_tensor *tensor, fo_rule group_rule,
                             int64_t row, fo_coef *rule, const fo_coef *prologue)
{
    const int64_t length = row_length(tensor);
    const array *main = tensor->master ? tensor->master : tensor->param;
    double lanes[FO_LANES] = {0}, squares = 0, *s = &tensor->row_state->value[row];
    for (int64_t i = 0; i < length; i++) {
        double g = 0, x;
        const double w = main->value[row * length + i];
        gradient(tensor, row, i, &g);
        if (tensor->real == FO_F32)
            x = (double)prologue_grad_f32((float)w, (float)g,
                                          *(const prologue_coef_f32 *)prologue);
        else
            x = prologue_grad_f64(w, g, *(const prologue_coef_f64 *)prologue);
        lanes[i % FO_LANES] += x * x;
    }
    for (int lane = 0; lane < FO_LANES; lane++)
        squares += lanes[lane];
    float single = (float)*s;
    const fo_coef of_all = *rule;
    simple_kernels.row[group_rule][tensor->real](
        squares / (double)length, tensor->real == FO_F32 ? (void *)&single : s, &of_all,
        rule);
    if (tensor->real == FO_F32)
        *s = (double)single;
}

static double average(fo_dtype real, double ema, double w, double weight)
{
    float single = (float)ema;
    if (real == FO_F64)
        average_f64(&ema, &w, 1, weight);
    else
        average_f32(&single, &(float){(float)w}, 1, weight);
    return real == FO_F64 ? ema : (double)single;
}

static double clipped(fo_dtype real, double w, const fo_group *group)
{
    const double low = real == FO_F64 ? group->low : (double)(float)group->low;
    const double high = real == FO_F64 ? group->high : (double)(float)group->high;
    return w < low ? low : w > high ? high : w;
}

static int has_epilogue(const fo_group *group)
{
    const int decays = group->decay == FO_DECAY_PROXIMAL && group->weight_decay != 0;
    return group->l1 != 0 || group->is_bounded || decays;
}

static double epilogue(fo_dtype real, double w, const fo_coef *prologue)
{
    if (real == FO_F64)
        return epilogue_f64(w, ((const prologue_coef_f64 *)prologue)->epilogue);
    return (double)epilogue_f32((float)w,
                                ((const prologue_coef_f32 *)prologue)->epilogue);
}

int simple_is_rowwise(fo_rule rule)
{
    return simple_kernels.row[rule][FO_F32] != NULL;
}

int simple_has_sums(fo_rule rule)
{
    return simple_kernels.sums[rule][FO_F32].n > 0 ||
           simple_kernels.factored[rule][FO_F32];
}

void simple_step(simple_tensor *tensor, int64_t number, const fo_group *group,
                 const fo_extras *extras, double scale)
{
    const fo_dtype real = tensor->real;
    const int64_t length = row_length(tensor);
    array *main = tensor->master ? tensor->master : tensor->param;
    uint64_t stream[1 + FO_MAX_STATES];
    for (int k = 0; k <= FO_MAX_STATES; k++)
        stream[k] = stream_of(extras, number, k);
    fo_coef rule, prologue;
    simple_kernels.rule[group->rule][real].prepare(group->hp, ++tensor->step,
                                                   tensor->saved, &rule);
    simple_kernels.prologue[real](group, group->hp[0], scale, extras->max_grad_value,
                                  &prologue);
    for (int64_t row = 0; length && row < n_rows(tensor); row++) {
        double g;
        if (!gradient(tensor, row, 0, &g))
            continue;
        fo_coef of_row = rule;
        if (tensor->row_state)
            update_row_state(tensor, group->rule, row, &of_row, &prologue);
        for (int64_t i = row * length; i < (row + 1) * length; i++) {
            double w = main->value[i], state[FO_MAX_STATES] = {0};
            for (int k = 0; k < tensor->n_states; k++)
                state[k] = tensor->state[k]->value[i];
            gradient(tensor, row, i - row * length, &g);
            elements[group->rule][real](&w, g, state, &of_row, &prologue);
            if (has_epilogue(group))
                w = epilogue(real, w, &prologue);
            const int64_t period = extras->lookahead_steps;
            if (tensor->ema && period && tensor->step % period == 0) {
                w = average(real, tensor->ema->value[i], w, extras->lookahead_alpha);
                if (group->is_bounded)
                    w = clipped(real, w, group);
                tensor->ema->value[i] = w;
            }
            for (int k = 0; k < tensor->n_states; k++)
                put(tensor->state[k], i, state[k], 1, stream[1 + k]);
            if (tensor->master)
                put(tensor->master, i, w, 0, 0);
            put(tensor->param, i, w, extras->stochastic, stream[0]);
            if (tensor->ema && !period)
                tensor->ema->value[i] =
                    average(real, tensor->ema->value[i], main->value[i],
                            1.0 - extras->ema_decay);
        }
    }
}
