/* SMORMS3, Funk 2015.  States: mem, the time constant of the running means; g_avg and
 * g_sq, the running means of g and g^2. */
typedef struct {
    real lr, eps;
} FO_T(smorms3_coef);

static inline FO_T(smorms3_coef)
    FO_T(smorms3_prepare)(const fo_smorms3_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(smorms3_coef)){.lr = (real)hp->lr, .eps = (real)hp->eps};
}

static inline void FO_T(smorms3_element)(real *w, real g, real *mem, real *g_avg,
                                         real *g_sq, FO_T(smorms3_coef) c)
{
    const real rate = 1 / (*mem + 1);
    *g_avg = (1 - rate) * *g_avg + rate * g;
    *g_sq = (1 - rate) * *g_sq + rate * (g * g);
    const real signal = *g_avg * *g_avg / (*g_sq + c.eps);
    *mem = 1 + *mem * (1 - signal);
    *w -= (signal > c.lr ? c.lr : signal) * (g / (fo_sqrt(*g_sq) + c.eps));
}
