/* What comes of a batch: its latents and pictures are handed to the caller, with what made them. */
#include "pipeline/describe.h"
#include "pipeline/job.h"

#include <stdlib.h>

/* What the picture names its model by. Waited for: whether a file has it must not be a race. */
static int wait_for_hash(bl_job *j, const char **digits, bl_error *err) {
    *digits = NULL;
    if (!bl_model_hash_known(j->p->hash)) {
        int result = bl_job_enter(j, "hash", 0, err);
        if (result) {
            return result;
        }
    }
    double began = bl_generation_now(j->generation);
    bool known = bl_model_hash_known(j->p->hash);
    int result = bl_model_hash_wait(digits, j->p->hash, bl_job_poll, j, err);
    if (!known) {
        bl_generation_host(j->generation, "hash", began);
    }
    return result;
}

/* Gives the finished picture to the caller. */
static int show(bl_job *j, const uint8_t *rgb, int index, bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    char *text = NULL;
    const char *hash;
    int width = j->width * bl_job_family(j)->downscale, height = j->height * bl_job_family(j)->downscale;
    int result = wait_for_hash(j, &hash, err);
    if (!result) {
        result = bl_describe(&text, j->p, &j->r, &j->adapters, &j->embeddings, hash, bl_job_seed(j, index),
                             index, width, height, err);
    }
    if (result) {
        return result;
    }
    ballast_image image = {.struct_size = sizeof image,
                           .width = width,
                           .height = height,
                           .rgb = rgb,
                           .seed = bl_job_seed(j, index),
                           .parameters = text,
                           .index = index};
    double began = bl_generation_now(j->generation);
    if (o->image(o->payload, &image)) {
        result = bl_fail(err, BL_E_CANCELLED, "stopped after picture %d", index);
    }
    bl_generation_host(j->generation, "save", began);
    free(text);
    return result;
}

static int hand_latents(const bl_job *j, const float *data, int index, bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    ballast_latents latents = {.struct_size = sizeof latents,
                               .data = data,
                               .channels = bl_job_family(j)->latent_channels,
                               .height = j->height,
                               .width = j->width,
                               .index = index,
                               .seed = bl_job_seed(j, index)};
    return o->save_latents && o->save_latents(o->payload, &latents)
               ? bl_fail(err, BL_E_CANCELLED, "stopped at the latents of picture %d", index)
               : 0;
}

int bl_job_deliver(bl_job *j, bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    size_t n = bl_job_floats(j, j->height, j->width);
    size_t bytes = 3 * bl_job_pixels(j, j->height, j->width);
    uint8_t *rgb = malloc(bytes);
    int result = rgb ? 0 : bl_fail_memory(err, "the picture", bytes);
    for (int b = 0; b < o->batch && !result; b++) {
        int index = j->first_image + b;
        const float *latents = j->x + (size_t)b * n;
        result = hand_latents(j, latents, index, err);
        if (!result) {
            result = bl_job_enter(j, "decode", 0, err);
        }
        if (!result) {
            result = bl_decode(rgb, j->generation, j->at.decode, j->p->arch, &j->r, latents, j->height,
                               j->width, j->side, err);
        }
        if (!result && o->image) {
            result = show(j, rgb, index, err);
        }
    }
    free(rgb);
    return result;
}
