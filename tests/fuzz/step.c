/* The entry point of the fuzzer: takes steps of random plans with fo_step and with the
 * reference loop of simple.c.  Every element must have the same bits, and no other byte
 * may change. */
#include <stdio.h>
#include <stdlib.h>

#include "inputs.h"

enum { MAX_TENSORS = 5, MAX_GROUPS = 2, MAX_STEPS = 3 };

static void fail(const char *what, double found, double wanted)
{
    fprintf(stderr, "%s: %a, not %a\n", what, found, wanted);
    abort();
}

/* Equal up to the order of summation. */
static int is_close(double a, double b)
{
    return a == b || (a != a && b != b) || fabs(a - b) <= 1e-10 * fabs(b) + 1e-320;
}

/* With other scales, which the caller does not allow, the norm may overflow. */
static int is_usual(double scale)
{
    return scale >= 0x1p-126 && scale <= 0x1p126;
}

/* Check what fo_step or fo_norm reported; norm: of the gradients of the plan. */
static void check_norm(const fo_extras *extras, double norm, int64_t nonfinite)
{
    const double wanted = extras->norm_is_given ? extras->given_norm : norm;
    if ((extras->norm_is_given || is_usual(1.0 / extras->grad_scale)) &&
        !is_close(extras->grad_norm, wanted))
        fail("the norm", extras->grad_norm, wanted);
    if (extras->nonfinite != nonfinite)
        fail("first nonfinite tensor", (double)extras->nonfinite, (double)nonfinite);
}

/* Apply to the expected values the step that fo_step has taken or skipped, and check
 * what fo_step reported. */
static void apply_reference(tensor *tensors, int64_t n, const fo_group *groups,
                            const fo_extras *extras, int refused)
{
    simple_tensor simple[MAX_TENSORS];
    for (int64_t i = 0; i < n; i++)
        simple[i] = tensors[i].simple;
    double scale = 1.0 / extras->grad_scale;
    int must_refuse = 0;
    if (extras->norm_is_given || extras->needs_norm || extras->needs_finite) {
        const int is_given = extras->norm_is_given;
        int64_t nonfinite;
        double norm = simple_norm(simple, n, scale, &nonfinite);
        check_norm(extras, norm, nonfinite);
        must_refuse = extras->needs_finite &&
                      (nonfinite >= 0 || (is_given && !isfinite(extras->given_norm)));
        if (is_given)
            norm = extras->given_norm;
        if (!must_refuse && extras->max_grad_norm < INFINITY) {
            const double clip = extras->max_grad_norm / (norm + 1e-6);
            if ((is_given || (is_usual(scale) && norm < INFINITY)) &&
                !is_close(extras->clip, clip > 1.0 ? 1.0 : clip))
                fail("the clip", extras->clip, clip);
            scale *= extras->clip;
        }
    }
    if (refused != must_refuse)
        fail("refused", refused, must_refuse);
    for (int64_t i = 0; i < n; i++) {
        simple_tensor *s = &tensors[i].simple;
        if (!s->grad)
            continue;
        if (!refused)
            simple_step(s, i, &groups[tensors[i].group], extras, scale);
        const int clears = !s->first || tensors[i].rows.clears;
        if (extras->zero_grads && clears && (!refused || extras->clears_skipped))
            for (int64_t k = 0; k < s->grad->size; k++)
                s->grad->value[k] = 0;
    }
}

static void check(const tensor *t, int64_t i)
{
    static const char *const names[FO_MAX_STATES] = {"state 0", "state 1", "state 2",
                                                     "state 3"};
    const simple_tensor *s = &t->simple;
    array_check(s->param, "parameter", i);
    for (int k = 0; k < s->n_states; k++)
        array_check(s->state[k], names[k], i);
    if (s->row_state)
        array_check(s->row_state, "row state", i);
    if (s->master)
        array_check(s->master, "master", i);
    if (s->ema)
        array_check(s->ema, "average", i);
    if (s->grad)
        array_check(s->grad, "gradient", i);
    if (*t->step != s->step)
        fail("steps", (double)*t->step, (double)s->step);
    for (int k = 0; k < FO_MAX_SAVED; k++) {
        const double got = t->saved[k], wanted = s->saved[k];
        if (got != wanted && (got == got || wanted == wanted))
            fail("a saved number", got, wanted);
    }
}

typedef int step_fn(fo_plan *plan, fo_extras *extras, int n_threads);

/* Call fo_step or fo_norm, with as much scratch memory as it needs. */
static int call(step_fn *fn, fo_plan *plan, fo_extras *extras, int n_threads)
{
    int found = fn(plan, extras, n_threads);
    if (found == FO_NO_SCRATCH) {
        if (fo_plan_reserve(plan))
            abort();
        found = fn(plan, extras, n_threads);
    }
    return found;
}

/* Compute the norm of the gradients alone, which changes nothing, and give it or
 * another one to the step. */
static void give_norm(choices *c, fo_plan *plan, const tensor *tensors, int64_t n,
                      fo_extras *extras, int n_threads)
{
    simple_tensor simple[MAX_TENSORS];
    if (call(fo_norm, plan, extras, n_threads) != FO_TAKEN)
        abort();
    for (int64_t i = 0; i < n; i++) {
        check(&tensors[i], i);
        simple[i] = tensors[i].simple;
    }
    int64_t nonfinite;
    const double norm = simple_norm(simple, n, 1.0 / extras->grad_scale, &nonfinite);
    check_norm(extras, norm, nonfinite);
    extras->norm_is_given = 1;
    extras->given_norm =
        pick(c, 2) ? extras->grad_norm : PICK_OF(c, 0, 1, 1e30, INFINITY, NAN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    choices choice = {data, size}, *c = &choice;
    const int isa = (int)pick(c, fo_isa_count());
    fo_isa_use(fo_isa_supported(isa) ? isa : 0);

    fo_group groups[MAX_GROUPS];
    const int64_t n_groups = 1 + pick(c, MAX_GROUPS), n = pick(c, MAX_TENSORS + 1);
    for (int64_t k = 0; k < n_groups; k++) {
        groups[k] = (fo_group){.rule = (fo_rule)pick(c, FO_N_RULES),
                               .decay = (fo_decay)pick(c, 4),
                               .maximize = (int)pick(c, 2)};
        if (simple_has_sums(groups[k].rule))
            groups[k].rule = FO_RULE_adam;
        pick_hyperparameters(c, &groups[k]);
    }
    tensor tensors[MAX_TENSORS];
    fo_tensor described[MAX_TENSORS];
    for (int64_t i = 0; i < n; i++) {
        tensor_init(&tensors[i], c, groups, n_groups);
        described[i] = tensor_description(&tensors[i]);
    }
    fo_plan *plan = fo_plan_new(described, n, n_groups, pick(c, 2) ? 1000 : 0);
    if (!plan)
        abort();

    const int64_t n_steps = 1 + pick(c, MAX_STEPS);
    for (int64_t step = 0; step < n_steps; step++) {
        fo_extras extras;
        pick_extras(c, &extras, (uint64_t)step);
        for (int64_t k = 0; k < n_groups; k++) {
            if (step && pick(c, 4) == 0)
                pick_hyperparameters(c, &groups[k]);
            fo_plan_groups(plan)[k] = groups[k];
        }
        for (int64_t i = 0; i < n; i++) {
            if (step && pick(c, 4) == 1)
                tensor_move(&tensors[i], c);
            tensor_pick_grad(&tensors[i], c, &extras, &fo_plan_tensors(plan)[i]);
        }
        const int n_threads = 1 + (int)pick(c, 3);
        if (pick(c, 4) == 1)
            give_norm(c, plan, tensors, n, &extras, n_threads);
        const int refused = call(fo_step, plan, &extras, n_threads) == FO_NONFINITE;
        apply_reference(tensors, n, groups, &extras, refused);
        for (int64_t i = 0; i < n; i++)
            check(&tensors[i], i);
    }

    fo_plan_free(plan);
    for (int64_t i = 0; i < n; i++)
        tensor_free(&tensors[i]);
    arrays_free();
    return 0;
}
