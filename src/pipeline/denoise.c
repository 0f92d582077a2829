#include "pipeline/denoise.h"

#include "pipeline/feed.h"
#include "pipeline/finite.h"
#include "sample/precondition.h"
#include "sample/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENOUGH 1 /* ends the walk, and is no error */

/* What lives as long as one run of the sampler. */
typedef struct state {
    const bl_denoise_job *job;
    int rows; /* with guidance all unconditional ones come first, then the conditional ones, prompt by prompt
               */
    int pass, calls; /* calls of the denoiser until now */
    size_t n;        /* floats of one picture's latents */
    bl_feed feed;
} state;

static int open_state(state *s, const bl_denoise_job *job, bl_error *err) {
    const bl_feed_shape shape = {.arch = job->arch,
                                 .condition = job->condition,
                                 .ckpt = bl_generation_checkpoint(job->generation),
                                 .batch = job->batch,
                                 .height = job->height,
                                 .width = job->width,
                                 .told_height = job->told_height,
                                 .told_width = job->told_width,
                                 .times = job->times,
                                 .guidance = job->request->guidance};
    *s = (state){.job = job, .rows = job->condition->rows, .pass = job->schedule == job->request->second};
    int result = bl_feed_open(&s->feed, &shape, s->pass, err);
    s->n = s->feed.n;
    return result;
}

static double deviation(const float *x, size_t n) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    double mean = sum / (double)n;
    return sqrt(fmax(squares / (double)n - mean * mean, 0));
}

/* to = from + sum of weight (cond - from) over all prompts, which is the first one itself where that alone
 * counts; `uncond` NULL: the sum of weight cond. All are of one picture, [n]; `cond` of the first prompt, the
 * others' lie `apart` floats further. `to` may be any of them. */
static void combine(float *to, const state *s, const float *uncond, const float *cond, size_t apart,
                    float scale) {
    const bl_text_row *row = s->job->condition->texts.row[s->pass] + (uncond ? 1 : 0);
    const int prompts = s->rows - (uncond ? 1 : 0);
    if (prompts == 1 && (float)row->weight * scale == 1.0f) {
        memmove(to, cond, s->n * sizeof *to);
        return;
    }
    for (size_t i = 0; i < s->n; i++) {
        float base = uncond ? uncond[i] : 0, sum = base;
        for (int p = 0; p < prompts; p++) {
            sum += (float)row[p].weight * scale * (cond[(size_t)p * apart + i] - base);
        }
        to[i] = sum;
    }
}

/* out = uncond + cfg (cond - uncond), over what the first prompt gave; with rescale its deviation is pulled
 * back towards the conditional output's (Lin et al. 2023, section 3.4). Returns where it is: [batch, n]. */
static const float *guide(const state *s) {
    const ballast_generate_options *o = s->job->request->o;
    const bool guided = s->job->condition->texts.guided;
    const size_t apart = (size_t)s->job->batch * s->n;
    float *result = s->feed.output + (guided ? apart : 0);
    for (int b = 0; b < s->job->batch; b++) {
        const float *uncond = guided ? s->feed.output + (size_t)b * s->n : NULL;
        float *cond = result + (size_t)b * s->n;
        const bool rescale = guided && o->cfg_rescale > 0;
        double before = 0;
        if (rescale) {
            combine(s->feed.sample, s, uncond, cond, apart, 1); /* which the network has read */
            before = deviation(s->feed.sample, s->n);
        }
        combine(cond, s, uncond, cond, apart, (float)s->job->request->cfg);
        double after = rescale ? deviation(cond, s->n) : 0;
        float f = after > 0 ? (float)(o->cfg_rescale * before / after + 1 - o->cfg_rescale) : 1;
        for (size_t i = 0; rescale && i < s->n; i++) {
            cond[i] *= f;
        }
    }
    return result;
}

static int denoise(void *payload, const float *x, double sigma, double timestep, float *denoised,
                   bl_error *err) {
    state *s = payload;
    const bl_denoise_job *job = s->job;
    size_t batch = (size_t)job->batch, total = batch * s->n;
    bl_precondition c = bl_precondition_at(job->arch->prediction, sigma);
    float scale = (float)c.in;
    for (int row = 0; row < s->rows; row++) {
        for (size_t i = 0; i < total; i++) {
            s->feed.sample[(size_t)row * total + i] = x[i] * scale;
        }
    }
    bl_feed_time(&s->feed, timestep, s->calls);
    if (s->calls && bl_condition_changes(job->condition, s->pass, s->calls)) {
        bl_feed_tell(&s->feed, s->pass, s->calls);
    }
    s->calls++;
    int result = bl_generation_pass(job->generation, *job->phase, s->feed.inputs, s->feed.outputs, err);
    if (result) {
        return result;
    }
    const float *out = guide(s);
    float of_x = (float)c.skip, of_out = (float)(s->feed.velocity * c.out);
    for (size_t i = 0; i < total; i++) {
        denoised[i] = x[i] * of_x + out[i] * of_out;
    }
    if (!bl_all_finite(denoised, total)) { /* NaN in either half ends up here */
        char where[64];
        snprintf(where, sizeof where, "at timestep %g", timestep);
        return bl_fail_nan(job->generation, bl_family_denoiser(job->arch->family), where, err);
    }
    return 0;
}

static int noise(void *payload, double sigma, double next, float *out, bl_error *err) {
    state *s = payload;
    (void)err;
    for (int b = 0; b < s->job->batch; b++) {
        bl_noise_step(s->job->noise[b], sigma, next, out + (size_t)b * s->n);
    }
    return 0;
}

static int step(void *payload, int number, int steps, const float *x, const float *denoised, bl_error *err) {
    state *s = payload;
    bl_after_step after = BL_STEP_ON;
    (void)x;
    int result = s->job->step ? s->job->step(&after, s->job->payload, number + 1, steps, denoised, err) : 0;
    if (!result && after == BL_STEP_STOP) {
        result = bl_fail(err, BL_E_CANCELLED, "stopped after step %d of %d", number + 1, steps);
    }
    return result ? result : after == BL_STEP_ENOUGH ? ENOUGH : 0;
}

/* Leaves out what is left of the walk. */
static int cut(const bl_denoise_job *job, bl_error *err) {
    int result = 0;
    for (int phase = *job->phase; phase <= job->last && !result; phase++) {
        result = bl_generation_cut(job->generation, phase, err);
    }
    return result;
}

/* The times at which a sampler calls. */
typedef struct time_list {
    double *time; /* [room] */
    int count, room;
} time_list;

static int note_time(void *payload, const float *x, double sigma, double timestep, float *denoised,
                     bl_error *err) {
    time_list *l = payload;
    (void)sigma;
    if (l->count == l->room) {
        return bl_fail(err, BL_E_INTERNAL, "a sampler calls more than %d times", l->room);
    }
    l->time[l->count++] = timestep;
    *denoised = *x;
    return 0;
}

/* Walks one number down the schedule to learn them. */
static int list_times(state *s, bl_error *err) {
    time_list l = {.room = s->job->times, .time = calloc((size_t)s->job->times, sizeof *l.time)};
    const bl_sampler_calls calls = {.payload = &l, .denoise = note_time};
    const bl_sampler_options options = {.eta = s->job->request->o->eta};
    bl_sampler *sampler = NULL;
    float x = 0;
    int result = l.time ? 0 : bl_fail_memory(err, "the times of the steps", 8ull * (unsigned)s->job->times);
    result = result ? result : bl_sampler_new(&sampler, s->job->request->sampler, 1, err);
    result = result ? result : bl_sampler_run(sampler, s->job->schedule, &options, &x, &calls, err);
    if (!result) {
        bl_feed_times(&s->feed, l.time, l.count);
    }
    bl_sampler_free(&sampler);
    free(l.time);
    return result;
}

/* What does not change from step to step, or is known of all of them, once. */
static int run_prologue(state *s, bl_error *err) {
    if (s->job->prologue < 0) {
        return 0;
    }
    bl_port outputs[] = {{NULL, NULL}};
    int result = s->job->times ? list_times(s, err) : 0;
    return result ? result
                  : bl_generation_pass(s->job->generation, s->job->prologue, s->feed.prologue, outputs, err);
}

int bl_denoise(float *x, const bl_denoise_job *job, bl_error *err) {
    state s;
    bl_sampler *sampler = NULL;
    int result = open_state(&s, job, err);
    if (!result) {
        result = run_prologue(&s, err);
    }
    if (!result) {
        result = bl_sampler_new(&sampler, job->request->sampler, s.n * (size_t)job->batch, err);
    }
    if (!result) {
        bl_sampler_calls calls = {&s, denoise, noise, step};
        bl_sampler_options options = {.eta = job->request->o->eta};
        result = bl_sampler_run(sampler, job->schedule, &options, x, &calls, err);
        bool fewer = bl_sampler_adapts(job->request->sampler);
        result = result == ENOUGH || (fewer && !result) ? cut(job, err) : result;
    }
    bl_sampler_free(&sampler);
    bl_feed_close(&s.feed);
    return result;
}
