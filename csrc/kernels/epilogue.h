/* What is applied to an element after its rule: proximal weight decay, the proximal
 * operator of an L1 penalty (soft thresholding), and bounds, in this order.  NaN stays
 * NaN.  Included by kernels.inc once per precision. */
typedef struct {
    real divisor, threshold, low, high;
} FO_T(epilogue_coef);

static inline FO_T(epilogue_coef)
    FO_T(epilogue_prepare)(const fo_group *group, double lr)
{
    const double decay =
        group->decay == FO_DECAY_PROXIMAL ? lr * group->weight_decay : 0.0;
    return (FO_T(epilogue_coef)){
        .divisor = (real)(1.0 + decay),
        .threshold = (real)(lr * group->l1),
        .low = group->is_bounded ? (real)group->low : -INFINITY,
        .high = group->is_bounded ? (real)group->high : INFINITY,
    };
}

static inline real FO_T(epilogue)(real w, FO_T(epilogue_coef) c)
{
    const real x = w / c.divisor;
    const real nearer = x < 0 ? x + c.threshold : x - c.threshold;
    const real soft = fo_abs(x) <= c.threshold ? 0 : nearer;
    const real above = soft < c.low ? c.low : soft;
    return above > c.high ? c.high : above;
}
