/* The matrix that Muon orthogonalizes, which replaces the parameter.  State: the buffer
 * b, which is read, not changed: muon.h updates it in the step itself. */
typedef FO_T(muon_coef) FO_T(muon_direction_coef);

static inline FO_T(muon_direction_coef)
    FO_T(muon_direction_prepare)(const fo_muon_direction_hp *hp, int64_t t,
                                 double *saved)
{
    const fo_muon_hp plain = {hp->lr, hp->momentum, hp->nesterov,
                              hp->nesterov_corrected};
    return FO_T(muon_prepare)(&plain, t, saved);
}

static inline void FO_T(muon_direction_element)(real *w, real g, real *b,
                                                FO_T(muon_direction_coef) c)
{
    real next = *b;
    FO_T(muon_average)(g, &next, c);
    *w = c.b_scale * next + c.g_scale * g;
}
