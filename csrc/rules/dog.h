/* DoG, Ivgi, Hinder & Carmon 2023: gradient descent whose learning rate is lr rbar /
 * sqrt(G).  rbar is the largest distance so far from the initial parameters, at first
 * reps_rel (1 + |w0|); G is the sum of squared gradient norms, plus eps.  The norms
 * are over all tensors.  State: the initial parameter w0, which is only read.  Saved
 * scalars: rbar, G (0 before the first step). */
typedef struct {
    real rate;
    int is_first;
} FO_T(dog_coef);

static inline FO_T(dog_coef)
    FO_T(dog_prepare)(const fo_dog_hp *hp, int64_t t, double *saved)
{
    (void)hp, (void)t;
    return (FO_T(dog_coef)){0, saved[1] == 0.0};
}

static inline void FO_T(dog_terms)(real w, real kept, real g, real w0, FO_T(dog_coef) c,
                                   double *terms)
{
    (void)kept;
    const double distance = c.is_first ? (double)w : (double)w - (double)w0;
    terms[0] = distance * distance;
    terms[1] = (double)g * (double)g;
}

static inline double FO_T(dog_finish)(const double *sums, int64_t size,
                                      const fo_dog_hp *hp, double *saved,
                                      FO_T(dog_coef) * c)
{
    (void)size;
    const double distance = sqrt(sums[0]);
    if (c->is_first) {
        saved[0] = hp->reps_rel * (1.0 + distance);
        saved[1] = hp->eps;
    }
    saved[0] = c->is_first || distance <= saved[0] ? saved[0] : distance;
    saved[1] += sums[1];
    const double lr = saved[1] == 0.0 ? 0.0 : hp->lr * saved[0] / sqrt(saved[1]);
    c->rate = (real)lr;
    return lr;
}

static inline void FO_T(dog_element)(real *w, real g, real *w0, FO_T(dog_coef) c)
{
    (void)w0;
    *w -= c.rate * g;
}
