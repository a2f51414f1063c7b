/* As sgd_normalized.h, with the norm of the gradients of all tensors. */
typedef FO_T(sgd_normalized_coef) FO_T(sgd_normalized_all_coef);

static inline FO_T(sgd_normalized_all_coef)
    FO_T(sgd_normalized_all_prepare)(const fo_sgd_normalized_all_hp *hp, int64_t t,
                                     double *saved)
{
    return FO_T(sgd_normalized_prepare)(&(fo_sgd_normalized_hp){hp->lr}, t, saved);
}

static inline void FO_T(sgd_normalized_all_terms)(real w, real kept, real g,
                                                  FO_T(sgd_normalized_all_coef) c,
                                                  double *terms)
{
    FO_T(sgd_normalized_terms)(w, kept, g, c, terms);
}

static inline double FO_T(sgd_normalized_all_finish)(const double *sums, int64_t size,
                                                     const fo_sgd_normalized_all_hp *hp,
                                                     double *saved,
                                                     FO_T(sgd_normalized_all_coef) * c)
{
    const fo_sgd_normalized_hp same = {hp->lr};
    return FO_T(sgd_normalized_finish)(sums, size, &same, saved, c);
}

static inline void FO_T(sgd_normalized_all_element)(real *w, real g,
                                                    FO_T(sgd_normalized_all_coef) c)
{
    FO_T(sgd_normalized_element)(w, g, c);
}
