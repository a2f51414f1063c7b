/* Cautious Lion, Liang et al. 2024: as adam_cautious.h.  State: m. */
typedef struct {
    FO_T(lion_coef) lion;
} FO_T(lion_cautious_coef);

static inline FO_T(lion_cautious_coef)
    FO_T(lion_cautious_prepare)(const fo_lion_cautious_hp *hp, int64_t t, double *saved)
{
    const fo_lion_hp lion = {hp->lr, hp->beta1, hp->beta2};
    return (FO_T(lion_cautious_coef)){FO_T(lion_prepare)(&lion, t, saved)};
}

static inline void FO_T(lion_cautious_terms)(real w, real kept, real g, real m,
                                             FO_T(lion_cautious_coef) c, double *terms)
{
    (void)w, (void)kept;
    terms[0] = FO_T(cautious_agrees)(FO_T(lion_direction)(g, m, c.lion), g) > 0;
}

static inline double FO_T(lion_cautious_finish)(const double *sums, int64_t size,
                                                const fo_lion_cautious_hp *hp,
                                                double *saved,
                                                FO_T(lion_cautious_coef) * c)
{
    (void)saved;
    c->lion.step_size *= (real)FO_T(cautious_factor)(sums[0], size);
    return hp->lr;
}

static inline void FO_T(lion_cautious_element)(real *w, real g, real *m,
                                               FO_T(lion_cautious_coef) c)
{
    const real u = FO_T(lion_direction)(g, *m, c.lion);
    *w -= c.lion.step_size * (FO_T(cautious_agrees)(u, g) == 0 ? 0 : u);
    FO_T(lion_average)(g, m, c.lion);
}
