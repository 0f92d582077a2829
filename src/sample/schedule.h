/* From "25 steps, karras" to the list of noise levels that a sampler walks down.
 *
 * Formulas: Karras et al. 2022 (eq. 5) for karras; k-diffusion, ComfyUI and A1111 for the lists that are
 * named after them; diffusers' schedulers for leading, linspace and trailing and for every rounding that they
 * make.
 *
 * What the compatibility mode decides:
 *
 *                    a1111                       comfyui                     diffusers
 *   timestep         fractional                  nearest integer             fractional (Euler, Heun, ...);
 *                                                                            integers (DPM++ 2M, UniPC, DDIM,
 * LCM) start from noise sigma_max * noise           sqrt(1 + sigma_max^2)       Euler-like with linspace,
 * trailing:
 *                                                * noise                     sigma_max; else sqrt(1 +
 * sigma_max^2) from an image    int(strength * steps) + 1   `steps` steps, the last     the last int(strength
 * * steps) of of `steps`                  of int(steps / strength)    `steps` second pass      `steps` steps,
 * the last of  as from an image            as from an image int(steps / strength) last but one     left out
 * for DPM2, DPM2 a,  left out for DPM2, DPM2 a,  kept sigma            DPM++ 3M SDE                UniPC beta
 * quantiles of sigmas         quantiles of timesteps      quantiles of sigmas DDIM             1000 // steps
 * apart from 1  is Euler, on any schedule   steps 1000 // steps down whatever the on; ends on timestep 1
 * spacing is; ends on timestep 0 UniPC            even timesteps; ends on     any schedule; ends on       any
 * schedule; ends on 0 timestep 0                  sigma 0.001
 *
 * A1111's DDIM and UniPC know one list each, which "automatic" takes (and ddim_uniform, sgm_uniform by name);
 * another schedule asked for by name is walked down to 0 as the other samplers do. */
#ifndef BALLAST_SAMPLE_SCHEDULE_H
#define BALLAST_SAMPLE_SCHEDULE_H

#include "core/error.h"
#include "sample/names.h"
#include "sample/sigmas.h"

#define BL_MAX_STEPS 1000

typedef enum bl_start {
    BL_FROM_NOISE = 0,  /* text to image; strength does not count */
    BL_FROM_IMAGE,      /* image to image */
    BL_FROM_SECOND_PASS /* hires: A1111 runs all `steps` steps */
} bl_start;

typedef struct bl_schedule_options {
    bl_compat compat;
    bl_sampler_id sampler;
    bl_schedule_id schedule;
    bl_schedule_id
        spacing; /* diffusers: what karras, exponential, beta are laid over; AUTOMATIC means leading */
    int steps;   /* 1 .. BL_MAX_STEPS, as asked for */
    bl_start start;
    double strength;   /* of images and second passes: 0 < strength <= 1 */
    bool zero_snr;     /* the model was trained with zero terminal SNR */
    bool alpha_to_one; /* diffusers' DDIM: set_alpha_to_one of the scheduler's config; SD's is false */
} bl_schedule_options;

typedef struct bl_schedule {
    bl_compat compat;
    bl_schedule_id schedule; /* what AUTOMATIC became */
    int steps;               /* to run; can differ from what was asked for, see above */
    double *sigmas;          /* [steps + 1] descending; x is at sigmas[i] before step i; the last is 0 */
    double
        *targets; /* [steps] the sigma that step i leads to: sigmas[i + 1] except for DDIM and UniPC's end */
    double *timesteps; /* [steps] as the UNet gets it at sigmas[i] */
    /* The start: x = image_scale * latents + noise_scale * unit noise; without latents just the noise. */
    double image_scale, noise_scale;
    double brownian_low, brownian_high; /* sigmas between which Brownian noise is defined (brownian.h) */
    bl_sigmas table;
} bl_schedule;

/* Makes the list. Owner: the caller; free with bl_schedule_free. BL_E_ARGUMENT for steps or strength out of
 * range (a strength that leaves no step counts), BL_E_UNSUPPORTED for a combination that diffusers does not
 * have. */
int bl_schedule_new(bl_schedule **out, const bl_schedule_options *options, bl_error *err);

void bl_schedule_free(bl_schedule **schedule);

/* The timestep to give to the UNet at a sigma between the steps' own (samplers with two evaluations a step).
 */
double bl_sigma_to_timestep(const bl_schedule *schedule, double sigma);

#endif
