/* The denoiser with guidance, and the sampler's loop over it. */
#ifndef BALLAST_PIPELINE_DENOISE_H
#define BALLAST_PIPELINE_DENOISE_H

#include "pipeline/condition.h"
#include "pipeline/generation.h"
#include "pipeline/request.h"
#include "sample/noise.h"

/* What is to come after a step: the next one; nothing, BL_E_CANCELLED; nothing, and it is well so. */
typedef enum bl_after_step { BL_STEP_ON, BL_STEP_STOP, BL_STEP_ENOUGH } bl_after_step;

/* After each step: latents as they would be if the picture were finished now, [batch, c, h, w]. 0, or an
 * error.
 */
typedef int bl_step_fn(bl_after_step *after, void *payload, int step, int steps, const float *denoised,
                       bl_error *err);

typedef struct bl_denoise_job {
    bl_generation *generation;
    const bl_request *request;
    const bl_architecture *arch;
    const bl_condition *condition;
    const bl_schedule *schedule;
    int prologue;                /* -1: the graph is whole, or what one kept is still there */
    const int *phase;            /* that is at work: `step` may go on to another one */
    int last;                    /* of the walk: after BL_STEP_ENOUGH all to this one are ended */
    int batch, height, width;    /* of the latents */
    int told_height, told_width; /* of the picture, as SDXL is told it */
    int times;                   /* as in bl_shape_key */
    bl_noise **noise;            /* [batch], one sequence a picture; moves on */
    bl_step_fn *step;
    void *payload;
} bl_denoise_job;

/* Takes x [batch, latent channels, height, width] from the schedule's first sigma to final latents, in place;
 * after BL_STEP_ENOUGH it is somewhere on the way, and the phase has ended. */
int bl_denoise(float *x, const bl_denoise_job *job, bl_error *err);

#endif
