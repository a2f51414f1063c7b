/* SM3-II, Anil, Gupta, Koren & Singer 2019, Algorithm SM3-II.  States, in place of an
 * array of the parameter's shape: an accumulator for each index of each axis, the
 * maximum of nu over the elements that have this index.
 *
 * `col` is the accumulator of the element's index of the last axis, and `row` the
 * smallest of those of its other indices; infinity if there is no other axis. */
typedef struct {
    real row, col;
    real lr, eps;
    real momentum, one_minus_momentum; /* of sm3_momentum */
} FO_T(sm3_coef);

static inline FO_T(sm3_coef)
    FO_T(sm3_prepare)(const fo_sm3_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(sm3_coef)){.lr = (real)hp->lr, .eps = (real)hp->eps};
}

static inline real FO_T(sm3_nu)(real g, FO_T(sm3_coef) c)
{
    return fo_smaller(c.row, c.col) + g * g;
}

/* The number whose maxima over rows and columns are needed. */
static inline double FO_T(sm3_statistic)(real g, FO_T(sm3_coef) c)
{
    return (double)FO_T(sm3_nu)(g, c);
}

static inline real FO_T(sm3_direction)(real g, FO_T(sm3_coef) c)
{
    return g / fo_sqrt(FO_T(sm3_nu)(g, c) + c.eps);
}

static inline void FO_T(sm3_element)(real *w, real g, FO_T(sm3_coef) c)
{
    *w -= c.lr * FO_T(sm3_direction)(g, c);
}
