/* Quantiles of the symmetric beta distribution, which the "beta" schedules are made of. */
#ifndef BALLAST_SAMPLE_QUANTILE_H
#define BALLAST_SAMPLE_QUANTILE_H

/* x in [0, 1] with I_x(a, a) = q: the inverse of the regularised incomplete beta function, to about 1e-14
 * relative. q is held to [0, 1]; 0 < a <= 1. */
double bl_beta_quantile(double q, double a);

#endif
