/* Conversion of whole FO_F8 states from and to floats, for callers. */
#include "fastopt.h"
#include "kernels/kernels.h"

void fo_float8_unpack(fo_code code, const uint8_t *state, const uint8_t *scale,
                      int64_t n_rows, int64_t length, float *out)
{
    fo_kernels()->unpack[code](out, state, scale, n_rows, length);
}

void fo_float8_pack(fo_code code, const float *x, int64_t n_rows, int64_t length,
                    uint8_t *state, uint8_t *scale)
{
    fo_kernels()->pack[code](state, scale, x, n_rows, length, NULL, 0);
}
