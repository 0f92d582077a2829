/* Two evaluations a step, but for the one that ends on 0: Heun, DPM2, DPM2 ancestral, DPM++ 2S ancestral,
 * DPM++ SDE.
 *
 * Where the papers have a derivative d = (x - D) / a, it is expanded here, so that x stands in each formula
 * once. */
#include "sample/run.h"

#include <math.h>

/* x' = (b/a) x + (1 - b/a) D, the whole of a step that ends on 0, or its first half. */
static void straight(bl_run *run, float *out, double a, double b, const float *denoised) {
    bl_term terms[] = {{b / a, run->x}, {1 - b / a, denoised}};
    bl_mix(run->n, out, terms, 2);
}

/* The prediction of `x` at a sigma between two steps' own. */
static int denoise_between(bl_run *run, const float *x, double sigma, float *denoised) {
    double timestep = bl_sigma_to_timestep(run->schedule, sigma);
    return run->calls->denoise(run->calls->payload, x, sigma, timestep, denoised, run->err);
}

/* One step from sigma a to b, of which `down` is reached without fresh noise. */
typedef struct stretch {
    int i;
    double a, b, down, up;
} stretch;

/* What a step does once D at its start is known, in buffer 0. Its end goes to run->x; buffers 1 to 3 are for
 * the second D, where it was predicted, and noise. */
typedef int second_stage(bl_run *run, const stretch *s);

/* All steps. One that ends on 0 needs no second stage. */
static int walk(bl_run *run, double eta, second_stage *second) {
    const bl_schedule *sc = run->schedule;
    float *d1 = run->buffer[0];
    for (int i = 0; i < sc->steps; i++) {
        stretch s = {.i = i, .a = sc->sigmas[i], .b = sc->targets[i]};
        bl_ancestral(s.a, s.b, eta, &s.down, &s.up);
        int rc = bl_run_denoise(run, i, d1);
        if (!rc && s.down > 0) {
            rc = second(run, &s);
        } else if (!rc) {
            straight(run, run->x, s.a, s.down, d1);
        }
        if (!rc) {
            rc = bl_run_step(run, i, d1);
        }
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* x' = x + (b - a)/2 (d + d2), d at a, d2 = (x2 - D2) / b at the Euler step's end x2. */
static int heun(bl_run *run, const stretch *s) {
    float *d1 = run->buffer[0], *d2 = run->buffer[1], *x2 = run->buffer[2];
    double a = s->a, b = s->b, timestep = run->schedule->timesteps[s->i + 1];
    straight(run, x2, a, b, d1);
    int rc = run->calls->denoise(run->calls->payload, x2, b, timestep, d2, run->err);
    if (!rc) {
        bl_term terms[] = {{b / a, run->x}, {(b - a) * (0.5 / b - 1 / a), d1}, {(a - b) * 0.5 / b, d2}};
        bl_mix(run->n, run->x, terms, 3);
    }
    return rc;
}

int bl_sample_heun(bl_run *run) {
    return walk(run, 0.0, heun);
}

/* D2 at sigma m on the straight way to it, and the step's noise if it has any. */
static int predict_half_way(bl_run *run, const stretch *s, double m) {
    straight(run, run->buffer[2], s->a, m, run->buffer[0]);
    int rc = denoise_between(run, run->buffer[2], m, run->buffer[1]);
    return rc || !(s->up > 0) ? rc : bl_run_noise(run, s->a, s->b, run->buffer[3]);
}

/* x' = x + (down - a) d2 with d2 = (x2 - D2) / m at m = sqrt(a down), the middle in log sigma; then fresh
 * noise. */
static int dpm2(bl_run *run, const stretch *s) {
    double a = s->a, down = s->down, m = sqrt(a * down);
    int rc = predict_half_way(run, s, m);
    if (!rc) {
        bl_term terms[] = {{down / a, run->x},
                           {(down - a) / m * (1 - m / a), run->buffer[0]},
                           {(a - down) / m, run->buffer[1]},
                           {s->up, run->buffer[3]}};
        bl_mix(run->n, run->x, terms, s->up > 0 ? 4 : 3);
    }
    return rc;
}

int bl_sample_dpm2(bl_run *run) {
    return walk(run, run->id == BL_SAMPLER_DPM2 ? 0.0 : run->eta, dpm2);
}

/* x' = (down/a) x + (1 - down/a) D(x2) with x2 half way in log sigma; then fresh noise. */
static int dpmpp_2s(bl_run *run, const stretch *s) {
    int rc = predict_half_way(run, s, sqrt(s->a * s->down));
    if (!rc) {
        double kept = s->down / s->a;
        bl_term terms[] = {{kept, run->x}, {1 - kept, run->buffer[1]}, {s->up, run->buffer[3]}};
        bl_mix(run->n, run->x, terms, s->up > 0 ? 3 : 2);
    }
    return rc;
}

int bl_sample_dpmpp_2s(bl_run *run) {
    return walk(run, run->eta, dpmpp_2s);
}

/* DPM-Solver++ (SDE) with r = 1/2: an ancestral step to the middle, then one of the whole way with what was
 * predicted there. Two noises a step: for the way to the middle and for the whole way. */
static int dpmpp_sde(bl_run *run, const stretch *s) {
    float *d1 = run->buffer[0], *d2 = run->buffer[1], *x2 = run->buffer[2], *noise = run->buffer[3];
    const float *start[] = {d1, d2};
    double m = sqrt(s->a * s->b), ends[] = {m, s->b}, down, up;
    float *result[] = {x2, run->x};
    int rc = 0;
    for (int half = 0; half < 2 && !rc; half++) {
        bl_ancestral(s->a, ends[half], run->eta, &down, &up);
        rc = half ? denoise_between(run, x2, m, d2) : 0;
        if (!rc && up > 0) {
            rc = bl_run_noise(run, s->a, ends[half], noise);
        }
        if (!rc) {
            bl_term terms[] = {{down / s->a, run->x}, {1 - down / s->a, start[half]}, {up, noise}};
            bl_mix(run->n, result[half], terms, up > 0 ? 3 : 2);
        }
    }
    return rc;
}

int bl_sample_dpmpp_sde(bl_run *run) {
    return walk(run, run->eta, dpmpp_sde);
}
