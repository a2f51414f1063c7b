/* Averaged SGD, Polyak & Juditsky 1992, in PyTorch's form.  State: ax, the mean of w.
 * Saved scalars: eta and mu, the learning rate and the weight in the mean for the next
 * step. */
typedef struct {
    real eta, keep, mu;
} FO_T(asgd_coef);

static inline FO_T(asgd_coef)
    FO_T(asgd_prepare)(const fo_asgd_hp *hp, int64_t t, double *saved)
{
    const double eta = t == 1 ? hp->lr : saved[0], mu = t == 1 ? 1.0 : saved[1];
    const double since = (double)t - hp->t0;
    saved[0] = hp->lr / fo_pow(1.0 + hp->lambd * hp->lr * (double)t, hp->alpha);
    saved[1] = 1.0 / (since > 1.0 ? since : 1.0);
    return (FO_T(asgd_coef)){
        .eta = (real)eta,
        .keep = (real)(1.0 - hp->lambd * eta),
        .mu = (real)mu,
    };
}

static inline void FO_T(asgd_element)(real *w, real g, real *ax, FO_T(asgd_coef) c)
{
    *w = *w * c.keep - c.eta * g;
    *ax = c.mu != 1 ? *ax + c.mu * (*w - *ax) : *w;
}
