/* What the caller is told and asked while a batch is worked on: stages, steps, previews, whether to stop, and
 * which pictures are enough as they are. */
#include "core/clock.h"
#include "pipeline/job.h"

#include <stdlib.h>
#include <string.h>

uint64_t bl_job_seed(const bl_job *j, int index) {
    const ballast_generate_options *o = j->r.o;
    return o->seeds ? o->seeds[index] : o->variation_strength > 0 ? o->seed : o->seed + (uint64_t)index;
}

static int tell(bl_job *j) {
    const ballast_generate_options *o = j->r.o;
    j->progress.struct_size = sizeof j->progress;
    j->progress.seconds = bl_now() - j->stage_began;
    j->progress.load_bytes = j->progress.loaded_bytes = 0;
    if (!j->progress.step && j->generation) {
        bl_generation_loads(j->generation, &j->progress.load_bytes, &j->progress.loaded_bytes);
    }
    int stop = o->progress ? o->progress(o->payload, &j->progress) : 0;
    return stop || bl_stopping(j->p->stop);
}

int bl_job_poll(void *payload) {
    return tell(payload);
}

int bl_job_enter(bl_job *j, const char *stage, int steps, bl_error *err) {
    j->progress =
        (ballast_progress){.stage = stage, .steps = steps, .image = j->first_image, .images = j->r.images};
    j->stage_began = bl_now();
    return tell(j) ? bl_fail(err, BL_E_CANCELLED, "stopped before %s", stage) : 0;
}

/* The picture of a latent as it would be now. */
static int make_preview(uint8_t *rgb, bl_job *j, bool taesd, const float *latents, bl_error *err) {
    if (!taesd) {
        bl_latent_preview(rgb, bl_job_family(j), latents, j->height, j->width);
        return 0;
    }
    bl_request r = j->r;
    r.taesd = true;
    return bl_decode(rgb, j->generation, j->phase, j->p->arch, &r, latents, j->height, j->width, 0, err);
}

/* The pictures of the batch. *stop: what the caller says to them. */
static int show_previews(int *stop, bl_job *j, int step, bool taesd, const float *denoised, bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    const int scale = taesd ? bl_job_family(j)->downscale : bl_family_packed(bl_job_family(j));
    size_t bytes = 3 * (size_t)(scale * scale) * (size_t)j->height * (size_t)j->width;
    uint8_t *rgb = malloc(bytes);
    int result = rgb ? 0 : bl_fail_memory(err, "a preview", bytes);
    for (int b = 0; b < o->batch && !result && !*stop; b++) {
        result =
            make_preview(rgb, j, taesd, denoised + (size_t)b * bl_job_floats(j, j->height, j->width), err);
        ballast_image image = {.struct_size = sizeof image,
                               .width = scale * j->width,
                               .height = scale * j->height,
                               .rgb = rgb,
                               .seed = bl_job_seed(j, j->first_image + b),
                               .parameters = "",
                               .index = j->first_image + b,
                               .step = step};
        *stop = result ? 0 : o->preview(o->payload, &image);
    }
    free(rgb);
    return result;
}

/* What follows a step, if a preview does. Each of TAESD's phases has its turn, whoever looks. */
static int preview(int *stop, bl_job *j, int step, int steps, const float *denoised, bl_error *err) {
    const int every = j->now->every ? j->now->every : (int)j->r.o->preview_every;
    *stop = 0;
    const bool by_taesd = j->r.previews == BL_PREVIEW_TAESD && !bl_job_cannot_preview(j);
    if (!j->r.o->preview || j->r.previews == BL_PREVIEW_NONE || (by_taesd && !j->now->every) ||
        step % every || (j->now->every && step == steps)) {
        return 0;
    }
    if (!j->now->every) {
        double began = bl_generation_now(j->generation);
        int result = show_previews(stop, j, step, false, denoised, err);
        bl_generation_host(j->generation, "preview", began);
        return result;
    }
    j->phase++;
    int result = show_previews(stop, j, step, true, denoised, err);
    j->phase++;
    return result;
}

/* Keeps the pictures that are enough as they are in `denoised`. Whether all of the batch are. */
static bool all_enough(bl_job *j, const float *denoised) {
    const ballast_generate_options *o = j->r.o;
    size_t n = bl_job_floats(j, j->height, j->width);
    bool all = o->enough != NULL;
    for (int b = 0; o->enough && b < o->batch; b++) {
        if (!j->enough[b] && o->enough(o->payload, j->first_image + b)) {
            j->enough[b] = true;
            memcpy(j->kept + (size_t)b * n, denoised + (size_t)b * n, n * sizeof *denoised);
        }
        all = all && j->enough[b];
    }
    return all;
}

bool bl_job_unwanted(const bl_job *j) {
    const ballast_generate_options *o = j->r.o;
    int b = 0;
    while (o->enough && b < o->batch && o->enough(o->payload, j->first_image + b)) {
        b++;
    }
    return b == o->batch;
}

int bl_job_after_step(bl_after_step *after, void *payload, int step, int steps, const float *denoised,
                      bl_error *err) {
    bl_job *j = payload;
    int stop;
    j->progress.step = step;
    j->progress.steps = steps;
    int result = preview(&stop, j, step, steps, denoised, err);
    if (!result) {
        *after = stop || tell(j)                           ? BL_STEP_STOP
                 : step < steps && all_enough(j, denoised) ? BL_STEP_ENOUGH
                                                           : BL_STEP_ON;
    }
    return result;
}
