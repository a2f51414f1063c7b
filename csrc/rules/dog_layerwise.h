/* L-DoG, Ivgi, Hinder & Carmon 2023: as dog.h, with norms, rbar and G for each
 * tensor. */
typedef FO_T(dog_coef) FO_T(dog_layerwise_coef);

static inline FO_T(dog_layerwise_coef)
    FO_T(dog_layerwise_prepare)(const fo_dog_layerwise_hp *hp, int64_t t, double *saved)
{
    const fo_dog_hp same = {hp->lr, hp->reps_rel, hp->eps};
    return FO_T(dog_prepare)(&same, t, saved);
}

static inline void FO_T(dog_layerwise_terms)(real w, real kept, real g, real w0,
                                             FO_T(dog_layerwise_coef) c, double *terms)
{
    FO_T(dog_terms)(w, kept, g, w0, c, terms);
}

static inline double FO_T(dog_layerwise_finish)(const double *sums, int64_t size,
                                                const fo_dog_layerwise_hp *hp,
                                                double *saved,
                                                FO_T(dog_layerwise_coef) * c)
{
    const fo_dog_hp same = {hp->lr, hp->reps_rel, hp->eps};
    return FO_T(dog_finish)(sums, size, &same, saved, c);
}

static inline void FO_T(dog_layerwise_element)(real *w, real g, real *w0,
                                               FO_T(dog_layerwise_coef) c)
{
    FO_T(dog_element)(w, g, w0, c);
}
