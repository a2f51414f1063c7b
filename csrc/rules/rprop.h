/* Rprop, Riedmiller & Braun 1993, in the form iRprop- of Igel & Huesken 2003.  States:
 * the gradient before, which is 0 after a change of sign, and the size of the step,
 * which is 0 until the first step and then lr.  Later learning rates have no effect.
 * Signs are multiplied, because the product of two gradients may underflow. */
typedef struct {
    real first, eta_minus, eta_plus, least, most;
    int limit_unchanged;
} FO_T(rprop_coef);

static inline FO_T(rprop_coef)
    FO_T(rprop_prepare)(const fo_rprop_hp *hp, int64_t t, double *saved)
{
    (void)t, (void)saved;
    return (FO_T(rprop_coef)){
        .first = (real)hp->lr,
        .eta_minus = (real)hp->eta_minus,
        .eta_plus = (real)hp->eta_plus,
        .least = (real)hp->least_step,
        .most = (real)hp->most_step,
        .limit_unchanged = hp->limit_unchanged != 0,
    };
}

static inline void FO_T(rprop_element)(real *w, real g, real *before, real *size,
                                       FO_T(rprop_coef) c)
{
    const real same = fo_sign(g) * fo_sign(*before);
    const real old = *size == 0 ? c.first : *size;
    const real scaled = old * (same > 0 ? c.eta_plus : (same < 0 ? c.eta_minus : 1));
    const real enough = scaled < c.least ? c.least : scaled;
    const real limited = enough > c.most ? c.most : enough;

    *size = same == 0 && !c.limit_unchanged ? old : limited;
    *before = same < 0 ? 0 : g;
    *w -= *size * fo_sign(*before);
}
