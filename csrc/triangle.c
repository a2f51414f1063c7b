/* y = M x from the lower triangle of a symmetric M, on several threads (triangle.h).
 *
 * The columns are cut into FO_TRIANGLE_PARTS parts of about equal size, whatever the
 * number of threads. Each part is summed separately, and the sums are added in a fixed
 * order, so that bits do not depend on the number of threads.
 */
#include "triangle.h"

#include "kernels/kernels.h"
#include "parallel.h"
#include "step/stage.h"

#define SERIAL_BELOW 500000 /* elements; below, one thread is faster */

typedef struct {
    fo_triangle_fn *kernel;
    const char *x, *m;
    char *work;
    int64_t ld, p;
    int64_t size; /* of an element, in bytes */
} product;

/* Returns the first column of part i: a fraction i / FO_TRIANGLE_PARTS of the triangle
 * is to the left of it. */
static int64_t begin_of(int64_t p, int64_t i)
{
    const double rest = (double)(FO_TRIANGLE_PARTS - i) / FO_TRIANGLE_PARTS;
    return i == FO_TRIANGLE_PARTS ? p : (int64_t)((double)p * (1.0 - sqrt(rest))) & ~3;
}

static void parts(void *context, int64_t first, int64_t last)
{
    const product *t = context;
    for (int64_t i = first; i < last; i++) {
        const int64_t begin = begin_of(t->p, i);
        char *y = t->work + i * t->p * t->size;
        memset(y + begin * t->size, 0, (size_t)((t->p - begin) * t->size));
        t->kernel(t->m, t->ld, t->p, begin, begin_of(t->p, i + 1), t->x, y);
    }
}

void fo_triangle_times(int is_single, const void *m, int64_t ld, int64_t p,
                       const void *x, void *y, void *work, int n_threads)
{
    const fo_dtype dtype = is_single ? FO_F32 : FO_F64;
    product t = {fo_kernels()->triangle[dtype], x, m, work, ld, p, fo_size_of(dtype)};
    fo_parallel_for(FO_TRIANGLE_PARTS, 1, parts, &t,
                    p * p < 2 * SERIAL_BELOW ? 1 : n_threads);
    memcpy(y, work, (size_t)(p * t.size));
    for (int64_t i = 1; i < FO_TRIANGLE_PARTS; i++) {
        const int64_t begin = begin_of(p, i), from = begin * t.size;
        fo_kernels()->add[dtype]((char *)y + from, (char *)y + from,
                                 t.work + i * p * t.size + from, p - begin);
    }
}
