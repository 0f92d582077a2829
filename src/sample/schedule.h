/* From "25 steps, karras" to the list of noise levels that a sampler walks down.
 *
 * Formulas: Karras et al. 2022 (eq. 5) for karras; k-diffusion, ComfyUI and A1111 for the lists that are
 * named after them; diffusers' schedulers for leading, linspace and trailing and for every rounding that
 * they make.
 *
 * What the compatibility mode decides (s the strength, n the steps asked for):
 *
 *               a1111                  comfyui                diffusers
 *   timestep    fractional; of LCM     nearest integer        integer in DPM++ multistep, UniPC, DDIM and
 *               whole                                         LCM; else fractional
 *   start       sigma * noise          sqrt(sigma^2 + 1)      sqrt(sigma^2 + 1) * noise; Euler and its
 *                                      * noise                like with linspace, trailing: sigma * noise
 *   from image  the last int(s n) + 1  the last n of a list   the last int(s n) of n
 *               of n                   for int(n / s)
 *   2nd pass    the last n of a list   the same               the same
 *               for int(n / s)
 *   smallest    DPM2, DPM2 a,          DPM2, DPM2 a, UniPC    kept by all
 *   left out    DPM++ 3M SDE
 *   beta        quantiles of sigmas    of timesteps           of sigmas
 *   KL optimal  to 0 for the last of       to the smallest        none
 *               n + 1 angles
 *   PLMS, DPM   as k-diffusion         the same               none
 *   fast, DPM
 *   adaptive,
 *   Restart
 *   TCD         of the list            the same               50 levels; ends on timestep 0
 *   DDIM, PLMS  every 1000 // n from   Euler                  down by 1000 // n, whatever the spacing is;
 *               1 on; ends on 1                               ends on timestep 0
 *   LCM         lists over the 50      lists over all         50 levels; boundary scalings
 *               levels 19, 39, ...     levels; x' = D
 *               999; boundary
 *               scalings
 *   UniPC       even timesteps; ends   ends on sigma 0.001    ends on sigma 0
 *               on timestep 0
 *
 * Of models trained by flow matching, in all three: the list of flow.h, or ComfyUI's "simple", which reads it
 * off 1000 levels; from noise x = noise, from an image x = (1 - sigma) x0 + sigma noise; samplers that draw
 * no noise and walk no timesteps. diffusers leaves int(n - s n) steps out.
 *
 * A1111's DDIM and UniPC know one list each, which "automatic" takes (and ddim_uniform, sgm_uniform by name);
 * another schedule asked for by name is walked down to 0 as the other samplers do. */
#ifndef BALLAST_SAMPLE_SCHEDULE_H
#define BALLAST_SAMPLE_SCHEDULE_H

#include "core/error.h"
#include "sample/names.h"
#include "sample/sigmas.h"

#define BL_MAX_STEPS 1000

typedef enum bl_schedule_start {
    BL_FROM_NOISE = 0,  /* text to image; strength does not count */
    BL_FROM_IMAGE,      /* image to image */
    BL_FROM_SECOND_PASS /* hires: A1111 runs all `steps` steps */
} bl_schedule_start;

typedef struct bl_schedule_options {
    bl_compat compat;
    bl_sampler_id sampler;
    bl_schedule_id schedule;
    bl_schedule_id spacing; /* diffusers: what karras, ... are laid over; AUTOMATIC means leading */
    int steps;              /* 1 .. BL_MAX_STEPS, as asked for */
    bl_schedule_start start;
    double strength;       /* of images and second passes: 0 < strength <= 1 */
    bool zero_snr;         /* the model was trained with zero terminal SNR */
    const double *aligned; /* the model's Align Your Steps (curves.h), or NULL */
    bool alpha_to_one;     /* diffusers' DDIM: set_alpha_to_one of the scheduler's config; SD's is false */
    double flow_shift; /* above 0: a model trained by flow matching, whose list is shifted by it (flow.h) */
    double flow_least; /* its least level, before that; 0: 1 / steps */
} bl_schedule_options;

typedef struct bl_schedule {
    bl_compat compat;
    bl_schedule_id schedule; /* what AUTOMATIC became */
    int steps;               /* to run; can differ from what was asked for, see above */
    double *sigmas;          /* [steps + 1] descending; x is at sigmas[i] before step i; the last is 0 */
    double *targets;         /* [steps] what step i leads to: sigmas[i + 1], but for DDIM and UniPC's end */
    double *timesteps;       /* [steps] as the UNet gets it at sigmas[i] */
    /* The start: x = image_scale * latents + noise_scale * unit noise; without latents just the noise. */
    double image_scale, noise_scale;
    double brownian_low, brownian_high; /* sigmas between which Brownian noise is defined (brownian.h) */
    bool boundary_scaling;              /* LCM's denoiser as it was distilled: see bl_sample_lcm */
    bool flow;                          /* of flow matching: the table is not used */
    bl_sigmas table;
} bl_schedule;

/* Makes the list. Owner: the caller; free with bl_schedule_free. BL_E_ARGUMENT for steps or strength out of
 * range (a strength that leaves no step counts), BL_E_UNSUPPORTED for a combination that diffusers does not
 * have, and for samplers and schedules that flow matching does not. */
int bl_schedule_new(bl_schedule **out, const bl_schedule_options *options, bl_error *err);

void bl_schedule_free(bl_schedule **schedule);

/* The timestep to give to the UNet at a sigma between the steps' own (samplers with two evaluations a step).
 */
double bl_sigma_to_timestep(const bl_schedule *schedule, double sigma);

#endif
