/* Copies given rows of an array to a contiguous array, in parallel: the shuffled
 * mini-batches of fastopt.Batches.  Indices are checked before anything is written. */
#include <string.h>

#include "fastopt.h"
#include "parallel.h"

/* Copies of fewer than SERIAL_BYTES run on the calling thread, because waking other
 * threads would take longer.  Larger copies are cut into parts of about PART_BYTES. */
enum { SERIAL_BYTES = 1 << 22, PART_BYTES = 1 << 16 };

typedef struct {
    const char *src;
    ptrdiff_t stride;
    size_t row_bytes;
    const int64_t *index;
    char *out;
} gather_job;

static void copy_rows(void *context, int64_t begin, int64_t end)
{
    const gather_job *job = context;
    for (int64_t i = begin; i < end; i++)
        memcpy(job->out + (size_t)i * job->row_bytes,
               job->src + job->index[i] * job->stride, job->row_bytes);
}

int64_t fo_gather(const void *src, int64_t n_src, ptrdiff_t stride, size_t row_bytes,
                  const int64_t *index, int64_t n_rows, void *out, int n_threads)
{
    for (int64_t i = 0; i < n_rows; i++)
        if (index[i] < 0 || index[i] >= n_src)
            return i;
    gather_job job = {src, stride, row_bytes, index, out};
    const int serial = (size_t)n_rows * row_bytes < SERIAL_BYTES;
    const int64_t grain =
        row_bytes < PART_BYTES ? (int64_t)(PART_BYTES / (row_bytes + 1)) : 1;
    fo_parallel_for(n_rows, grain, copy_rows, &job, serial ? 1 : n_threads);
    return -1;
}
