/* The kernel table for x86-64-v3: AVX2, 32-byte vectors. */
#include "kernels/kernels.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

#define FO_TABLE fo_kernels_v3
#define FO_VECTOR 32
#define FO_DOT_VECTOR 32
#include "kernels/kernels.inc"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
