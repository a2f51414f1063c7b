/* Every CPU that the compiler's default target allows. */
#include "../kernels.h"

#define FO_TABLE fo_kernels_baseline
#include "../kernels.inc"
