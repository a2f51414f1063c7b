/* Adafactor, Shazeer & Stern 2018, Algorithms 4 to 6, in the form of PyTorch.  States,
 * in place of an array of the parameter's shape: the means of g^2 over each row, r, and
 * over each column, c, as exponential moving averages.  The estimate of g^2 of an
 * element is r c / mean(r).
 *
 * `row` and `col` are the square roots of its factors r / mean(r) and c, for the row
 * and the column of the element.  The rate is complete after adafactor_finish. */
typedef struct {
    real row, col;
    real weight; /* of the new mean in the averages */
    real least;  /* a lower bound of the root of the estimate, and of mean(r) */
    real inside; /* is added to the mean of g^2 */
    real rate;
    double bound; /* of the rate */
} FO_T(adafactor_coef);

static inline FO_T(adafactor_coef)
    FO_T(adafactor_prepare)(const fo_adafactor_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    const double limit = hp->limits_lr != 0 ? 1.0 / sqrt((double)t) : INFINITY;
    return (FO_T(adafactor_coef)){
        .weight = (real)fo_pow((double)t, hp->beta2_decay),
        .least = (real)(hp->adds_eps1 != 0 ? 0.0 : hp->eps1),
        .inside = (real)(hp->adds_eps1 != 0 ? hp->eps1 : 0.0),
        .bound = hp->lr > limit ? limit : hp->lr,
    };
}

/* The number whose sums over rows and columns are needed. */
static inline double FO_T(adafactor_statistic)(real g, FO_T(adafactor_coef) c)
{
    (void)c;
    return (double)g * (double)g;
}

/* Updates r or c with the mean of g^2 of this step. */
static inline void FO_T(adafactor_average)(real *average, double mean,
                                           FO_T(adafactor_coef) c)
{
    *average += c.weight * ((real)mean + c.inside - *average);
}

/* The factors of the root of the estimate. */
static inline real FO_T(adafactor_row)(real r, real mean, FO_T(adafactor_coef) c)
{
    return fo_sqrt(r / fo_max(mean, c.least));
}

static inline real FO_T(adafactor_col)(real col_mean)
{
    return fo_sqrt(col_mean);
}

static inline real FO_T(adafactor_direction)(real g, FO_T(adafactor_coef) c)
{
    return g / fo_max(c.row * c.col, c.least);
}

static inline void FO_T(adafactor_terms)(real w, real g, FO_T(adafactor_coef) c,
                                         double *terms)
{
    const double u = (double)FO_T(adafactor_direction)(g, c);
    terms[0] = (double)w * (double)w;
    terms[1] = u * u;
}

static inline double FO_T(adafactor_finish)(const double *sums, int64_t size,
                                            const fo_adafactor_hp *hp, double *saved,
                                            FO_T(adafactor_coef) * c)
{
    (void)saved;
    const double of_w = sqrt(sums[0] / (double)size);
    const double excess = sqrt(sums[1] / (double)size) / hp->threshold;
    /* A NaN in a vector reaches one element only, as in PyTorch. */
    const double scale = hp->scales != 0 ? (of_w > hp->eps2 ? of_w : hp->eps2) : 1.0;
    c->rate = (real)(scale * c->bound / (excess > 1.0 ? excess : 1.0));
    return hp->lr;
}

static inline void FO_T(adafactor_element)(real *w, real g, FO_T(adafactor_coef) c)
{
    *w -= c.rate * FO_T(adafactor_direction)(g, c);
}
