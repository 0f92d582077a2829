/* All the noise of one picture: the one it starts from and those between the steps, from one seed, as A1111,
 * ComfyUI and diffusers draw them. A batch has one of these per picture, so that a picture does not depend on
 * its company; a second pass has new ones, with the same seed and its own size. */
#ifndef BALLAST_SAMPLE_NOISE_H
#define BALLAST_SAMPLE_NOISE_H

#include "core/error.h"
#include "sample/names.h"
#include "sample/rng.h"

#include <stdint.h>

typedef struct bl_noise bl_noise;

typedef struct bl_noise_options {
    bl_compat compat;
    bl_rng_kind rng;
    uint64_t seed;
    uint64_t seed_delta; /* 0: noise between steps goes on from the first; else it is that of seed + this
                            (A1111's "eta noise seed delta"); not of Brownian paths */
    uint64_t variation_seed;
    double variation_strength;          /* 0 to 1; 0: none */
    int channels, height, width;        /* of the latents */
    bl_noise_use use;                   /* bl_sampler_noise() of the sampler */
    double brownian_low, brownian_high; /* those of the schedule, for Brownian use */
} bl_noise_options;

/* Owner: the caller; free with bl_noise_free. BL_E_ARGUMENT for a strength or size out of range. */
int bl_noise_new(bl_noise **out, const bl_noise_options *options, bl_error *err);

/* Unit noise to start from, [channels, height, width]; call it once, before bl_noise_step, because between
 * the steps the sequence goes on from there. With variation: A1111's slerp from the seed's noise to the
 * variation seed's. */
int bl_noise_start(bl_noise *noise, float *out, bl_error *err);

/* Unit noise for the way from sigma down to next, [channels, height, width]. */
void bl_noise_step(bl_noise *noise, double sigma, double next, float *out);

void bl_noise_free(bl_noise **noise);

/* out = spherical interpolation between a and b, all [channels, height, width], column by column along the
 * height as A1111 does it; where the columns are nearly parallel on average, A1111's own straight one: a t +
 * b (1 - t). `out` may be a. */
void bl_slerp(float *out, const float *a, const float *b, double t, int channels, int height, int width);

#endif
