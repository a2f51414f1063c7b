/* Schedule-Free RAdam, of the authors' package schedulefree: schedule_free_adamw.h with
 * a learning rate that is multiplied by R of radam.h instead of warmed up.  As long as
 * R is not defined, the direction has no denominator, and the learning rate is
 * multiplied by 0 (`silent`) or 1.  States: z, v. */
typedef struct {
    FO_T(schedule_free_sgd_coef) average;
    real rectified, beta2, one_minus_beta2, v_scale, eps;
} FO_T(schedule_free_radam_coef);

static inline FO_T(schedule_free_radam_coef)
    FO_T(schedule_free_radam_prepare)(const fo_schedule_free_radam_hp *hp, int64_t t,
                                      double *saved)
{
    const double factor = FO_T(radam_factor)(hp->beta2, t, 4.0);
    const double lr = hp->lr * (factor > 0.0 || hp->silent != 0 ? factor : 1.0);
    return (FO_T(schedule_free_radam_coef)){
        .average = FO_T(schedule_free_average)(lr, hp->beta1, hp->wd, t, hp->t_power,
                                               hp->lr_power, saved),
        .rectified = (real)(factor > 0.0),
        .beta2 = (real)hp->beta2,
        .one_minus_beta2 = (real)(1.0 - hp->beta2),
        .v_scale = (real)(1.0 / fo_one_minus_powi(hp->beta2, t)),
        .eps = (real)hp->eps,
    };
}

static inline void FO_T(schedule_free_radam_element)(real *w, real g, real *z, real *v,
                                                     FO_T(schedule_free_radam_coef) c)
{
    *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);
    const real root = fo_sqrt(c.v_scale * *v) + c.eps;
    FO_T(schedule_free_move)(w, z, g / (c.rectified != 0 ? root : 1), c.average);
}
