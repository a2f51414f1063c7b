/* Cautious Adam, Liang et al. 2024, Algorithm 2: elements where m and the gradient have
 * different signs do not move; the steps of the others are divided by the share of such
 * elements in the tensor, but not by less than 1e-3.  States: m, v. */
typedef struct {
    FO_T(adam_coef) adam;
} FO_T(adam_cautious_coef);

static inline FO_T(adam_cautious_coef)
    FO_T(adam_cautious_prepare)(const fo_adam_cautious_hp *hp, int64_t t, double *saved)
{
    const fo_adam_hp adam = FO_ADAM_HP(hp);
    return (FO_T(adam_cautious_coef)){FO_T(adam_prepare)(&adam, t, saved)};
}

/* 1 if u and the gradient have the same sign, else 0; NaN if either is NaN. */
static inline real FO_T(cautious_agrees)(real u, real g)
{
    const real product = fo_sign(u) * fo_sign(g);
    return product < 0 ? 0 : product;
}

/* The factor of the steps, given the number of elements that agree. */
static inline double FO_T(cautious_factor)(double number, int64_t size)
{
    const double share = number / (double)size;
    return share < 1e-3 ? 1e3 : 1.0 / share;
}

static inline void FO_T(adam_cautious_terms)(real w, real kept, real g, real m, real v,
                                             FO_T(adam_cautious_coef) c, double *terms)
{
    (void)w, (void)kept;
    FO_T(adam_moments)(g, &m, &v, c.adam);
    terms[0] = FO_T(cautious_agrees)(m, g) > 0;
}

static inline double FO_T(adam_cautious_finish)(const double *sums, int64_t size,
                                                const fo_adam_cautious_hp *hp,
                                                double *saved,
                                                FO_T(adam_cautious_coef) * c)
{
    (void)saved;
    c->adam.step_size *= (real)FO_T(cautious_factor)(sums[0], size);
    return hp->lr;
}

static inline void FO_T(adam_cautious_element)(real *w, real g, real *m, real *v,
                                               FO_T(adam_cautious_coef) c)
{
    real x = *w;
    FO_T(adam_moments)(g, m, v, c.adam);
    FO_T(adam_move)(&x, *m, *v, c.adam);
    *w = FO_T(cautious_agrees)(*m, g) == 0 ? *w : x;
}
