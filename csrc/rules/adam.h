/* Adam, Kingma & Ba 2015, Algorithm 1.  eps_hat selects the reordered form at the end
 * of their section 2.  States: m, v. */

/* Adam's hyperparameters, from those of a rule that has them all. */
#define FO_ADAM_HP(hp) \
    { \
        (hp)->lr, (hp)->beta1, (hp)->beta2, (hp)->eps, (hp)->eps_root, (hp)->eps_hat, \
            (hp)->correct_m, (hp)->correct_v \
    }

typedef struct {
    real step_size, beta1, one_minus_beta1, beta2, one_minus_beta2, v_scale, eps,
        eps_root;
} FO_T(adam_coef);

static inline FO_T(adam_coef)
    FO_T(adam_prepare)(const fo_adam_hp *hp, int64_t t, double *saved)
{
    (void)saved;
    const double c1 = hp->correct_m != 0 ? fo_one_minus_powi(hp->beta1, t) : 1.0;
    const double c2 = hp->correct_v != 0 ? fo_one_minus_powi(hp->beta2, t) : 1.0;
    const int hat = hp->eps_hat != 0;
    return (FO_T(adam_coef)){
        .step_size = (real)(hat ? hp->lr * sqrt(c2) / c1 : hp->lr / c1),
        .beta1 = (real)hp->beta1,
        .one_minus_beta1 = (real)(1.0 - hp->beta1),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
        .v_scale = (real)(hat ? 1.0 : 1.0 / c2),
        .eps = (real)hp->eps,
        .eps_root = (real)hp->eps_root,
    };
}

static inline void FO_T(adam_moments)(real g, real *m, real *v, FO_T(adam_coef) c)
{
    *m = c.beta1 * *m + c.one_minus_beta1 * g;
    *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);
}

static inline void FO_T(adam_move)(real *w, real m, real v, FO_T(adam_coef) c)
{
    *w -= c.step_size * (m / (fo_sqrt(c.v_scale * v + c.eps_root) + c.eps));
}

static inline void FO_T(adam_element)(real *w, real g, real *m, real *v,
                                      FO_T(adam_coef) c)
{
    FO_T(adam_moments)(g, m, v, c);
    FO_T(adam_move)(w, *m, *v, c);
}
