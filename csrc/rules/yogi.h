/* Yogi, Zaheer et al. 2018, Algorithm 2: Adam whose v changes by (1 - beta2) g^2, up or
 * down, whatever the size of v.  States: m, v. */
typedef FO_T(adam_coef) FO_T(yogi_coef);

static inline FO_T(yogi_coef)
    FO_T(yogi_prepare)(const fo_yogi_hp *hp, int64_t t, double *saved)
{
    const fo_adam_hp adam = FO_ADAM_HP(hp);
    return FO_T(adam_prepare)(&adam, t, saved);
}

static inline void FO_T(yogi_element)(real *w, real g, real *m, real *v,
                                      FO_T(yogi_coef) c)
{
    const real square = g * g;
    *m = c.beta1 * *m + c.one_minus_beta1 * g;
    *v -= c.one_minus_beta2 * (fo_sign(*v - square) * square);
    FO_T(adam_move)(w, *m, *v, c);
}
