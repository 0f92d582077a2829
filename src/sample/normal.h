/* Box-Muller, eight pairs at a time, in a form that compilers turn into vector code. Inside of the sample
 * room. */
#ifndef BALLAST_SAMPLE_NORMAL_H
#define BALLAST_SAMPLE_NORMAL_H

#define BL_PAIRS 8

/* r = sqrt(-2 ln u), u in [2^-40, 1]; angle = 2 pi turn, turn in [0, 1]: r cos(angle) and r sin(angle), to
 * 1e-12. The same bits on every CPU: only exactly rounded operations, and libm is not asked. */
void bl_box_muller(const double u[BL_PAIRS], const double turn[BL_PAIRS], float cosines[BL_PAIRS],
                   float sines[BL_PAIRS]);

#endif
