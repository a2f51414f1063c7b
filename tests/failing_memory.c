/* A library to preload that counts the allocations by code in the watched address
 * ranges and lets number `failing_at` fail.  __libc_* are names of glibc. */
#include <stddef.h>
#include <stdint.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

enum { MOST_WATCHED = 4 };
static uintptr_t begins[MOST_WATCHED], ends[MOST_WATCHED];
static int n_watched;
long failing_at, failing_count; /* 0: none fails */

void failing_watch(uintptr_t begin, uintptr_t end)
{
    begins[n_watched] = begin;
    ends[n_watched++] = end;
}

static int fails(const void *caller)
{
    for (int i = 0; i < n_watched; i++)
        if (begins[i] <= (uintptr_t)caller && (uintptr_t)caller < ends[i])
            return ++failing_count == failing_at;
    return 0;
}

#define FAILS fails(__builtin_return_address(0))

void *malloc(size_t size)
{
    return FAILS ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return FAILS ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return FAILS ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return FAILS ? NULL : __libc_memalign(alignment, size);
}
