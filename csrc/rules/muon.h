/* Muon, Jordan et al. 2024.  States: the buffer b, the running mean of the gradient,
 * and the direction o, which the caller computes before each step: it is read, not
 * changed. muon_direction computes the matrix that the caller orthogonalizes to get o.
 * With `corrected` both terms of Nesterov's form are corrected for their bias (Dozat
 * 2016, optax). */
typedef struct {
    real lr, momentum, one_minus_momentum, b_scale, g_scale;
} FO_T(muon_coef);

static inline FO_T(muon_coef)
    FO_T(muon_prepare)(const fo_muon_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    const double mu = hp->momentum;
    const int corrected = hp->nesterov_corrected != 0;
    const double c_b = corrected ? fo_one_minus_powi(mu, t + 1) : 1.0;
    const double c_g = corrected ? fo_one_minus_powi(mu, t) : 1.0;
    const int nesterov = corrected || hp->nesterov != 0;
    return (FO_T(muon_coef)){
        .lr = (real)hp->lr,
        .momentum = (real)mu,
        .one_minus_momentum = (real)(1.0 - mu),
        .b_scale = (real)(nesterov ? mu / c_b : 1.0),
        .g_scale = (real)(nesterov ? (1.0 - mu) / c_g : 0.0),
    };
}

static inline void FO_T(muon_average)(real g, real *b, FO_T(muon_coef) c)
{
    *b = c.momentum * *b + c.one_minus_momentum * g;
}

static inline void FO_T(muon_element)(real *w, real g, real *b, real *o,
                                      FO_T(muon_coef) c)
{
    FO_T(muon_average)(g, b, c);
    *w -= c.lr * *o;
}
