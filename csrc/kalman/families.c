/* The families of generalized linear models, one function each, and the root finder of
 * the implicit update: the functions of families.h.
 *
 * Scores and weights are written in forms that stay finite and accurate where the
 * variance underflows, such as for a saturated logit.
 */
#include "families.h"

#include <math.h>

#define ROOT_HALF 0.70710678118654752440

/* exp(z), with z clipped to [-700, 700] so that it neither overflows nor becomes 0. A
 * score at a more extreme z only has to be very large, not exact. */
static double bounded_exp(double z)
{
    return exp(z > 700.0 ? 700.0 : z < -700.0 ? -700.0 : z);
}

/* phi(z) / Phi(z), the inverse Mills ratio at -z. Phi underflows for z < -37. */
static double mills(double z)
{
    const double root_two_over_pi = 0.79788456080286535588;
    if (z > -10.0)
        return root_two_over_pi * exp(-0.5 * z * z) / erfc(-z * ROOT_HALF);
    /* Laplace's continued fraction: x + 1/(x + 2/(x + 3/(x + ...))), x = -z. */
    double tail = -z;
    for (int k = 60; k >= 1; k--)
        tail = -z + k / tail;
    return tail;
}

static fo_observation gaussian_identity(double y, double z)
{
    return (fo_observation){z, 1.0, 1.0, y - z, 1.0, 1.0};
}

/* The score has no cancellation for y = 0 and y = 1.  There is no branch on the sign of
 * z, which is hard to predict. */
static fo_observation bernoulli_logit(double y, double z)
{
    const double e = bounded_exp(z), q = 1.0 / (1.0 + e), m = e / (1.0 + e);
    const double variance = m * q;
    return (fo_observation){m,        variance, variance, y * q - (1.0 - y) * m,
                            variance, variance};
}

static fo_observation bernoulli_probit(double y, double z)
{
    const double lower = mills(z), upper = mills(-z); /* phi/Phi and phi/(1 - Phi) */
    const double m = 0.5 * erfc(-z * ROOT_HALF), q = 0.5 * erfc(z * ROOT_HALF);
    const double slope = 0.39894228040143267794 * exp(-0.5 * z * z);
    return (fo_observation){m,
                            slope,
                            m * q,
                            y * lower - (1.0 - y) * upper,
                            lower * upper,
                            y * lower * (lower + z) + (1.0 - y) * upper * (upper - z)};
}

static fo_observation bernoulli_cloglog(double y, double z)
{
    const double e = bounded_exp(z), keep = exp(-e), m = -expm1(-e);
    const double odds = e / expm1(e); /* slope / m */
    return (fo_observation){m,        e * keep,
                            m * keep, y * odds - (1.0 - y) * e,
                            e * odds, y * odds * (odds + e - 1.0) + (1.0 - y) * e};
}

static fo_observation poisson_log(double y, double z)
{
    const double m = bounded_exp(z);
    return (fo_observation){m, m, m, y - m, m, m};
}

static fo_observation gamma_log(double y, double z)
{
    const double m = bounded_exp(z);
    return (fo_observation){m, m, m * m, y / m - 1.0, 1.0, y / m};
}

static fo_observation gamma_inverse(double y, double z)
{
    const double m = z > 0.0 ? 1.0 / z : NAN;
    return (fo_observation){m, -m * m, m * m, m - y, m * m, m * m};
}

static fo_observation negative_binomial_log(double alpha, double y, double z)
{
    const double m = bounded_exp(z), spread = 1.0 + alpha * m, weight = m / spread;
    return (fo_observation){m,          m,
                            m * spread, (y - m) / spread,
                            weight,     weight * ((1.0 + alpha * y) / spread)};
}

static fo_observation inverse_gaussian_log(double y, double z)
{
    const double m = bounded_exp(z);
    return (fo_observation){
        m, m, m * m * m, (y / m - 1.0) / m, 1.0 / m, (2.0 * (y / m) - 1.0) / m};
}

static fo_observation inverse_gaussian_inverse_squared(double y, double z)
{
    const double m = z > 0.0 ? 1.0 / sqrt(z) : NAN, cube = m * m * m;
    return (fo_observation){m,           -0.5 * cube, cube, 0.5 * (m - y),
                            0.25 * cube, 0.25 * cube};
}

static fo_observation tweedie_log(double power, double y, double z)
{
    const double m = bounded_exp(z), scale = pow(m, 1.0 - power), weight = m * scale;
    return (fo_observation){m,
                            m,
                            m * m / weight,
                            (y - m) * scale,
                            weight,
                            (power - 1.0) * y * scale + (2.0 - power) * weight};
}

fo_observation fo_observe(fo_family family, double shape, double y, double z)
{
    switch (family) {
    case FO_GAUSSIAN_IDENTITY:
        return gaussian_identity(y, z);
    case FO_BERNOULLI_LOGIT:
        return bernoulli_logit(y, z);
    case FO_BERNOULLI_PROBIT:
        return bernoulli_probit(y, z);
    case FO_BERNOULLI_CLOGLOG:
        return bernoulli_cloglog(y, z);
    case FO_POISSON_LOG:
        return poisson_log(y, z);
    case FO_GAMMA_LOG:
        return gamma_log(y, z);
    case FO_GAMMA_INVERSE:
        return gamma_inverse(y, z);
    case FO_NEGATIVE_BINOMIAL_LOG:
        return negative_binomial_log(shape, y, z);
    case FO_INVERSE_GAUSSIAN_LOG:
        return inverse_gaussian_log(y, z);
    case FO_INVERSE_GAUSSIAN_INVERSE_SQUARED:
        return inverse_gaussian_inverse_squared(y, z);
    default:
        return tweedie_log(shape, y, z);
    }
}

/* y log(y / m), which is 0 for y = 0. */
static double relative(double y, double m)
{
    return y > 0.0 ? y * log(y / m) : 0.0;
}

/* y log(y) + (1 - y) log(1 - y). */
static double entropy(double y)
{
    return y > 0.0 && y < 1.0 ? y * log(y) + (1.0 - y) * log(1.0 - y) : 0.0;
}

/* log(1 + exp(z)) - y z, without overflow or cancellation. */
static double logit_deviance(double y, double z)
{
    const double linear = z > 0.0 ? (1.0 - y) * z : -y * z;
    return 2.0 * (entropy(y) + linear + log1p(exp(-fabs(z))));
}

static double bernoulli_deviance(double y, double log_m, double log_q)
{
    return 2.0 * (entropy(y) - (y > 0.0 ? y * log_m : 0.0) -
                  (y < 1.0 ? (1.0 - y) * log_q : 0.0));
}

static double negative_binomial_deviance(double alpha, double y, double m)
{
    if (!(alpha > 0.0))
        return 2.0 * (relative(y, m) - (y - m));
    const double ratio = log1p(alpha * y) - log1p(alpha * m);
    return 2.0 * (relative(y, m) - (y + 1.0 / alpha) * ratio);
}

static double tweedie_deviance(double power, double y, double m)
{
    const double a = 1.0 - power, b = 2.0 - power, scale = pow(m, a);
    const double own = y > 0.0 ? y * pow(y, a) : 0.0;
    return 2.0 * (own / (a * b) - y * scale / a + m * scale / b);
}

double fo_deviance(fo_family family, double shape, double y, double z,
                   const fo_observation *at)
{
    const double m = at->mean;
    switch (family) {
    case FO_GAUSSIAN_IDENTITY:
        return (y - m) * (y - m);
    case FO_BERNOULLI_LOGIT:
        return logit_deviance(y, z);
    case FO_BERNOULLI_PROBIT:
        return bernoulli_deviance(y, log(m), log(0.5 * erfc(z * ROOT_HALF)));
    case FO_BERNOULLI_CLOGLOG:
        return bernoulli_deviance(y, log(m), -bounded_exp(z));
    case FO_POISSON_LOG:
        return 2.0 * (relative(y, m) - (y - m));
    case FO_GAMMA_LOG:
    case FO_GAMMA_INVERSE:
        return 2.0 * ((y - m) / m - log(y / m));
    case FO_NEGATIVE_BINOMIAL_LOG:
        return negative_binomial_deviance(shape, y, m);
    case FO_INVERSE_GAUSSIAN_LOG:
    case FO_INVERSE_GAUSSIAN_INVERSE_SQUARED:
        return (y / m - 1.0) * (y / m - 1.0) / y;
    default:
        return tweedie_deviance(shape, y, m);
    }
}

/* Returns the z where the score is 0: infinite for y at the end of its range. Probit
 * has no closed form and returns `otherwise`. */
static double link_of(fo_family family, double y, double otherwise)
{
    switch (family) {
    case FO_BERNOULLI_LOGIT:
        return log(y / (1.0 - y));
    case FO_BERNOULLI_CLOGLOG:
        return log(-log1p(-y));
    case FO_POISSON_LOG:
    case FO_GAMMA_LOG:
    case FO_NEGATIVE_BINOMIAL_LOG:
    case FO_TWEEDIE_LOG:
        return log(y);
    default:
        return otherwise;
    }
}

/* Returns the positive root of z^2 - (eta - scale y) z - scale = 0, which exists and is
 * unique for any eta. */
static double implicit_gamma_inverse(double y, double eta, double scale)
{
    const double b = eta - scale * y, root = hypot(b, 2.0 * sqrt(scale));
    return b > 0.0 ? 0.5 * (b + root) : 2.0 * scale / (root - b);
}

/* Narrows the bracket of the root of f(z) = z - eta - scale * score(z), which is
 * between eta and the nearer of eta + move and link(y), and returns its end that is
 * nearer to eta. Bisection from an end where exp() is huge would need many steps: the
 * distance from eta is doubled instead. */
static double bracket_root(fo_family family, double shape, double y, double scale,
                           double eta, double move, double *low, double *high)
{
    const int sign = move < 0.0 ? -1 : 1;
    double reach = fmin(fabs(move), fabs(link_of(family, y, INFINITY) - eta));
    double near = 0.0, far = 1.0;
    while (far < reach) {
        const double z = eta + sign * far;
        if (sign * (z - eta - scale * fo_observe(family, shape, y, z).score) >= 0.0)
            break;
        near = far;
        far *= 2.0;
    }
    reach = fmin(reach, far);
    *low = eta + sign * (sign > 0 ? near : reach);
    *high = eta + sign * (sign > 0 ? reach : near);
    return sign > 0 ? *low : *high;
}

/* The derivative of the weight in z, of the logit or of Poisson's log. */
static double bend_of(fo_family family, const fo_observation *at)
{
    const double w = at->weight;
    return family == FO_BERNOULLI_LOGIT ? w * (1.0 - 2.0 * at->mean) : w;
}

/* Finds the root for logit and Poisson rows, whose slope, variance and weight are
 * equal, if it is near eta: sets `root`, and `at`, which is given at eta, to the
 * observation there. Returns 0, and changes nothing, if the result would not be exact
 * up to rounding.
 *
 * Two steps of Chebyshev's method, whose error is cubic, and the Taylor series for the
 * observation after the second. */
static int solve_short_step(fo_family family, double y, double scale, double eta,
                            double *root, fo_observation *at)
{
    const int is_logit = family == FO_BERNOULLI_LOGIT;
    const double inverse = 1.0 / (1.0 + scale * at->weight);
    const double first_step = scale * at->score * inverse;
    const double bend = bend_of(family, at);
    if (!(fabs(first_step) < 0.5))
        return 0;
    const double z =
        eta + first_step - 0.5 * scale * bend * inverse * (first_step * first_step);
    const fo_observation near = is_logit ? bernoulli_logit(y, z) : poisson_log(y, z);
    const double w = near.weight, inverse_2 = 1.0 / (1.0 + scale * w);
    const double first = bend_of(family, &near);
    const double second = is_logit ? w * (1.0 - 6.0 * w) : w;
    const double step = (scale * near.score - (z - eta)) * inverse_2;
    const double d = step - 0.5 * scale * first * inverse_2 * (step * step);
    if (!(fabs(d) < 4e-6 && fabs(d) * d * d <= 1e-16 * (fabs(z) + fabs(eta))))
        return 0;
    const double moved = d * (w + 0.5 * d * first);
    const double weight = w + d * (first + 0.5 * d * second);
    *root = z + d;
    *at = (fo_observation){near.mean + moved,  weight, weight,
                           near.score - moved, weight, weight};
    return 1;
}

static double rounding_of(double z, double eta)
{
    return 1e-16 * (fabs(z) + fabs(eta));
}

/* The root of fo_implicit: in two steps if it is near (solve_short_step), else by
 * Newton's method inside a bracket. */
static fo_observation solved(fo_family family, double shape, double y, double scale,
                             double eta, double *root)
{
    double z = eta, step = INFINITY;
    fo_observation at = fo_observe(family, shape, y, z);
    if ((family == FO_BERNOULLI_LOGIT || family == FO_POISSON_LOG) &&
        solve_short_step(family, y, scale, eta, root, &at))
        return at;
    const double move = scale * at.score;
    double low = move < 0.0 ? eta + move : eta, high = move < 0.0 ? eta : eta + move;
    int is_last = eta + move == eta;
    if (fabs(move) > 1.0 && !is_last) {
        z = bracket_root(family, shape, y, scale, eta, move, &low, &high);
        at = z == eta ? at : fo_observe(family, shape, y, z);
    }
    for (int i = 0; i < 200 && !is_last; i++) {
        const double f = z - eta - scale * at.score, slope = 1.0 + scale * at.fall;
        if (f == 0.0)
            break;
        *(f < 0.0 ? &low : &high) = z;
        double next = z - f / slope;
        const double moved = fabs(next - z);
        /* |f''| <= slope - 1 for every family, up to factors of about 10 (cloglog,
         * probit), and changes little in a short step: the error after it is about half
         * its square times |f''| / slope. */
        is_last = next >= low && next <= high && moved < 0.5 &&
                  moved * moved * (slope - 1.0) <= rounding_of(next, eta) * slope;
        /* Otherwise the step must be strictly inside the bracket and, after the first,
         * at most half the previous step. Else an end of the bracket, or a cycle on the
         * sigmoid, could be taken for the root. */
        if (!is_last) {
            if (!(next > low && next < high) || moved > 0.5 * step)
                next = low + 0.5 * (high - low);
            step = fabs(next - z);
            is_last = step <= rounding_of(next, eta) || !(next > low && next < high);
        }
        z = next;
        at = fo_observe(family, shape, y, z);
    }
    *root = z;
    return at;
}

fo_observation fo_implicit(fo_family family, double shape, double y, double prior,
                           double eta, double g, double *root)
{
    const double scale = g * prior;
    *root = eta;
    if (scale > 0.0 && family == FO_GAUSSIAN_IDENTITY)
        *root = (eta + scale * y) / (1.0 + scale);
    else if (scale > 0.0 && family == FO_GAMMA_INVERSE)
        *root = implicit_gamma_inverse(y, eta, scale);
    else if (scale > 0.0)
        return solved(family, shape, y, scale, eta, root);
    return fo_observe(family, shape, y, *root);
}
