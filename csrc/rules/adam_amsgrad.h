/* AMSGrad, Reddi, Kale & Kumar 2018, Algorithm 2.  States: m, v and u, the largest v
 * so far, stored without bias correction (the paper, PyTorch, Keras) or with it
 * (optax). */
typedef struct {
    FO_T(adam_coef) adam;
    real u_scale;
} FO_T(adam_amsgrad_coef);

static inline FO_T(adam_amsgrad_coef)
    FO_T(adam_amsgrad_prepare)(const fo_adam_amsgrad_hp *hp, int64_t t, double *saved)
{
    const fo_adam_hp plain = FO_ADAM_HP(hp);
    FO_T(adam_amsgrad_coef) c = {FO_T(adam_prepare)(&plain, t, saved), 1};
    if (hp->max_corrected != 0) {
        c.u_scale = c.adam.v_scale;
        c.adam.v_scale = 1;
    }
    return c;
}

static inline void FO_T(adam_amsgrad_element)(real *w, real g, real *m, real *v,
                                              real *u, FO_T(adam_amsgrad_coef) c)
{
    FO_T(adam_moments)(g, m, v, c.adam);
    *u = fo_max(*u, c.u_scale * *v);
    FO_T(adam_move)(w, *m, *u, c.adam);
}
