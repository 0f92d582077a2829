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

/* What the caller says to the picture of each latent; 0 where nobody asks. */
static int preview(bl_job *j, int step, const float *denoised) {
    const ballast_generate_options *o = j->r.o;
    size_t pixels = (size_t)j->height * (size_t)j->width;
    double began = bl_generation_now(j->generation);
    uint8_t *rgb = o->preview ? malloc(pixels * 3) : NULL;
    int stop = 0;
    for (int b = 0; rgb && b < o->batch && !stop; b++) {
        bl_latent_preview(rgb, bl_job_family(j), denoised + (size_t)b * bl_job_floats(j, j->height, j->width),
                          j->height, j->width);
        ballast_image image = {.struct_size = sizeof image,
                               .width = j->width,
                               .height = j->height,
                               .rgb = rgb,
                               .seed = bl_job_seed(j, j->first_image + b),
                               .parameters = "",
                               .index = j->first_image + b,
                               .step = step};
        stop = o->preview(o->payload, &image);
    }
    free(rgb);
    if (o->preview) {
        bl_generation_host(j->generation, "preview", began);
    }
    return stop;
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

bl_after_step bl_job_after_step(void *payload, int step, int steps, const float *denoised) {
    bl_job *j = payload;
    j->progress.step = step;
    j->progress.steps = steps;
    if (preview(j, step, denoised) || tell(j)) {
        return BL_STEP_STOP;
    }
    return step < steps && all_enough(j, denoised) ? BL_STEP_ENOUGH : BL_STEP_ON;
}
