/* Every CPU that the compiler's default target allows. */
#include "kernels/kernels.h"

#define FO_TABLE fo_kernels_baseline
#define FO_VECTOR 16
#include "kernels/kernels.inc"
