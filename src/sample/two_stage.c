/* Two evaluations a step, but for the one that ends on 0: Heun, DPM2, DPM2 ancestral, DPM++ 2S ancestral,
 * DPM++ SDE.
 *
 * Where the papers have a derivative d = (x - D) / a, it is expanded here, so that x stands in each formula
 * once. */
#include "sample/walk.h"

#include <math.h>

/* x' = (b/a) x + (1 - b/a) D, the whole of a step that ends on 0, or its first half. */
static void straight(bl_walk *walk, float *out, double a, double b, const float *denoised) {
    bl_term terms[] = {{b / a, walk->x}, {1 - b / a, denoised}};
    bl_mix(walk->n, out, terms, 2);
}

/* The prediction of `x` at a sigma between two steps' own. */
static int denoise_between(bl_walk *walk, const float *x, double sigma, float *denoised) {
    double timestep = bl_sigma_to_timestep(walk->schedule, sigma);
    return walk->calls->denoise(walk->calls->payload, x, sigma, timestep, denoised, walk->err);
}

/* One step from sigma a to b, of which `down` is reached without fresh noise. */
typedef struct stretch {
    int i;
    double a, b, down, up;
} stretch;

/* What a step does once D at its start is known, in buffer 0. Its end goes to walk->x; buffers 1 to 3 are for
 * the second D, where it was predicted, and noise. */
typedef int second_stage(bl_walk *walk, const stretch *s);

/* All steps. One that ends on 0 needs no second stage. */
static int walk_down(bl_walk *walk, double eta, second_stage *second) {
    const bl_schedule *sc = walk->schedule;
    float *d1 = walk->buffer[0];
    for (int i = 0; i < sc->steps; i++) {
        stretch s = {.i = i, .a = sc->sigmas[i], .b = sc->targets[i]};
        bl_ancestral(s.a, s.b, eta, &s.down, &s.up);
        int rc = bl_walk_denoise(walk, i, d1);
        if (!rc && s.down > 0) {
            rc = second(walk, &s);
        } else if (!rc) {
            straight(walk, walk->x, s.a, s.down, d1);
        }
        if (!rc) {
            rc = bl_walk_step(walk, i, d1);
        }
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* x' = x + (b - a)/2 (d + d2), d at a, d2 = (x2 - D2) / b at the Euler step's end x2. */
static int heun(bl_walk *walk, const stretch *s) {
    float *d1 = walk->buffer[0], *d2 = walk->buffer[1], *x2 = walk->buffer[2];
    double a = s->a, b = s->b, timestep = walk->schedule->timesteps[s->i + 1];
    straight(walk, x2, a, b, d1);
    int rc = walk->calls->denoise(walk->calls->payload, x2, b, timestep, d2, walk->err);
    if (!rc) {
        bl_term terms[] = {{b / a, walk->x}, {(b - a) * (0.5 / b - 1 / a), d1}, {(a - b) * 0.5 / b, d2}};
        bl_mix(walk->n, walk->x, terms, 3);
    }
    return rc;
}

int bl_sample_heun(bl_walk *walk) {
    return walk_down(walk, 0.0, heun);
}

/* D2 at sigma m on the straight way to it, and the step's noise if it has any. */
static int predict_half_way(bl_walk *walk, const stretch *s, double m) {
    straight(walk, walk->buffer[2], s->a, m, walk->buffer[0]);
    int rc = denoise_between(walk, walk->buffer[2], m, walk->buffer[1]);
    return rc || !(s->up > 0) ? rc : bl_walk_noise(walk, s->a, s->b, walk->buffer[3]);
}

/* x' = x + (down - a) d2 with d2 = (x2 - D2) / m at m = sqrt(a down), the middle in log sigma; then fresh
 * noise. */
static int dpm2(bl_walk *walk, const stretch *s) {
    double a = s->a, down = s->down, m = sqrt(a * down);
    int rc = predict_half_way(walk, s, m);
    if (!rc) {
        bl_term terms[] = {{down / a, walk->x},
                           {(down - a) / m * (1 - m / a), walk->buffer[0]},
                           {(a - down) / m, walk->buffer[1]},
                           {s->up, walk->buffer[3]}};
        bl_mix(walk->n, walk->x, terms, s->up > 0 ? 4 : 3);
    }
    return rc;
}

int bl_sample_dpm2(bl_walk *walk) {
    return walk_down(walk, walk->id == BL_SAMPLER_DPM2 ? 0.0 : walk->eta, dpm2);
}

/* x' = (down/a) x + (1 - down/a) D(x2) with x2 half way in log sigma; then fresh noise. */
static int dpmpp_2s(bl_walk *walk, const stretch *s) {
    int rc = predict_half_way(walk, s, sqrt(s->a * s->down));
    if (!rc) {
        double kept = s->down / s->a;
        bl_term terms[] = {{kept, walk->x}, {1 - kept, walk->buffer[1]}, {s->up, walk->buffer[3]}};
        bl_mix(walk->n, walk->x, terms, s->up > 0 ? 3 : 2);
    }
    return rc;
}

int bl_sample_dpmpp_2s(bl_walk *walk) {
    return walk_down(walk, walk->eta, dpmpp_2s);
}

/* DPM-Solver++ (SDE) with r = 1/2: an ancestral step to the middle, then one of the whole way with what was
 * predicted there. Two noises a step: for the way to the middle and for the whole way. */
static int dpmpp_sde(bl_walk *walk, const stretch *s) {
    float *d1 = walk->buffer[0], *d2 = walk->buffer[1], *x2 = walk->buffer[2], *noise = walk->buffer[3];
    const float *start[] = {d1, d2};
    double m = sqrt(s->a * s->b), ends[] = {m, s->b}, down, up;
    float *result[] = {x2, walk->x};
    int rc = 0;
    for (int half = 0; half < 2 && !rc; half++) {
        bl_ancestral(s->a, ends[half], walk->eta, &down, &up);
        rc = half ? denoise_between(walk, x2, m, d2) : 0;
        if (!rc && up > 0) {
            rc = bl_walk_noise(walk, s->a, ends[half], noise);
        }
        if (!rc) {
            bl_term terms[] = {{down / s->a, walk->x}, {1 - down / s->a, start[half]}, {up, noise}};
            bl_mix(walk->n, result[half], terms, up > 0 ? 3 : 2);
        }
    }
    return rc;
}

int bl_sample_dpmpp_sde(bl_walk *walk) {
    return walk_down(walk, walk->eta, dpmpp_sde);
}
