/* Powers for the bias corrections of rules, computed once per step in double. */
#ifndef FO_POWER_H
#define FO_POWER_H

#include <stdint.h>

/* x^n by repeated squaring: equal bits on every CPU, which pow() does not guarantee. */
static inline double fo_powi(double x, int64_t n)
{
    double result = 1.0;
    for (; n > 0; n >>= 1, x *= x)
        if (n & 1)
            result *= x;
    return result;
}

/* 1 - x^n, computed as (1 - x)(1 + x + ... + x^(n-1)) to avoid cancellation: for x =
 * .999 and n = 1, 1 - x^n computed directly has 13 correct digits of 16.  The sum of 2k
 * terms is the sum of k terms times 1 + x^k. */
static inline double fo_one_minus_powi(double x, int64_t n)
{
    double sum = 0.0, power = 1.0;
    int bit = 0;
    while (n >> bit > 1)
        bit++;
    for (; bit >= 0; bit--) {
        sum *= 1.0 + power;
        power *= power;
        if (n >> bit & 1) {
            sum = 1.0 + x * sum;
            power *= x;
        }
    }
    return (1.0 - x) * sum;
}

/* The mean of 1, 2, ..., n with the weights 1, x, ..., x^(n-1): the mean age of the
 * numbers in a running mean.  The sums of 2k terms come from those of k terms, as
 * above; the closed form cancels. */
static inline double fo_mean_age(double x, int64_t n)
{
    double sum = 0.0, ages = 0.0, power = 1.0;
    int bit = 0;
    while (n >> bit > 1)
        bit++;
    for (; bit >= 0; bit--) {
        ages += power * (ages + (double)(n >> bit >> 1) * sum);
        sum *= 1.0 + power;
        power *= power;
        if (n >> bit & 1) {
            ages = 1.0 + x * (ages + sum);
            sum = 1.0 + x * sum;
            power *= x;
        }
    }
    return ages / sum;
}

#endif
