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

/* x' = x + (b - a)/2 (d + d2), d at a, d2 = (x2 - D2) / b at the Euler step's end x2. */
int bl_sample_heun(bl_run *run) {
    const bl_schedule *s = run->schedule;
    float *d1 = run->buffer[0], *d2 = run->buffer[1], *x2 = run->buffer[2];
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i];
        int rc = bl_run_denoise(run, i, d1);
        if (rc) {
            return rc;
        }
        if (b > 0) {
            straight(run, x2, a, b, d1);
            rc = run->calls->denoise(run->calls->payload, x2, b, s->timesteps[i + 1], d2, run->err);
            if (rc) {
                return rc;
            }
            bl_term terms[] = {{b / a, run->x}, {(b - a) * (0.5 / b - 1 / a), d1}, {(a - b) * 0.5 / b, d2}};
            bl_mix(run->n, run->x, terms, 3);
        } else {
            straight(run, run->x, a, b, d1);
        }
        rc = bl_run_step(run, i, d1);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* x' = x + (down - a) d2 with d2 = (x2 - D2) / m at m = sqrt(a down), the middle in log sigma; then fresh
 * noise. */
int bl_sample_dpm2(bl_run *run) {
    const bl_schedule *s = run->schedule;
    float *d1 = run->buffer[0], *d2 = run->buffer[1], *x2 = run->buffer[2], *noise = run->buffer[3];
    double eta = run->id == BL_SAMPLER_DPM2 ? 0.0 : run->eta;
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i], down, up;
        bl_ancestral(a, b, eta, &down, &up);
        int rc = bl_run_denoise(run, i, d1);
        if (rc) {
            return rc;
        }
        if (down > 0) {
            double m = sqrt(a * down);
            straight(run, x2, a, m, d1);
            rc = denoise_between(run, x2, m, d2);
            if (!rc && up > 0) {
                rc = bl_run_noise(run, a, b, noise);
            }
            if (rc) {
                return rc;
            }
            bl_term terms[] = {
                {down / a, run->x}, {(down - a) / m * (1 - m / a), d1}, {(a - down) / m, d2}, {up, noise}};
            bl_mix(run->n, run->x, terms, up > 0 ? 4 : 3);
        } else {
            straight(run, run->x, a, down, d1);
        }
        rc = bl_run_step(run, i, d1);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* x' = (down/a) x + (1 - down/a) D(x2) with x2 half way in log sigma; then fresh noise. */
int bl_sample_dpmpp_2s(bl_run *run) {
    const bl_schedule *s = run->schedule;
    float *d1 = run->buffer[0], *d2 = run->buffer[1], *x2 = run->buffer[2], *noise = run->buffer[3];
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i], down, up;
        bl_ancestral(a, b, run->eta, &down, &up);
        int rc = bl_run_denoise(run, i, d1);
        if (rc) {
            return rc;
        }
        if (down > 0) {
            double m = sqrt(a * down);
            straight(run, x2, a, m, d1);
            rc = denoise_between(run, x2, m, d2);
            if (!rc && up > 0) {
                rc = bl_run_noise(run, a, b, noise);
            }
            if (rc) {
                return rc;
            }
            bl_term terms[] = {{down / a, run->x}, {1 - down / a, d2}, {up, noise}};
            bl_mix(run->n, run->x, terms, up > 0 ? 3 : 2);
        } else {
            straight(run, run->x, a, down, d1);
        }
        rc = bl_run_step(run, i, d1);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* DPM-Solver++ (SDE) with r = 1/2: an ancestral step to the middle, then one of the whole way with what was
 * predicted there. Two noises a step: for the way to the middle and for the whole way. */
int bl_sample_dpmpp_sde(bl_run *run) {
    const bl_schedule *s = run->schedule;
    float *d1 = run->buffer[0], *d2 = run->buffer[1], *x2 = run->buffer[2], *noise = run->buffer[3];
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i], down, up;
        int rc = bl_run_denoise(run, i, d1);
        if (rc) {
            return rc;
        }
        if (b > 0) {
            double m = sqrt(a * b);
            const float *start[] = {d1, d2};
            double ends[] = {m, b};
            float *result[] = {x2, run->x};
            for (int half = 0; half < 2; half++) {
                bl_ancestral(a, ends[half], run->eta, &down, &up);
                rc = half ? denoise_between(run, x2, m, d2) : 0;
                if (!rc && up > 0) {
                    rc = bl_run_noise(run, a, ends[half], noise);
                }
                if (rc) {
                    return rc;
                }
                bl_term terms[] = {{down / a, run->x}, {1 - down / a, start[half]}, {up, noise}};
                bl_mix(run->n, result[half], terms, up > 0 ? 3 : 2);
            }
        } else {
            straight(run, run->x, a, b, d1);
        }
        rc = bl_run_step(run, i, d1);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
