/* A Brownian path in sigma, fixed by its seed alone: the noise of the SDE samplers does not depend on the
 * order in which, or the steps at which, it is asked for, so that more steps give the same picture finer.
 *
 * The path is that of torchsde's BrownianTree with the seeds of numpy's SeedSequence, which A1111 and ComfyUI
 * use through k-diffusion's BrownianTreeNoiseSampler: a tree of halved intervals whose ends are rounded to 6
 * decimals; the increment of a left half is the bridge between its parent's ends. With the same rng kind it
 * gives their values for the same sigmas, to float's roundings; but the path is so rough that a sigma which
 * differs in the sixth decimal, as theirs in float may from ours in double, moves it by 1e-3. */
#ifndef BALLAST_SAMPLE_BROWNIAN_H
#define BALLAST_SAMPLE_BROWNIAN_H

#include "core/error.h"
#include "sample/rng.h"

#include <stddef.h>
#include <stdint.h>

typedef struct bl_brownian bl_brownian;

/* A path of n values over [low, high] (bl_schedule's brownian_low and brownian_high). Owner: the caller; free
 * with bl_brownian_free. Holds 9 n floats. */
int bl_brownian_new(bl_brownian **out, bl_rng_kind kind, uint64_t seed, size_t n, double low, double high,
                    bl_error *err);

/* Unit noise of the way from sigma down to next: (W(next) - W(sigma)) / sqrt(sigma - next), turned as
 * k-diffusion turns it. Sigmas are held to [low, high]; out [n] is 0 when nothing lies between them. */
void bl_brownian_noise(bl_brownian *b, double sigma, double next, float *out);

void bl_brownian_free(bl_brownian **b);

#endif
