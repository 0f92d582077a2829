/* Samplers: they walk latents down a schedule, from noise to picture.
 *
 * Formulas: DDIM (Song et al. 2021), Karras et al. 2022 for Euler and Heun, DPM-Solver (Lu et al. 2022),
 * DPM-Solver++ (Lu et al. 2022) in the forms that k-diffusion gave them (2S ancestral, SDE, 2M, 2M SDE, 3M
 * SDE), UniPC (Zhao et al. 2023), LCM (Luo et al. 2023).
 *
 * Everything runs in sigma space, x = x0 + sigma * noise, on n floats whose shape does not matter here, so
 * that several pictures can go through as one batch. Scalars are double. Steps are written as weighted sums
 * of x and denoised predictions, x' = (s'/s) x + (1 - s'/s) D, never through the derivative (x - D) / s: at
 * zero terminal SNR (sigma 4096 and more) the derivative loses most of a float's digits. */
#ifndef BALLAST_SAMPLE_SAMPLER_H
#define BALLAST_SAMPLE_SAMPLER_H

#include "core/error.h"
#include "sample/schedule.h"

#include <stddef.h>

typedef struct bl_sampler bl_sampler;

/* What the sampler asks for while it runs. Each returns 0; anything else ends the walk with that value, and
 * the callback has written the message. `x` and `denoised` are [n] and valid during the call. */
typedef struct bl_sampler_calls {
    void *payload;
    /* D(x, sigma), the prediction of x0, from UNet input x / sqrt(sigma^2 + 1) and `timestep`, guidance
     * included. epsilon: D = x - sigma * out. v: D = x / (sigma^2 + 1) - out * sigma / sqrt(sigma^2 + 1). */
    int (*denoise)(void *payload, const float *x, double sigma, double timestep, float *denoised,
                   bl_error *err);
    /* Unit noise for the way from `sigma` down to `next`; NULL will do where bl_sampler_noise() says NONE
     * and eta is the sampler's own. */
    int (*noise)(void *payload, double sigma, double next, float *noise, bl_error *err);
    /* After step `step` (0 .. steps - 1; of an adaptive sampler, parts of the way, of which some are passed
     * over), for progress, preview and cancelling (BL_E_CANCELLED); may be NULL. `denoised` is the step's
     * first prediction. */
    int (*step)(void *payload, int step, int steps, const float *x, const float *denoised, bl_error *err);
} bl_sampler_calls;

typedef struct bl_sampler_options {
    double eta; /* share of fresh noise in ancestral and SDE samplers and DDIM, 0 to 1; negative: the
                   sampler's own (1; DDIM 0) */
    int order;  /* UniPC: 1 to 3; 0: that of the compatibility mode (diffusers 2, others 3) */
} bl_sampler_options;

/* Bytes that a walk over n floats needs besides them, where they can be counted. */
size_t bl_sampler_bytes(bl_sampler_id id, size_t n);

/* Allocates all that a walk needs. Owner: the caller; free with bl_sampler_free. A sampler may walk many
 * times, one walk at a time. */
int bl_sampler_new(bl_sampler **out, bl_sampler_id id, size_t n, bl_error *err);

/* Takes x [n] from schedule->sigmas[0] to a picture's latents, in place. `options` may be NULL. Where a
 * schedule ends above 0 in variance-preserving space (DDIM), x is scaled to the latents that a decoder takes.
 * Calls denoise bl_sampler_evaluations(id, schedule->steps) times, or fewer where the sampler adapts. On
 * failure x is somewhere on the way. */
int bl_sampler_run(bl_sampler *sampler, const bl_schedule *schedule, const bl_sampler_options *options,
                   float *x, const bl_sampler_calls *calls, bl_error *err);

void bl_sampler_free(bl_sampler **sampler);

#endif
