/* The table of samplers, their buffers, and what every walk does. */
#include "sample/sampler.h"

#include "core/checked.h"
#include "sample/walk.h"

#include <math.h>
#include <stdlib.h>

struct bl_sampler {
    bl_sampler_id id;
    size_t n;
    float *buffers; /* [count, n] */
};

static const struct {
    bl_sample_fn *sample;
    int buffers;
    double eta; /* by default */
} table[BL_SAMPLER_COUNT] = {
    [BL_SAMPLER_EULER] = {bl_sample_euler, 1, 0},
    [BL_SAMPLER_EULER_A] = {bl_sample_euler, 2, 1},
    [BL_SAMPLER_HEUN] = {bl_sample_heun, 3, 0},
    [BL_SAMPLER_DPM2] = {bl_sample_dpm2, 3, 0},
    [BL_SAMPLER_DPM2_A] = {bl_sample_dpm2, 4, 1},
    [BL_SAMPLER_DPMPP_2S_A] = {bl_sample_dpmpp_2s, 4, 1},
    [BL_SAMPLER_DPMPP_2M] = {bl_sample_dpmpp_2m, 2, 0},
    [BL_SAMPLER_DPMPP_SDE] = {bl_sample_dpmpp_sde, 4, 1},
    [BL_SAMPLER_DPMPP_2M_SDE] = {bl_sample_dpmpp_2m_sde, 3, 1},
    [BL_SAMPLER_DPMPP_2M_SDE_HEUN] = {bl_sample_dpmpp_2m_sde, 3, 1},
    [BL_SAMPLER_DPMPP_3M_SDE] = {bl_sample_dpmpp_3m_sde, 4, 1},
    [BL_SAMPLER_DDIM] = {bl_sample_euler, 2, 0},
    [BL_SAMPLER_UNIPC] = {bl_sample_unipc, 5, 0},
    [BL_SAMPLER_UNIPC_BH2] = {bl_sample_unipc, 5, 0},
    [BL_SAMPLER_LCM] = {bl_sample_lcm, 2, 1},
    [BL_SAMPLER_LMS] = {bl_sample_lms, 5, 0},
    [BL_SAMPLER_PLMS] = {bl_sample_plms, 6, 0},
    [BL_SAMPLER_DPM_FAST] = {bl_sample_dpm_fast, 5, 1},
    [BL_SAMPLER_DPM_ADAPTIVE] = {bl_sample_dpm_adaptive, 6, 1},
    [BL_SAMPLER_RESTART] = {bl_sample_restart, 3, 0},
    [BL_SAMPLER_TCD] = {bl_sample_tcd, 2, 0.3},
};

size_t bl_sampler_bytes(bl_sampler_id id, size_t n) {
    return (size_t)table[id].buffers * n * sizeof(float);
}

int bl_sampler_new(bl_sampler **out, bl_sampler_id id, size_t n, bl_error *err) {
    *out = NULL;
    uint64_t count, bytes;
    if (!bl_mul_u64(n, (uint64_t)table[id].buffers, &count) || !bl_mul_u64(count, sizeof(float), &bytes)) {
        return bl_fail_memory(err, "the sampler", UINT64_MAX);
    }
    bl_sampler *s = calloc(1, sizeof *s);
    float *buffers = malloc(bytes ? bytes : 1);
    if (!s || !buffers) {
        free(buffers);
        free(s);
        return bl_fail_memory(err, "the sampler", bytes);
    }
    s->id = id;
    s->n = n;
    s->buffers = buffers;
    *out = s;
    return 0;
}

void bl_sampler_free(bl_sampler **sampler) {
    if (*sampler) {
        free((*sampler)->buffers);
        free(*sampler);
        *sampler = NULL;
    }
}

int bl_sampler_run(bl_sampler *s, const bl_schedule *schedule, const bl_sampler_options *options, float *x,
                   const bl_sampler_calls *calls, bl_error *err) {
    bl_walk walk = {.schedule = schedule, .calls = calls, .err = err, .n = s->n, .x = x, .id = s->id};
    walk.eta = options && options->eta >= 0 ? options->eta : table[s->id].eta;
    if (!(options && options->eta >= 0) && bl_sampler_noise(s->id, schedule->compat) == BL_NOISE_NONE) {
        walk.eta = 0;
    }
    walk.order = options && options->order ? options->order : schedule->compat == BL_COMPAT_DIFFUSERS ? 2 : 3;
    if (!(walk.eta <= 1) || walk.order < 1 || walk.order > 3) {
        return bl_fail(err, BL_E_ARGUMENT, "eta must be 0 to 1 and UniPC's order 1 to 3, not %g and %d",
                       walk.eta, walk.order);
    }
    for (int b = 0; b < table[s->id].buffers; b++) {
        walk.buffer[b] = s->buffers + (size_t)b * s->n;
    }
    return table[s->id].sample(&walk);
}

void bl_mix(size_t n, float *out, const bl_term *terms, int count) {
    bl_term t[BL_WALK_BUFFERS];
    for (int j = 0; j < count; j++) {
        t[j] = terms[j];
    }
    for (size_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (int j = 0; j < count; j++) {
            sum += t[j].weight * (double)t[j].v[i];
        }
        out[i] = (float)sum;
    }
}

int bl_walk_denoise(bl_walk *walk, int i, float *denoised) {
    const bl_schedule *s = walk->schedule;
    return walk->calls->denoise(walk->calls->payload, walk->x, s->sigmas[i], s->timesteps[i], denoised,
                                walk->err);
}

int bl_walk_noise(bl_walk *walk, double sigma, double next, float *noise) {
    if (!walk->calls->noise) {
        return bl_fail(walk->err, BL_E_INTERNAL, "%s needs noise and was given no source of it",
                       bl_sampler_name(walk->id));
    }
    return walk->calls->noise(walk->calls->payload, sigma, next, noise, walk->err);
}

int bl_walk_step(bl_walk *walk, int i, const float *denoised) {
    const bl_sampler_calls *calls = walk->calls;
    return calls->step ? calls->step(calls->payload, i, walk->schedule->steps, walk->x, denoised, walk->err)
                       : 0;
}

void bl_ancestral(double a, double b, double eta, double *down, double *up) {
    *up = fmin(b, eta * sqrt(fmax(b * b * (a * a - b * b) / (a * a), 0.0)));
    *down = sqrt(fmax(b * b - *up * *up, 0.0));
}
