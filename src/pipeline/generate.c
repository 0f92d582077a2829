#include "pipeline/generate.h"

#include "core/clock.h"
#include "pipeline/condition.h"
#include "pipeline/denoise.h"
#include "pipeline/describe.h"
#include "pipeline/host_bytes.h"
#include "pipeline/job.h"
#include "pipeline/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As A1111 counts: each picture has the next seed, or with variation the same seed and the next variation. */
static uint64_t seed_of(const bl_job *j, int index) {
    const ballast_generate_options *o = j->r.o;
    return o->seeds ? o->seeds[index] : o->variation_strength > 0 ? o->seed : o->seed + (uint64_t)index;
}

/* ---- telling */

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

static int poll_cancel(void *payload) {
    return tell(payload);
}

/* Of how many its progress is told, until the sampler itself says. */
static int steps_to_tell(const bl_request *r, const bl_schedule *s) {
    return bl_sampler_adapts(r->sampler) ? BL_ADAPTIVE_PARTS : s->steps;
}

static int enter(bl_job *j, const char *stage, int steps, bl_error *err) {
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
                               .seed = seed_of(j, j->first_image + b),
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

/* Whether nobody wants the batch that would begin now. */
static bool is_unwanted(const bl_job *j) {
    const ballast_generate_options *o = j->r.o;
    int b = 0;
    while (o->enough && b < o->batch && o->enough(o->payload, j->first_image + b)) {
        b++;
    }
    return b == o->batch;
}

static bl_after_step after_step(void *payload, int step, int steps, const float *denoised) {
    bl_job *j = payload;
    j->progress.step = step;
    j->progress.steps = steps;
    if (preview(j, step, denoised) || tell(j)) {
        return BL_STEP_STOP;
    }
    return step < steps && all_enough(j, denoised) ? BL_STEP_ENOUGH : BL_STEP_ON;
}

/* ---- the pieces of a batch */

static int open_noise(bl_job *j, const bl_schedule *schedule, bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    int result = 0;
    for (int b = 0; b < o->batch && !result; b++) {
        bl_noise_free(&j->noise[b]);
        bl_noise_options no = {.compat = j->r.compat,
                               .rng = j->r.rng,
                               .seed = seed_of(j, j->first_image + b),
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
static int leave_out(bl_job *j, int prologue, int phase, bl_error *err) {
    int result = prologue >= 0 ? bl_generation_cut(j->generation, prologue, err) : 0;
    return result ? result : bl_generation_cut(j->generation, phase, err);
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
                        .phase = phase,
                        .batch = o->batch,
                        .height = j->height,
                        .width = j->width,
                        .told_height = second ? j->r.hires_told_height : j->r.height,
                        .told_width = second ? j->r.hires_told_width : j->r.width,
                        .noise = j->noise,
                        .step = after_step,
                        .payload = j};
    return bl_denoise(j->x, &d, err);
}

/* One pass of the sampler. j->x holds the latents to start from if `has_latents`, and the result afterwards.
 */
static int denoise(bl_job *j, int prologue, int phase, const bl_schedule *schedule, bool has_latents,
                   bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    size_t bytes = (size_t)o->batch * bl_job_floats(j, j->height, j->width) * sizeof *j->kept;
    bool wanted = false;
    for (int b = 0; b < o->batch; b++) {
        wanted = wanted || !j->enough[b];
    }
    if (!wanted) {
        return leave_out(j, prologue, phase, err);
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

static int encode_init(bl_job *j, bl_error *err) {
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
        result = enter(j, "encode", 0, err);
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

/* Replaces j->x by larger latents: interpolated, or through pictures. */
static int upscale(bl_job *j, bl_error *err) {
    const bl_request *r = &j->r;
    const int scale = bl_job_family(j)->downscale;
    int h = r->hires_height / scale, w = r->hires_width / scale, batch = r->o->batch;
    size_t large = bl_job_floats(j, h, w);
    float *x = malloc((size_t)batch * large * sizeof *x);
    int result =
        x ? enter(j, "upscale", 0, err) : bl_fail_memory(err, "the upscaled latents", large * sizeof *x);
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

/* What the picture names its model by. Waited for: whether a file has it must not be a race. */
static int wait_for_hash(bl_job *j, const char **digits, bl_error *err) {
    *digits = NULL;
    if (!bl_model_hash_known(j->p->hash)) {
        int result = enter(j, "hash", 0, err);
        if (result) {
            return result;
        }
    }
    double began = bl_generation_now(j->generation);
    bool known = bl_model_hash_known(j->p->hash);
    int result = bl_model_hash_wait(digits, j->p->hash, poll_cancel, j, err);
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
        result =
            bl_describe(&text, j->p, &j->r, &j->adapters, hash, seed_of(j, index), index, width, height, err);
    }
    if (result) {
        return result;
    }
    ballast_image image = {.struct_size = sizeof image,
                           .width = width,
                           .height = height,
                           .rgb = rgb,
                           .seed = seed_of(j, index),
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
                               .seed = seed_of(j, index)};
    return o->save_latents && o->save_latents(o->payload, &latents)
               ? bl_fail(err, BL_E_CANCELLED, "stopped at the latents of picture %d", index)
               : 0;
}

static int deliver(bl_job *j, bl_error *err) {
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
            result = enter(j, "decode", 0, err);
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

/* ---- a batch */

static int run_batch(bl_job *j, bl_error *err) {
    const bl_request *r = &j->r;
    j->height = r->height / bl_job_family(j)->downscale;
    j->width = r->width / bl_job_family(j)->downscale;
    size_t n = bl_job_floats(j, j->height, j->width);
    int result = 0;
    if (!j->condition.context) {
        result = enter(j, "prompt", 0, err);
        if (!result) {
            result = bl_condition_encode(&j->condition, j->generation, j->p->arch, err);
        }
    }
    if (!result && j->at.encode_init >= 0) {
        result = encode_init(j, err);
    }
    free(j->x);
    j->x = calloc((size_t)r->o->batch * n, sizeof *j->x);
    if (!result && !j->x) {
        result = bl_fail_memory(err, "the latents", n * sizeof *j->x);
    }
    for (int b = 0; b < r->o->batch && !result && j->init_latents; b++) {
        memcpy(j->x + (size_t)b * n, j->init_latents, n * sizeof *j->x);
    }
    if (!result) {
        result = enter(j, "denoise", steps_to_tell(r, r->base), err);
    }
    if (!result) {
        result = denoise(j, j->at.prologue, j->at.denoise, r->base, j->init_latents != NULL, err);
    }
    if (!result && r->second) {
        result = upscale(j, err);
        if (!result) {
            result = enter(j, "hires", steps_to_tell(r, r->second), err);
        }
        if (!result) {
            result = denoise(j, j->at.prologue_hires, j->at.denoise_hires, r->second, true, err);
        }
    }
    return result ? result : deliver(j, err);
}

static int end(bl_job *j, bool finished, bl_error *err) {
    return j->generation ? bl_generation_end(j->generation, finished, err) : 0;
}

static const bl_device_caps *caps_of(const bl_pipeline *p) {
    return bl_memory_caps(bl_modules_given(p->modules)->memory);
}

/* One batch: planned, run, told. */
static int generate_batch(bl_job *j, bl_placement *placement, bl_report *report, bl_trace *trace, int number,
                          bl_error *err) {
    const ballast_generate_options *o = j->r.o;
    bl_told told;
    placement->repeats = number + 1 < o->count;
    int result = bl_job_declare(j, placement, err);
    if (!result && !placement->repeats) {
        result = bl_job_expect(j, placement, err);
    }
    if (!result) {
        result =
            bl_job_mention_tiles(j, bl_generation_start(j->generation, placement, poll_cancel, j, err), err);
    }
    if (!result && !number) {
        bl_job_tell(j, placement);
    }
    if (!result) {
        result = run_batch(j, err);
    }
    int ended = end(j, !result, err);
    if (result || ended) {
        return result ? result : ended;
    }
    report->images += o->batch;
    /* one hint a request: it would be the same after every batch */
    bl_tell_wish wish = {.hint = o->hints && !placement->repeats,
                         .again = o->count > 1 || j->p->again,
                         .both = o->verbose != 0};
    bl_tell(&told, j->generation, wish);
    if (o->trace_path) {
        result = bl_tell_trace(trace, j->generation, o->trace_path, j->first_image, o->batch, err);
    }
    return result ? result : bl_report_add(report, j->generation, &told, err);
}

int bl_generate(json_t **report, const bl_pipeline *p, const ballast_generate_options *o, bl_error *err) {
    bl_job j = {.p = p};
    bl_placement placement;
    bl_report r;
    bl_trace trace = {0};
    int result = bl_report_begin(&r, report != NULL, err);
    if (!result) {
        result = bl_job_open(&j, p, o, err);
    }
    if (!result) {
        result = bl_placement_parse(&placement, o, caps_of(p), err);
    }
    if (!result) {
        placement.host_bytes =
            bl_host_bytes(&j.r, &j.condition, p->arch->family, placement.tiled != BL_TILED_OFF);
    }
    for (int i = 0; !result && i < o->count; i++) {
        j.first_image = i * o->batch;
        memset(j.enough, 0, sizeof j.enough);
        result = is_unwanted(&j) ? 0 : generate_batch(&j, &placement, &r, &trace, i, err);
    }
    result = bl_trace_close(&trace, result, err);
    if (!result && report) {
        result = bl_report_end(report, &r, p, &j.r, &j.adapters, err);
    }
    bl_report_clear(&r);
    bl_job_close(&j);
    return result;
}

int bl_generate_plan(json_t **plan, char **text, const bl_pipeline *p, const ballast_generate_options *o,
                     const bl_plan_wish *wish, bl_error *err) {
    *plan = NULL;
    *text = NULL;
    bl_job j;
    bl_placement placement;
    int result = bl_job_open(&j, p, o, err);
    if (!result) {
        result = bl_placement_parse(&placement, o, caps_of(p), err);
    }
    if (!result) {
        placement.host_bytes =
            bl_host_bytes(&j.r, &j.condition, p->arch->family, placement.tiled != BL_TILED_OFF);
    }
    if (!result) {
        placement.repeats = o->count > 1;
        j.looked_at = true;
        result = bl_job_declare(&j, &placement, err);
    }
    if (!result && !placement.repeats) {
        result = bl_job_expect(&j, &placement, err);
    }
    if (!result) {
        bl_plan_wish whole = *wish;
        whole.count = o->count;
        result =
            bl_job_mention_tiles(&j, bl_tell_plan(plan, text, j.generation, &placement, &whole, err), err);
    }
    if (!result) {
        bl_job_tell(&j, &placement);
    }
    bl_job_close(&j);
    return result;
}
