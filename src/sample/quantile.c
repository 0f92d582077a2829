/* I_x(a,a) = x^a / B(a,a) * sum_n (1-a)_n x^n / (n! (a+n)) (Abramowitz and Stegun 26.5.4, 15.1.1), which
 * converges at least as fast as 2^-n for x <= 1/2; the other half follows from I_x(a,a) = 1 - I_{1-x}(a,a).
 */
#include "sample/quantile.h"

#include <math.h>

/* sum_n (1-a)_n x^n / (n! (a+n)), 0 <= x <= 1/2. */
static double series(double x, double a) {
    double sum = 0.0, term = 1.0;
    for (int n = 0; n < 80; n++) {
        double part = term / (a + n);
        sum += part;
        if (part < 1e-18 * sum) {
            break;
        }
        term *= x * (n + 1 - a) / (n + 1);
    }
    return sum;
}

/* Newton's method in u = x^a, in which the function is nearly a line. */
static double lower_half(double q, double a) {
    double beta = tgamma(a) * tgamma(a) / tgamma(2 * a);
    double limit = pow(0.5, a), u = fmin(q * a * beta, limit);
    for (int i = 0; i < 60; i++) {
        double x = pow(u, 1 / a);
        double error = u * series(x, a) / beta - q;
        double slope = pow(1 - x, a - 1) / (a * beta);
        double next = fmin(fmax(u - error / slope, 0.0), limit);
        if (fabs(next - u) <= 1e-16 * u) {
            return pow(next, 1 / a);
        }
        u = next;
    }
    return pow(u, 1 / a);
}

double bl_beta_quantile(double q, double a) {
    if (!(q > 0)) {
        return 0.0;
    }
    if (q >= 1) {
        return 1.0;
    }
    if (q == 0.5) {
        return 0.5; /* exactly: a half that is rounded afterwards hangs on it */
    }
    return q < 0.5 ? lower_half(q, a) : 1 - lower_half(1 - q, a);
}
