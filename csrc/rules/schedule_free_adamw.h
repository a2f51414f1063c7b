/* Schedule-Free AdamW, Defazio et al. 2024: schedule_free_sgd.h with the direction
 * g/(sqrt(v/c2) + eps) + decay * y, which has no momentum.  States: z, v. */
typedef struct {
    FO_T(schedule_free_sgd_coef) average;
    real beta2, one_minus_beta2, v_scale, eps;
} FO_T(schedule_free_adamw_coef);

static inline FO_T(schedule_free_adamw_coef)
    FO_T(schedule_free_adamw_prepare)(const fo_schedule_free_adamw_hp *hp, int64_t t,
                                      double *saved)
{
    const double lr = FO_T(schedule_free_rate)(hp->lr, t, hp->warmup);
    return (FO_T(schedule_free_adamw_coef)){
        .average = FO_T(schedule_free_average)(lr, hp->beta1, hp->wd, t, hp->t_power,
                                               hp->lr_power, saved),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
        .v_scale = (real)(1.0 / fo_one_minus_powi(hp->beta2, t)),
        .eps = (real)hp->eps,
    };
}

static inline void FO_T(schedule_free_adamw_element)(real *w, real g, real *z, real *v,
                                                     FO_T(schedule_free_adamw_coef) c)
{
    *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);
    const real direction = g / (fo_sqrt(c.v_scale * *v) + c.eps);
    FO_T(schedule_free_move)(w, z, direction, c.average);
}
