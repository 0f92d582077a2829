/* One evaluation a step, no memory: Euler, Euler ancestral, DDIM, LCM, TCD. */
#include "sample/walk.h"

#include <math.h>

/* LCM's boundary scalings, as diffusers applies them to the variance-preserving sample and A1111 to x. */
#define LCM_SIGMA_DATA 0.5
#define LCM_TIMESTEP_SCALE 10.0

double bl_reread(const bl_schedule *s, int i, double at) {
    double next = s->sigmas[i + 1];
    return next == at ? 1.0 : sqrt((next * next + 1) / (at * at + 1));
}

/* x' = (down/a) x + (1 - down/a) D + up * noise, as step i. */
static int step_down(bl_walk *walk, int i, double down, double up) {
    const bl_schedule *s = walk->schedule;
    float *denoised = walk->buffer[0], *noise = walk->buffer[1];
    double a = s->sigmas[i], b = s->targets[i];
    int rc = bl_walk_denoise(walk, i, denoised);
    if (!rc && up > 0) {
        rc = bl_walk_noise(walk, a, b, noise);
    }
    if (rc) {
        return rc;
    }
    double scale = bl_reread(s, i, b);
    bl_term terms[] = {
        {scale * (down / a), walk->x}, {scale * (1 - down / a), denoised}, {scale * up, noise}};
    bl_mix(walk->n, walk->x, terms, up > 0 ? 3 : 2);
    return bl_walk_step(walk, i, denoised);
}

/* With eta 0 that is Euler, and DDIM in sigma space; with eta 1 Euler ancestral, and DDIM with eta 1. */
int bl_sample_euler(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    double eta = walk->id == BL_SAMPLER_EULER ? 0.0 : walk->eta;
    for (int i = 0; i < s->steps; i++) {
        double down, up;
        bl_ancestral(s->sigmas[i], s->targets[i], eta, &down, &up);
        int rc = step_down(walk, i, down, up);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* x' = D + b * noise; with boundary scalings x' = out * D + skip * x + b * noise. */
int bl_sample_lcm(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    float *denoised = walk->buffer[0], *noise = walk->buffer[1];
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i], out = 1.0, skip = 0.0;
        int rc = bl_walk_denoise(walk, i, denoised);
        if (!rc && b > 0) {
            rc = bl_walk_noise(walk, a, b, noise);
        }
        if (rc) {
            return rc;
        }
        if (s->boundary_scaling) {
            double k = LCM_TIMESTEP_SCALE * s->timesteps[i], k2 = k * k + LCM_SIGMA_DATA * LCM_SIGMA_DATA;
            out = k / sqrt(k2);
            double scale = s->compat == BL_COMPAT_DIFFUSERS ? sqrt(a * a + 1) : 1; /* of x in its sample */
            skip = LCM_SIGMA_DATA * LCM_SIGMA_DATA / k2 / scale;
        }
        bl_term terms[] = {{out, denoised}, {skip, walk->x}, {b, noise}};
        bl_mix(walk->n, walk->x, terms, b > 0 ? 3 : 2);
        rc = bl_walk_step(walk, i, denoised);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* Trajectory consistency (Zheng et al. 2024): down to the sigma at (1 - eta) of the next timestep, and back
 * up to the next one with fresh noise. */
int bl_sample_tcd(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    for (int i = 0; i < s->steps; i++) {
        bool last = i + 1 == s->steps;
        double b = s->targets[i], down = b;
        if (!last) {
            down = fmin(b, s->table.sigma[(int)floor((1 - walk->eta) * s->timesteps[i + 1])]);
        }
        double up = sqrt(fmax(b * b - down * down, 0));
        int rc = step_down(walk, i, down, up);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
