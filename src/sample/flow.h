/* Lists for models trained by flow matching (Lipman et al. 2022), whose x = (1 - sigma) x0 + sigma noise.
 * Their network gives the velocity v = noise - x0, so that x0 = x - sigma v and dx / dsigma = v = (x - x0) /
 * sigma: the same equation as in sigma space, and deterministic samplers walk it by the same formulas.
 *
 * Lists: 1, ..., 1 / n, evenly, shifted towards noise: a / (a + 1 / s - 1), 0 at the end (diffusers'
 * FlowMatchEulerDiscreteScheduler, as its pipelines ask it); or down to the least level of training in place
 * of 1 / n (as it does by itself, ComfyUI's "normal"). Timesteps are 1000 sigma. */
#ifndef BALLAST_SAMPLE_FLOW_H
#define BALLAST_SAMPLE_FLOW_H

#include <stdbool.h>

/* One level above 0, at most 1, shifted by the factor a above. */
double bl_flow_sigma(double level, double shift);

/* sigmas: [steps + 1] descending from 1 to 0. `shift` > 0: the factor a above; Z-Image's is 3. `least`: the
 * level before the 0, above it; 0: 1 / steps. */
void bl_flow_sigmas(double *sigmas, int steps, double shift, double least);

/* The shift for pictures of `tokens`: e^mu, or mu itself where `linear`, with mu on the line from `low` at
 * low_tokens to `high` at high_tokens (diffusers: calculate_shift, time_shift_type). */
double bl_flow_shift_by_size(double tokens, double low, double high, double low_tokens, double high_tokens,
                             bool linear);

/* Flux.2's shift for so many tokens of the picture and steps: e^mu, mu fitted for 10 and for 200 steps and
 * taken from the line between (diffusers, pipeline_flux2: compute_empirical_mu). */
double bl_flow_shift_of(int tokens, int steps);

#endif
