/* Arrays for the fuzzer: allocation, contents, strides and checks (arrays.h). */
#include "arrays.h"

#include <stdio.h>
#include <stdlib.h>

int64_t pick(choices *c, int64_t n)
{
    uint64_t x = 0;
    for (int64_t most = 1; most < n; most *= 256) {
        x = x << 8 | (c->left ? *c->next : 0);
        c->next += c->left > 0;
        c->left -= c->left > 0;
    }
    return (int64_t)(x % (uint64_t)n);
}

double pick_of(choices *c, const double *values, int64_t n)
{
    return values[pick(c, n)];
}

int64_t item_size(fo_dtype dtype)
{
    static const int64_t size[FO_N_DTYPES] = {
        [FO_F32] = 4, [FO_F64] = 8, [FO_F16] = 2, [FO_BF16] = 2};
    return size[dtype];
}

static double load(fo_dtype dtype, const char *from)
{
    union {
        double f64;
        float f32;
        uint16_t half;
    } x;
    memcpy(&x, from, (size_t)item_size(dtype));
    return dtype == FO_F64   ? x.f64
           : dtype == FO_F32 ? (double)x.f32
           : dtype == FO_F16 ? (double)fo_from_f16(x.half)
                             : (double)fo_from_bf16(x.half);
}

static uint16_t half_of(fo_dtype dtype, float x, const uint32_t *random)
{
    if (dtype == FO_F16)
        return random ? fo_to_f16(x, *random) : fo_to_f16_nearest(x);
    return random ? fo_to_bf16(x, *random) : fo_to_bf16_nearest(x);
}

static void store(fo_dtype dtype, char *to, double x)
{
    const float f32 = (float)x;
    const uint16_t half = half_of(dtype, f32, NULL);
    const void *from = dtype == FO_F64   ? (const void *)&x
                       : dtype == FO_F32 ? (const void *)&f32
                                         : (const void *)&half;
    memcpy(to, from, (size_t)item_size(dtype));
}

double rounded(fo_dtype dtype, double x, const uint32_t *random)
{
    if (dtype == FO_F64)
        return x;
    if (dtype == FO_F32)
        return (double)(float)x;
    const uint16_t half = half_of(dtype, (float)x, random);
    char bytes[sizeof half];
    memcpy(bytes, &half, sizeof half);
    return load(dtype, bytes);
}

static array *all;

static void *allocate(int64_t bytes)
{
    void *memory = malloc((size_t)bytes);
    if (!memory && bytes)
        abort();
    return memory;
}

/* Allocates memory for the elements of an array and puts its values there. */
static void place(array *a, const int64_t *stride, int64_t lead)
{
    int64_t before = 0, after = item_size(a->dtype);
    for (int k = 0; k < a->n_axes; k++) {
        a->stride[k] = stride[k];
        const int64_t reach = (a->shape[k] - 1) * stride[k];
        before -= reach < 0 ? reach : 0;
        after += reach > 0 ? reach : 0;
    }
    a->bytes = a->size ? lead + before + after : 0;
    a->memory = allocate(a->bytes);
    a->last = allocate(a->bytes);
    a->data = a->memory + (a->size ? lead + before : 0);
    a->at = allocate(a->size * (int64_t)sizeof *a->at);
    for (int64_t i = 0; i < a->bytes; i++)
        a->memory[i] = (char)(i * 37 + 11);
    for (int64_t i = 0; i < a->size; i++) {
        int64_t rest = i, at = 0;
        for (int k = a->n_axes - 1; k >= 0; k--) {
            at += rest % a->shape[k] * stride[k];
            rest /= a->shape[k];
        }
        a->at[i] = at;
        store(a->dtype, a->data + at, a->value[i]);
        a->value[i] = load(a->dtype, a->data + at);
    }
    if (a->bytes)
        memcpy(a->last, a->memory, (size_t)a->bytes);
}

array *array_new(fo_dtype dtype, int n_axes, const int64_t *shape,
                 const int64_t *stride, int64_t lead)
{
    array *a = allocate(sizeof *a);
    *a = (array){.dtype = dtype, .n_axes = n_axes, .size = 1, .next = all};
    all = a;
    for (int k = 0; k < n_axes; k++) {
        a->shape[k] = shape[k];
        a->size *= shape[k];
    }
    a->value = allocate(a->size * (int64_t)sizeof *a->value);
    for (int64_t i = 0; i < a->size; i++)
        a->value[i] = (double)(i % 7);
    place(a, stride, lead);
    return a;
}

static void free_place(array *a)
{
    free(a->memory);
    free(a->last);
    free(a->at);
}

void array_move(array *a, fo_dtype dtype, const int64_t *stride, int64_t lead)
{
    free_place(a);
    a->dtype = dtype;
    place(a, stride, lead);
}

void arrays_free(void)
{
    while (all) {
        array *next = all->next;
        free_place(all);
        free(all->value);
        free(all);
        all = next;
    }
}

static uint64_t random64(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/* Returns a number in [-2, 2), or, once in `one_in` calls, a special value or random
 * bits. */
static double random_value(uint64_t *seed, int64_t one_in, int any_bits)
{
    static const double special[] = {0.0,      -0.0,      1e-45,  -5e-324, 6e-8, 1e-40,
                                     6.5e4,    -1e5,      3.4e38, 1e200,   1.0,  -1.0,
                                     INFINITY, -INFINITY, NAN,    1.7e308};
    const uint64_t x = random64(seed);
    if (one_in && random64(seed) % (uint64_t)one_in == 0) {
        double y;
        memcpy(&y, &x, sizeof y);
        return any_bits ? y : special[x % (sizeof special / sizeof *special)];
    }
    return (double)(int64_t)(x >> 11) * 0x1p-51 - 2.0;
}

void array_fill(array *a, choices *c)
{
    const int64_t one_in = (const int64_t[]){0, 0, 100, 4, 1, 1000}[pick(c, 6)];
    const int any_bits = (int)pick(c, 2);
    uint64_t seed = (uint64_t)pick(c, 65536);
    for (int64_t i = 0; i < a->size; i++)
        store(a->dtype, a->data + a->at[i], random_value(&seed, one_in, any_bits));
    for (int64_t i = 0; i < a->size; i++)
        a->value[i] = load(a->dtype, a->data + a->at[i]);
    if (a->bytes)
        memcpy(a->last, a->memory, (size_t)a->bytes);
}

enum { MAX_BYTES = 1 << 20 };

void pick_strides(choices *c, int64_t item, int64_t unit, int shares, int n_axes,
                  const int64_t *shape, int64_t *stride)
{
    int order[FO_MAX_AXES];
    for (int k = 0; k < n_axes; k++)
        order[k] = k;
    const int any = (int)pick(c, 32), kind = any < 16 ? any : 0, shuffles = kind & 1,
              gaps = kind & 2, flips = kind & 4, repeats = kind & 8;
    for (int k = n_axes - 1; shuffles && k > 0; k--) {
        const int other = (int)pick(c, k + 1), axis = order[k];
        order[k] = order[other];
        order[other] = axis;
    }
    int64_t pitch = item;
    for (int k = n_axes - 1; k >= 0; k--) {
        const int64_t n = shape[order[k]];
        if (n == 1 && pick(c, 2)) {
            stride[order[k]] = (int64_t)pick(c, 3) * ((int64_t)1 << 40) - 1;
            continue; /* NumPy gives axes of length 1 any stride; it is never used */
        }
        if (gaps && pitch * n < MAX_BYTES)
            pitch = pick(c, 2) ? pitch * (1 + pick(c, 3)) : pitch + unit * pick(c, 3);
        stride[order[k]] = flips && pick(c, 2) ? -pitch : pitch;
        if (shares && repeats && pick(c, 2))
            stride[order[k]] = 0;
        else
            pitch *= n ? n : 1;
    }
}

static int same(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b);
}

void array_check(array *a, const char *what, int64_t tensor)
{
    for (int64_t i = 0; i < a->size; i++) {
        const double found = load(a->dtype, a->data + a->at[i]);
        if (!same(found, a->value[i])) {
            fprintf(stderr, "tensor %d, %s, element %d of %d: %a, not %a\n",
                    (int)tensor, what, (int)i, (int)a->size, found, a->value[i]);
            abort();
        }
        memcpy(a->last + (a->data - a->memory) + a->at[i], a->data + a->at[i],
               (size_t)item_size(a->dtype));
    }
    if (a->bytes && memcmp(a->last, a->memory, (size_t)a->bytes) != 0) {
        fprintf(stderr, "tensor %d, %s: a byte outside all elements has changed\n",
                (int)tensor, what);
        abort();
    }
}
