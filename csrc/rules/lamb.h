/* LAMB, You et al. 2020, Algorithm 2.  The direction u is that of Adam plus weight
 * decay; the step of a tensor is lr |w| / |u| times u, or lr times u if one of the
 * norms is 0 or `adapts` is 0.  With trust_clip the ratio is at most 1.  States: m, v.
 */
typedef struct {
    FO_T(adam_coef) adam;
    real decay, rate;
} FO_T(lamb_coef);

static inline FO_T(lamb_coef)
    FO_T(lamb_prepare)(const fo_lamb_hp *hp, int64_t t, double *saved)
{
    const fo_adam_hp adam = {.lr = 1.0,
                             .beta1 = hp->beta1,
                             .beta2 = hp->beta2,
                             .eps = hp->eps,
                             .correct_m = hp->bias_correction,
                             .correct_v = hp->bias_correction};
    return (FO_T(lamb_coef)){FO_T(adam_prepare)(&adam, t, saved), (real)hp->wd,
                             (real)hp->lr};
}

/* Updates m and v; returns u. */
static inline real FO_T(lamb_direction)(real w, real g, real *m, real *v,
                                        FO_T(lamb_coef) c)
{
    real u = -(real)0;
    FO_T(adam_moments)(g, m, v, c.adam);
    FO_T(adam_move)(&u, *m, *v, c.adam);
    return c.decay * w - u;
}

static inline void FO_T(lamb_terms)(real w, real kept, real g, real m, real v,
                                    FO_T(lamb_coef) c, double *terms)
{
    (void)w;
    const double u = (double)FO_T(lamb_direction)(kept, g, &m, &v, c);
    terms[0] = (double)kept * (double)kept;
    terms[1] = u * u;
}

static inline double FO_T(lamb_finish)(const double *sums, int64_t size,
                                       const fo_lamb_hp *hp, double *saved,
                                       FO_T(lamb_coef) * c)
{
    (void)size, (void)saved;
    const int is_plain = hp->adapts == 0 || sums[0] == 0.0 || sums[1] == 0.0;
    const double ratio = is_plain ? 1.0 : sqrt(sums[0]) / sqrt(sums[1]);
    c->rate = (real)(hp->lr * (hp->trust_clip != 0 && ratio > 1.0 ? 1.0 : ratio));
    return hp->lr;
}

static inline void FO_T(lamb_element)(real *w, real g, real *m, real *v,
                                      FO_T(lamb_coef) c)
{
    *w -= c.rate * FO_T(lamb_direction)(*w, g, m, v, c);
}
