/* Defines `real` as float or double.  Included with FO_BITS 32 or 64, repeatedly, by
 * files that are compiled for both precisions.  FO_T(name) appends the precision to a
 * name: adam_element_f32, adam_element_f64. */
#if defined(__i386__) && !defined(__SSE2_MATH__)
#error \
    "x87 rounds to more digits than float and double: compile with -msse2 -mfpmath=sse"
#endif
#undef real
#undef FO_T
#undef fo_sqrt
#undef fo_abs
#undef fo_max
#undef fo_smaller
#undef fo_sign

#if FO_BITS == 32
#define real float
#define FO_T(name) name##_f32
#define fo_sqrt sqrtf
#define fo_abs fabsf
#else
#define real double
#define FO_T(name) name##_f64
#define fo_sqrt sqrt
#define fo_abs fabs
#endif
#define fo_max FO_T(fo_max)
#define fo_smaller FO_T(fo_smaller)
#define fo_sign FO_T(fo_sign)

/* The larger of a and b, NaN if either is NaN (fmax ignores NaN and does not
 * vectorise). */
static inline real fo_max(real a, real b)
{
    return a > b ? a : (b >= a ? b : a + b);
}

/* The smaller of a and b, NaN if either is NaN. */
static inline real fo_smaller(real a, real b)
{
    return a < b ? a : (b <= a ? b : a + b);
}

/* 1, -1 or 0; NaN for NaN. */
static inline real fo_sign(real x)
{
    return x > 0 ? 1 : (x < 0 ? -1 : x);
}
