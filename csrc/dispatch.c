/* Selects the kernel table, one per instruction set (kernels/isa/).
 *
 * The selection is a global variable, initially "baseline".  The Python extension
 * selects the widest instruction set that the CPU supports when it is imported, or the
 * one named by FASTOPT_ISA.  Results do not depend on the selection. */
#include "kernels/kernels.h"

static const struct {
    const char *name;
    const fo_kernel_table *table;
} levels[] = {
    {"baseline", &fo_kernels_baseline},
#if defined(__x86_64__)
    {"v3", &fo_kernels_v3},
    {"v4", &fo_kernels_v4},
#endif
};

static int current;

int fo_isa_count(void)
{
    return sizeof levels / sizeof levels[0];
}

const char *fo_isa_name(int isa)
{
    return levels[isa].name;
}

int fo_isa_supported(int isa)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (isa == 1)
        return __builtin_cpu_supports("avx2") != 0;
    if (isa == 2)
        return __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    return isa == 0;
}

void fo_isa_use(int isa)
{
    current = isa;
}

int fo_isa_current(void)
{
    return current;
}

const fo_kernel_table *fo_kernels(void)
{
    return levels[current].table;
}
