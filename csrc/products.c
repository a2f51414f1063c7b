/* The functions of products.h, from the kernel table of the selected instruction set.
 */
#include "products.h"

#include "kernels/kernels.h"

const fo_products *fo_products_of(int is_single)
{
    return &fo_kernels()->products[is_single ? FO_F32 : FO_F64];
}
