/* The kernel table for the default target of the compiler: runs on every CPU. */
#include "kernels/kernels.h"

#define FO_TABLE fo_kernels_baseline
#define FO_VECTOR 16
#define FO_DOT_VECTOR 16
#include "kernels/kernels.inc"
