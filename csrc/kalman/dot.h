/* The dot product x'y, for the files of csrc/kalman. It is summed in eight lanes so
 * that the loop vectorises. The order of the sum depends only on n. */
#ifndef FO_DOT_H
#define FO_DOT_H

#include <stdint.h>

#define FO_DOT(name, left, right) \
    static inline double name(const left *x, const right *y, int64_t n) \
    { \
        double sum[8] = {0.0}, tail = 0.0; \
        int64_t i = 0; \
        for (; i + 8 <= n; i += 8) \
            for (int lane = 0; lane < 8; lane++) \
                sum[lane] += (double)x[i + lane] * (double)y[i + lane]; \
        for (; i < n; i++) \
            tail += (double)x[i] * (double)y[i]; \
        return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + \
               ((sum[4] + sum[5]) + (sum[6] + sum[7])) + tail; \
    }
FO_DOT(fo_dot, double, double)

#endif
