/* A Brownian path at 1024 x 1024 takes a million normals a step; libm's log, sin and cos, one number at a
 * time, would cost a quarter of a second there. */
#include "sample/normal.h"

#include <math.h>
#include <stdint.h>

typedef union number {
    double d;
    uint64_t u;
} number;

#define ROOT_HALF_BITS 0x3fe6a09e667f3bcdu /* of sqrt(1/2) */
#define BIAS 64u                           /* keeps exponents of small numbers positive */
#define TWO_52 0x1p52
#define TWO_52_BITS 0x4330000000000000u
#define ROUNDER 0x1.8p52 /* adding it leaves an integer in the low bits */

/* ln x = e ln 2 + ln m with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh(s), s = (m - 1) / (m + 1). */
static inline double logarithm(double x) {
    number v = {.d = x}, e, m;
    uint64_t exponent = (v.u - ROOT_HALF_BITS + ((uint64_t)BIAS << 52)) >> 52;
    m.u = v.u - (exponent << 52) + ((uint64_t)BIAS << 52);
    e.u = exponent | TWO_52_BITS;
    double s = (m.d - 1) / (m.d + 1), q = s * s;
    double tail =
        q *
        (1. / 3 + q * (1. / 5 + q * (1. / 7 + q * (1. / 9 + q * (1. / 11 + q * (1. / 13 + q * (1. / 15)))))));
    return (e.d - TWO_52 - BIAS) * 0.69314718055994530942 + 2 * (s + s * tail);
}

void bl_box_muller(const double u[BL_PAIRS], const double turn[BL_PAIRS], float cosines[BL_PAIRS],
                   float sines[BL_PAIRS]) {
    double r[BL_PAIRS], c[BL_PAIRS], s[BL_PAIRS];
    for (int j = 0; j < BL_PAIRS; j++) {
        r[j] = sqrt(-2 * logarithm(u[j]));
    }
    for (int j = 0; j < BL_PAIRS; j++) {
        /* The nearest quarter turn, and what is left of it: an angle within a quarter of pi. */
        number quarter = {.d = turn[j] * 4 + ROUNDER}, sine, cosine, a, b;
        double x = (turn[j] - (quarter.d - ROUNDER) * 0.25) * 6.283185307179586477, q = x * x;
        sine.d =
            x + x * q *
                    (-1. / 6 +
                     q * (1. / 120 + q * (-1. / 5040 + q * (1. / 362880 +
                                                            q * (-1. / 39916800 + q * (1. / 6227020800.))))));
        cosine.d =
            1 + q * (-1. / 2 +
                     q * (1. / 24 +
                          q * (-1. / 720 + q * (1. / 40320 + q * (-1. / 3628800 + q * (1. / 479001600.))))));
        uint64_t odd = 0 - (quarter.u & 1), flip = (sine.u ^ cosine.u) & odd;
        a.u = cosine.u ^ flip ^ (((quarter.u + 1) & 2) << 62);
        b.u = sine.u ^ flip ^ ((quarter.u & 2) << 62);
        c[j] = a.d;
        s[j] = b.d;
    }
    for (int j = 0; j < BL_PAIRS; j++) {
        cosines[j] = (float)(r[j] * c[j]);
        sines[j] = (float)(r[j] * s[j]);
    }
}
