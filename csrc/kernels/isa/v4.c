/* The kernel table for x86-64-v4: AVX-512, 64-byte vectors.  triangle.inc is faster
 * with vectors of 32 bytes here as well. */
#include "kernels/kernels.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif

#define FO_TABLE fo_kernels_v4
#define FO_VECTOR 32
#define FO_DOT_VECTOR 64
#include "kernels/kernels.inc"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
