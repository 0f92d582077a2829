/* Latents of a batch: from noise or a picture, through the passes of the sampler, and to a larger size. */
#include "pipeline/job.h"

#include <stdlib.h>
#include <string.h>

static int open_noise(bl_job *j, const bl_schedule *schedule, bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    int result = 0;
    for (int b = 0; b < o->batch && !result; b++) {
        bl_noise_free(&j->noise[b]);
        bl_noise_options no = {.compat = j->r.compat,
                               .rng = j->r.rng,
                               .seed = bl_job_seed(j, j->first_image + b),
                               .seed_delta = (uint64_t)j->r.ensd,
                               .variation_seed = o->variation_seed + (uint64_t)(j->first_image + b),
                               .variation_strength = o->variation_strength,
                               .channels = bl_job_family(j)->latent_channels,
                               .height = j->height,
                               .width = j->width,
                               .use = bl_sampler_noise(j->r.sampler, j->r.compat),
                               .brownian_low = schedule->brownian_low,
                               .brownian_high = schedule->brownian_high};
        result = bl_noise_new(&j->noise[b], &no, err);
    }
    return result;
}

/* Unit noise of picture b: the caller's latents, or the seed's. */
static int start_noise(bl_job *j, float *out, int b, bool given, bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    size_t n = bl_job_floats(j, j->height, j->width);
    int result = bl_noise_start(j->noise[b], out, err); /* also when given: later draws follow it */
    if (!result && given) {
        size_t which = o->latents_batch > 1 ? (size_t)(j->first_image + b) : 0;
        memcpy(out, o->latents + which * n, n * sizeof *out);
    }
    return result;
}

/* Copies the pictures that are enough: from j->x to j->kept, or back. */
static void copy_enough(const bl_job *j, float *to, const float *from) {
    size_t n = bl_job_floats(j, j->height, j->width);
    for (int b = 0; b < j->r.o->batch; b++) {
        if (j->enough[b]) {
            memcpy(to + (size_t)b * n, from + (size_t)b * n, n * sizeof *to);
        }
    }
}

/* A pass of the sampler of which nothing is wanted. */
static int leave_out(bl_job *j, int prologue, bl_error *err) {
    int result = prologue >= 0 ? bl_generation_cut(j->generation, prologue, err) : 0;
    for (int phase = j->now->first; phase <= j->now->last && !result; phase++) {
        result = bl_generation_cut(j->generation, phase, err);
    }
    return result;
}

static int walk(bl_job *j, int prologue, int phase, const bl_schedule *schedule, bool has_latents,
                bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    size_t n = bl_job_floats(j, j->height, j->width);
    float *noise = malloc(n * sizeof *noise);
    int result = noise ? open_noise(j, schedule, err) : bl_fail_memory(err, "noise", n * sizeof *noise);
    for (int b = 0; b < o->batch && !result; b++) {
        float *x = j->x + (size_t)b * n;
        result = start_noise(j, noise, b, o->latents && phase == j->at.denoise, err);
        for (size_t i = 0; i < n && !result; i++) {
            x[i] = (has_latents ? x[i] * (float)schedule->image_scale : 0) +
                   noise[i] * (float)schedule->noise_scale;
        }
    }
    free(noise);
    if (result) {
        return result;
    }
    bool second = schedule == j->r.second;
    bl_denoise_job d = {.generation = j->generation,
                        .request = &j->r,
                        .arch = j->p->arch,
                        .condition = &j->condition,
                        .schedule = schedule,
                        .prologue = prologue,
                        .phase = &j->phase,
                        .last = j->now->last,
                        .batch = o->batch,
                        .height = j->height,
                        .width = j->width,
                        .times = bl_job_times(j, second),
                        .told_height = second ? j->r.hires_told_height : j->r.height,
                        .told_width = second ? j->r.hires_told_width : j->r.width,
                        .noise = j->noise,
                        .step = bl_job_after_step,
                        .payload = j};
    return bl_denoise(j->x, &d, err);
}

int bl_job_denoise(bl_job *j, int prologue, int phase, const bl_schedule *schedule, bool has_latents,
                   bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    size_t bytes = (size_t)o->batch * bl_job_floats(j, j->height, j->width) * sizeof *j->kept;
    bool wanted = false;
    j->now = &j->walk[schedule == j->r.second];
    j->phase = phase;
    for (int b = 0; b < o->batch; b++) {
        wanted = wanted || !j->enough[b];
    }
    if (!wanted) {
        return leave_out(j, prologue, err);
    }
    if (!o->enough) {
        return walk(j, prologue, phase, schedule, has_latents, err);
    }
    j->kept = malloc(bytes);
    if (!j->kept) {
        return bl_fail_memory(err, "latents of pictures that are enough", bytes);
    }
    copy_enough(j, j->kept, j->x);
    int result = walk(j, prologue, phase, schedule, has_latents, err);
    copy_enough(j, j->x, j->kept);
    free(j->kept);
    j->kept = NULL;
    return result;
}

int bl_job_encode_init(bl_job *j, bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    size_t n = bl_job_floats(j, j->height, j->width);
    size_t bytes = (size_t)j->r.width * (size_t)j->r.height * 3;
    uint8_t *rgb = malloc(bytes);
    j->init_latents = malloc(n * sizeof *j->init_latents);
    int result = rgb && j->init_latents ? 0 : bl_fail_memory(err, "the init image", bytes);
    if (!result) {
        result = bl_fit_rgb8(rgb, j->r.height, j->r.width, o->init_rgb, o->init_height, o->init_width,
                             j->r.fit, BL_RESIZE_LANCZOS, err);
    }
    if (!result) {
        result = bl_job_enter(j, "encode", 0, err);
    }
    if (!result) {
        result = bl_encode(j->init_latents, j->generation, j->at.encode_init, j->p->arch, rgb, j->height,
                           j->width, j->side, err);
    }
    free(rgb);
    return result;
}

/* Latents of the batch through pictures: all decoded, resized, then all encoded, as the phases are planned.
 */
static int upscale_pictures(bl_job *j, float *x, bl_error *err) {
    const bl_request *r = &j->r;
    const int scale = bl_job_family(j)->downscale;
    int h = r->hires_height / scale, w = r->hires_width / scale, batch = r->o->batch;
    size_t small = bl_job_floats(j, j->height, j->width);
    size_t large = bl_job_floats(j, h, w);
    size_t pixels = bl_job_pixels(j, h, w);
    uint8_t *before = malloc((size_t)r->width * (size_t)r->height * 3);
    uint8_t *after = malloc((size_t)batch * pixels * 3);
    int result =
        before && after ? 0 : bl_fail_memory(err, "the upscaled pictures", (size_t)batch * pixels * 3);
    for (int b = 0; b < batch && !result; b++) {
        result = bl_decode(before, j->generation, j->at.decode_base, j->p->arch, r, j->x + (size_t)b * small,
                           j->height, j->width, j->side, err);
        double began = bl_generation_now(j->generation);
        if (!result) {
            result = bl_resize_rgb8(after + (size_t)b * pixels * 3, r->hires_height, r->hires_width, before,
                                    r->height, r->width, r->upscaler->filter, err);
        }
        bl_generation_host(j->generation, "upscale", began);
    }
    for (int b = 0; b < batch && !result; b++) {
        result = bl_encode(x + (size_t)b * large, j->generation, j->at.encode_hires, j->p->arch,
                           after + (size_t)b * pixels * 3, h, w, j->side, err);
    }
    free(before);
    free(after);
    return result;
}

int bl_job_upscale(bl_job *j, bl_error *err) {
    const bl_request *r = &j->r;
    const int scale = bl_job_family(j)->downscale;
    int h = r->hires_height / scale, w = r->hires_width / scale, batch = r->o->batch;
    size_t large = bl_job_floats(j, h, w);
    float *x = malloc((size_t)batch * large * sizeof *x);
    int result = x ? bl_job_enter(j, "upscale", 0, err)
                   : bl_fail_memory(err, "the upscaled latents", large * sizeof *x);
    if (!result && r->upscaler->latent) {
        double began = bl_generation_now(j->generation);
        result = bl_interpolate(x, h, w, j->x, batch * bl_job_family(j)->latent_channels, j->height, j->width,
                                r->upscaler->interpolation, err);
        bl_generation_host(j->generation, "upscale", began);
    } else if (!result) {
        result = upscale_pictures(j, x, err);
    }
    if (result) {
        free(x);
        return result;
    }
    free(j->x);
    j->x = x;
    j->height = h;
    j->width = w;
    return 0;
}
