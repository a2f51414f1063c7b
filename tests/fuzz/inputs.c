/* Random options, tensors and gradients for the fuzzer (inputs.h). */
#include "inputs.h"

#include <stdlib.h>

enum { MAX_ROWS = 40 };

static const double HP[] = {0.9,    0.1,  1e-3,  0.99,   1e-8,     0.0,
                            1.0,    -0.5, 1e-45, 5e-324, 1e30,     1e300,
                            1e-300, -0.0, 3.0,   NAN,    INFINITY, -INFINITY};
enum { N_HP = sizeof HP / sizeof *HP, N_USUAL = 7 };

void pick_hyperparameters(choices *c, fo_group *group)
{
    const int64_t n = pick(c, 4) ? N_USUAL : N_HP;
    for (int k = 0; k < FO_MAX_HP; k++)
        group->hp[k] = pick_of(c, HP, n);
    group->weight_decay = pick(c, 2) ? pick_of(c, HP, n) : 0;
    group->base_lr = pick_of(c, HP, n);
    group->l1 = pick(c, 4) ? 0 : fabs(pick_of(c, HP, n));
    group->is_bounded = !pick(c, 4);
    group->low = PICK_OF(c, -INFINITY, -0.5, 0);
    group->high = PICK_OF(c, INFINITY, 0.5, 1);
    if (group->rule == FO_RULE_nadam) /* the number of a variant */
        ((fo_nadam_hp *)group->hp)->schedule = (double)pick(c, 5);
}

void pick_extras(choices *c, fo_extras *extras, uint64_t step)
{
    const int rare = (int)pick(c, 8) == 0;
    *extras = (fo_extras){
        .grad_scale = PICK_OF(c, 1, 1, 2, 65536, 0.3),
        .max_grad_norm = PICK_OF(c, INFINITY, INFINITY, 1, 1e-3, 1e30),
        .max_grad_value = PICK_OF(c, INFINITY, INFINITY, 1, 0.1, 1e30),
        .needs_norm = (int)pick(c, 2),
        .needs_finite = (int)pick(c, 2),
        .clears_skipped = (int)pick(c, 2),
        .zero_grads = (int)pick(c, 2),
        .stochastic = (int)pick(c, 2),
        .ema_decay = PICK_OF(c, 0.9, 0.999, 0, 1),
        .lookahead_steps = (int64_t)PICK_OF(c, 0, 0, 1, 2, 3),
        .lookahead_alpha = PICK_OF(c, 0.5, 0.8, 0, 1),
        .seed = (uint64_t)pick(c, 65536) * 0x9e3779b97f4a7c15,
        .step = step,
        .grad_norm = NAN,
        .nonfinite = -1,
    };
    if (rare) {
        extras->grad_scale = pick_of(c, HP, N_HP);
        extras->max_grad_norm = pick_of(c, HP, N_HP);
        extras->max_grad_value = pick_of(c, HP, N_HP);
        extras->ema_decay = pick_of(c, HP, N_HP);
        extras->lookahead_alpha = pick_of(c, HP, N_HP);
    }
}

/* Choose a shape.  Lengths are near the sizes of vectors, tiles, panels and chunks. */
static int pick_shape(choices *c, int least_axes, int64_t *shape)
{
    static const int64_t lengths[] = {1,    2,    3,    4,     5,     7,     8,    9,
                                      15,   16,   17,   31,    33,    64,    65,   100,
                                      127,  255,  300,  511,   512,   513,   1023, 1025,
                                      2049, 5000, 8191, 16383, 16385, 33000, 0,    6};
    const int kind = (int)pick(c, 8);
    int64_t most = kind == 0 ? 40000 : kind < 3 ? 4000 : 600;
    const int n_axes = kind == 7 ? least_axes + (int)pick(c, FO_MAX_AXES)
                                 : least_axes + (int)pick(c, 4);
    const int last_first = (int)pick(c, 2);
    for (int i = 0; i < n_axes; i++) {
        const int k = last_first ? n_axes - 1 - i : i;
        shape[k] = lengths[pick(c, sizeof lengths / sizeof *lengths)];
        if (kind == 7 && i > 2)
            shape[k] = 1 + pick(c, 2);
        if (shape[k] > most)
            shape[k] = most;
        most /= shape[k] ? shape[k] : 1;
    }
    return n_axes;
}

static void *allocate(int64_t n, size_t size)
{
    void *memory = malloc((size_t)n * size);
    if (!memory && n)
        abort();
    return memory;
}

static void own_strides(const tensor *t, fo_dtype dtype, int64_t *stride)
{
    for (int k = 0; k < t->simple.param->n_axes; k++)
        stride[t->order[k]] = t->layout->own[k] * item_size(dtype);
}

/* Returns a state, master or average: an array of the parameter's shape without gaps,
 * whose axes are in the order of the layout. */
static array *new_own(choices *c, const tensor *t, fo_dtype dtype)
{
    const array *param = t->simple.param;
    int64_t stride[FO_MAX_AXES];
    own_strides(t, dtype, stride);
    array *own = array_new(dtype, param->n_axes, param->shape, stride,
                           item_size(dtype) * pick(c, 4));
    array_fill(own, c);
    return own;
}

/* Fill t->layout, except the gradient's fields, as fastopt/_core.pyx does. */
static void set_layout(tensor *t)
{
    const array *param = t->simple.param;
    fo_layout *layout = t->layout = allocate(1, sizeof *layout);
    *layout = (fo_layout){.n_axes = param->n_axes,
                          .param_dtype = param->dtype,
                          .state_dtype = t->state_dtype};
    for (int k = 0; k < param->n_axes; k++) {
        int place = k;
        while (place > 0 &&
               llabs(param->stride[t->order[place - 1]]) < llabs(param->stride[k])) {
            t->order[place] = t->order[place - 1];
            place--;
        }
        t->order[place] = k;
    }
    int64_t own = 1, index[FO_MAX_AXES], next = 1;
    for (int k = param->n_axes - 1; k >= 0; k--) {
        index[k] = next;
        next *= param->shape[k];
    }
    t->is_dense = 1;
    for (int k = param->n_axes - 1; k >= 0; k--) {
        const int axis = t->order[k];
        layout->shape[k] = param->shape[axis];
        layout->param[k] = param->stride[axis];
        layout->own[k] = own;
        layout->index[k] = index[axis];
        if (axis == 0)
            layout->row_axis = k;
        if (param->shape[axis] > 1 &&
            param->stride[axis] != own * item_size(param->dtype))
            t->is_dense = 0;
        own *= param->shape[axis];
    }
}

static void set_scalars(tensor *t)
{
    t->step = allocate(1, sizeof *t->step);
    t->saved = allocate(FO_MAX_SAVED, sizeof *t->saved);
    *t->step = t->simple.step;
    memcpy(t->saved, t->simple.saved, sizeof t->simple.saved);
}

/* Returns a dtype for the parameter, and sets the other two. */
static fo_dtype pick_dtypes(tensor *t, choices *c)
{
    const fo_dtype dtype = (fo_dtype)pick(c, FO_N_DTYPES);
    t->simple.real = dtype == FO_F64 ? FO_F64 : FO_F32;
    const fo_dtype low = pick(c, 2) ? FO_F16 : FO_BF16;
    t->state_dtype = t->simple.real == FO_F64 || pick(c, 2) ? t->simple.real : low;
    return dtype;
}

void tensor_init(tensor *t, choices *c, const fo_group *groups, int64_t n_groups)
{
    *t = (tensor){.group = (int32_t)pick(c, n_groups)};
    const fo_rule rule = groups[t->group].rule;
    const int by_row = simple_is_rowwise(rule);
    const fo_dtype dtype = pick_dtypes(t, c);
    simple_tensor *s = &t->simple;

    int64_t shape[FO_MAX_AXES], stride[FO_MAX_AXES];
    const int n_axes = pick_shape(c, by_row, shape);
    pick_strides(c, item_size(dtype), item_size(dtype), 0, n_axes, shape, stride);
    s->param = array_new(dtype, n_axes, shape, stride, item_size(dtype) * pick(c, 4));
    array_fill(s->param, c);
    set_layout(t);

    s->n_states = fo_rules[rule].n_states;
    for (int k = 0; k < s->n_states; k++)
        s->state[k] = new_own(c, t, t->state_dtype);
    const int one_of = (int)pick(c, 8), extra = one_of < 4 ? one_of : 0;
    s->master = extra & 1 ? new_own(c, t, s->real) : NULL;
    s->ema = extra & 2 ? new_own(c, t, s->real) : NULL;
    if (by_row) {
        s->row_state = array_new(s->real, 1, shape, &(int64_t){item_size(s->real)}, 0);
        array_fill(s->row_state, c);
    }
    s->step = pick(c, 3) ? 0 : (int64_t)1 << pick(c, 62);
    for (int k = 0; k < FO_MAX_SAVED; k++)
        s->saved[k] = PICK_OF(c, 1, 1, 0.5, NAN);
    set_scalars(t);
}

static void move_own(tensor *t, choices *c, array *own, fo_dtype dtype)
{
    int64_t stride[FO_MAX_AXES];
    own_strides(t, dtype, stride);
    if (own)
        array_move(own, dtype, stride, item_size(dtype) * pick(c, 4));
}

void tensor_move(tensor *t, choices *c)
{
    simple_tensor *s = &t->simple;
    array *param = s->param;
    int64_t stride[FO_MAX_AXES];
    const fo_dtype dtype = pick_dtypes(t, c);
    const int64_t item = item_size(dtype);
    pick_strides(c, item, item, 0, param->n_axes, param->shape, stride);
    array_move(param, dtype, stride, item * pick(c, 4));
    free(t->layout);
    set_layout(t);
    for (int k = 0; k < s->n_states; k++)
        move_own(t, c, s->state[k], t->state_dtype);
    move_own(t, c, s->master, s->real);
    move_own(t, c, s->ema, s->real);
    if (s->row_state)
        array_move(s->row_state, s->real, &(int64_t){item_size(s->real)}, 0);
    free(t->step);
    free(t->saved);
    set_scalars(t);
}

fo_tensor tensor_description(const tensor *t)
{
    const simple_tensor *s = &t->simple;
    fo_tensor d = {.dtype = s->real,
                   .group = t->group,
                   .size = s->param->size,
                   .param = s->param->data,
                   .row_state = s->row_state ? s->row_state->data : NULL,
                   .master = s->master ? s->master->data : NULL,
                   .ema = s->ema ? s->ema->data : NULL,
                   .step = t->step,
                   .saved = t->saved};
    for (int k = 0; k < s->n_states; k++)
        d.state[k] = s->state[k]->data;
    return d;
}

/* Build a linked list of the values of each row, for the reference loop. */
static void link_rows(simple_tensor *s, const int64_t *index, int64_t n)
{
    const int64_t rows = s->param->shape[0];
    s->first = allocate(rows + 1, sizeof *s->first);
    s->next = allocate(n, sizeof *s->next);
    for (int64_t row = 0; row < rows; row++)
        s->first[row] = -1;
    for (int64_t k = n - 1; k >= 0; k--) {
        s->next[k] = s->first[index[k]];
        s->first[index[k]] = k;
    }
}

static void free_rows(tensor *t)
{
    free(t->index);
    free(t->work);
    free(t->simple.first);
    free(t->simple.next);
    t->index = t->work = t->simple.first = t->simple.next = NULL;
}

/* Choose the rows of a gradient, in any order and with repetitions.  If all_once: each
 * row once, in order, as fastopt/_core.pyx describes a dense gradient of a row-wise
 * rule.  Returns the number of values. */
static int64_t pick_rows(choices *c, tensor *t, int all_once)
{
    const int64_t rows = t->simple.param->shape[0];
    const int64_t n = all_once ? rows : rows ? pick(c, MAX_ROWS + 1) : 0;
    const int64_t about = rows ? pick(c, 65536) % rows : 0;
    t->index = allocate(n + all_once, sizeof *t->index);
    for (int64_t k = 0; k < n + all_once; k++)
        t->index[k] = all_once ? k : (about + pick(c, 256) * (1 + rows / 256)) % rows;
    link_rows(&t->simple, t->index, n);
    if (all_once) {
        t->rows = (fo_rows){n, t->index, t->index, t->index, 1};
        return n;
    }
    t->work = allocate(fo_rows_work(n), sizeof *t->work);
    if (n && pick(c, 16) == 0) { /* an index out of range must be reported */
        const int64_t bad = pick(c, n), good = t->index[bad];
        t->index[bad] = pick(c, 2) ? rows : -1;
        if (fo_rows_group(t->index, n, rows, t->work, &t->rows) != bad)
            abort();
        t->index[bad] = good;
    }
    if (fo_rows_group(t->index, n, rows, t->work, &t->rows) != -1)
        abort();
    return n;
}

void tensor_pick_grad(tensor *t, choices *c, const fo_extras *extras, fo_tensor *d)
{
    simple_tensor *s = &t->simple;
    const array *param = s->param;
    free_rows(t);
    s->grad = NULL;
    *d = tensor_description(t);
    d->layout = t->layout;
    const int64_t form = pick(c, 8);
    if (form == 0 && pick(c, 2))
        *d = (fo_tensor){.dtype = d->dtype, .group = d->group, .size = d->size};
    if (form == 0)
        return;
    const int has_param_layout =
        form < 4 && !s->row_state; /* has the strides of the parameter */
    const int is_sparse = !has_param_layout && param->n_axes > 0 && pick(c, 2);

    int64_t shape[FO_MAX_AXES], stride[FO_MAX_AXES];
    memcpy(shape, param->shape, sizeof shape);
    memcpy(stride, param->stride, sizeof stride);
    if (is_sparse || s->row_state) {
        shape[0] = pick_rows(c, t, !is_sparse);
        d->rows = &t->rows;
    }
    const fo_dtype any = (fo_dtype)pick(c, FO_N_DTYPES);
    const fo_dtype dtype = has_param_layout || pick(c, 2) ? param->dtype : any;
    const int64_t item = item_size(dtype),
                  unit = has_param_layout || pick(c, 4) ? item : 1;
    if (!has_param_layout)
        pick_strides(c, item, unit, !extras->zero_grads, param->n_axes, shape, stride);
    s->grad = array_new(dtype, param->n_axes, shape, stride, unit * pick(c, 4));
    array_fill(s->grad, c);

    d->grad = s->grad->data;
    t->layout->grad_dtype = dtype;
    for (int k = 0; k < param->n_axes; k++)
        t->layout->grad[k] = stride[t->order[k]];
    const int is_direct = has_param_layout && t->is_dense && dtype == s->real &&
                          t->state_dtype == s->real && !s->master;
    if (is_direct && pick(c, 4))
        d->layout = NULL;
}

void tensor_free(tensor *t)
{
    free(t->layout);
    free(t->step);
    free(t->saved);
    free_rows(t);
}
