/* Schedule-Free SGD, Defazio et al. 2024, Algorithm 1, with the warm-up and weights of
 * the authors' code.  The parameter is y, at which gradients are taken.  The point x,
 * which is evaluated, is an average of the points z and is not stored: y = (1 - beta) z
 * + beta x.  With the weight k of the newest z in the average, and the direction u,
 *     x' = (1 - k) x + k z',  z' = z - lr u
 * becomes y' = y - k (y - z) - lr (1 - beta (1 - k)) u.
 * State: z.  Saved scalars: the sum of the weights t^r lr_max^p, and lr_max, the
 * largest learning rate so far.  The functions schedule_free_* are for the other
 * Schedule-Free rules too. */
typedef struct {
    real k, y_rate, z_rate, decay;
} FO_T(schedule_free_sgd_coef);

/* The learning rate of step t, which grows linearly in the first `steps` steps. */
static inline double FO_T(schedule_free_rate)(double lr, int64_t t, double steps)
{
    return (double)t < steps ? lr * ((double)t / steps) : lr;
}

static inline FO_T(schedule_free_sgd_coef)
    FO_T(schedule_free_average)(double lr, double beta, double decay, int64_t t,
                                double t_power, double lr_power, double *saved)
{
    saved[1] = lr > saved[1] ? lr : saved[1];
    const double weight = fo_pow((double)t, t_power) * fo_pow(saved[1], lr_power);
    saved[0] += weight;
    const double k = saved[0] > 0.0 ? weight / saved[0] : 0.0;
    return (FO_T(schedule_free_sgd_coef)){
        .k = (real)k,
        .y_rate = (real)(lr * (1.0 - beta * (1.0 - k))),
        .z_rate = (real)lr,
        .decay = (real)decay,
    };
}

/* A decay of 0 adds nothing, rather than 0 * y, which is NaN if y is infinite. */
static inline void FO_T(schedule_free_move)(real *y, real *z, real direction,
                                            FO_T(schedule_free_sgd_coef) c)
{
    const real u = c.decay != 0 ? direction + c.decay * *y : direction;
    *y -= c.k * (*y - *z) + c.y_rate * u;
    *z -= c.z_rate * u;
}

static inline FO_T(schedule_free_sgd_coef)
    FO_T(schedule_free_sgd_prepare)(const fo_schedule_free_sgd_hp *hp, int64_t t,
                                    double *saved)
{
    const double lr = FO_T(schedule_free_rate)(hp->lr, t, hp->warmup);
    return FO_T(schedule_free_average)(lr, hp->beta, 0.0, t, hp->t_power, hp->lr_power,
                                       saved);
}

static inline void FO_T(schedule_free_sgd_element)(real *w, real g, real *z,
                                                   FO_T(schedule_free_sgd_coef) c)
{
    FO_T(schedule_free_move)(w, z, g, c);
}
