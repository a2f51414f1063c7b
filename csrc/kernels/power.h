/* Powers, logarithm and exponential for the coefficients of rules, computed once per
 * step in double.  Equal bits on every CPU, which the functions of the C library do not
 * guarantee. */
#ifndef FO_POWER_H
#define FO_POWER_H

#include <math.h>
#include <stdint.h>

/* x^n by repeated squaring. */
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

/* ln 2 as a sum of two numbers; a multiple of the first by a whole number below 2^20 is
 * exact. */
#define FO_LN2_HIGH 0x1.62e42fefa0000p-1
#define FO_LN2_LOW 0x1.cf79abc9e3b3ap-40

/* ln x for x > 0: x = m 2^e, and ln m = 2 (s + s^3/3 + s^5/5 + ...) for s = (m - 1)/(m
 * + 1), of which |s| < .172 makes 12 terms enough. */
static inline double fo_log(double x)
{
    int e;
    double m = frexp(x, &e), sum = 0.0;
    if (m < 0.70710678118654752) {
        m *= 2.0;
        e--;
    }
    const double s = (m - 1.0) / (m + 1.0);
    for (int k = 23; k > 1; k -= 2)
        sum = (sum + 1.0 / k) * (s * s);
    return e * FO_LN2_HIGH + (2.0 * s + (2.0 * s * sum + e * FO_LN2_LOW));
}

/* e^x: x = k ln 2 + r, and e^r is the sum of 14 terms of its series. */
static inline double fo_exp(double x)
{
    if (!(x > -746.0))
        return x < 0.0 ? 0.0 : x;
    if (x > 710.0)
        return INFINITY;
    const int k = (int)(x * 1.4426950408889634 + (x < 0.0 ? -0.5 : 0.5));
    const double r = (x - k * FO_LN2_HIGH) - k * FO_LN2_LOW;
    double sum = 0.0;
    for (int n = 14; n > 1; n--)
        sum = (sum + 1.0) * (r / n);
    return ldexp(1.0 + (r + r * sum), k);
}

/* e^x - 1, which is accurate near 0. */
static inline double fo_expm1(double x)
{
    double sum = 0.0;
    if (!(x > -0.5 && x < 0.5))
        return fo_exp(x) - 1.0;
    for (int n = 14; n > 1; n--)
        sum = (sum + 1.0) * (x / n);
    return x + x * sum;
}

/* x^y for x > 0, or x = 0 and y >= 0.  The relative error is about |y ln x| / 2^53. */
static inline double fo_pow(double x, double y)
{
    return y == 0.0 ? 1.0 : x == 0.0 ? 0.0 : fo_exp(y * fo_log(x));
}

#endif
