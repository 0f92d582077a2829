/* DPM-Solver (Lu et al. 2022) of orders 1 to 3 in t = -log sigma, on predictions of the noise, eps = (x - D)
 * / sigma: DPM fast, as k-diffusion has it. It ends on the smallest sigma above 0. */
#include "sample/walk.h"

#include <math.h>

static int noise_at(bl_walk *walk, float *eps, const float *x, double sigma) {
    double timestep = bl_sigma_to_timestep(walk->schedule, sigma);
    int rc = walk->calls->denoise(walk->calls->payload, x, sigma, timestep, eps, walk->err);
    if (!rc) {
        bl_term terms[] = {{1 / sigma, x}, {-1 / sigma, eps}};
        bl_mix(walk->n, eps, terms, 2);
    }
    return rc;
}

/* From t over h, in place, once eps at t is known: buffer 0. Others: 1, 2 for eps between, 3 for x there. */
static int solve(bl_walk *walk, double t, double h, int order) {
    float *e0 = walk->buffer[0], *e1 = walk->buffer[1], *e2 = walk->buffer[2], *u = walk->buffer[3];
    double end = exp(-(t + h)), r1 = order == 2 ? 0.5 : 1.0 / 3, r2 = 2.0 / 3, s1 = exp(-(t + r1 * h)),
           s2 = exp(-(t + r2 * h)), whole = end * expm1(h);
    int rc = 0;
    if (order == 1) {
        bl_term terms[] = {{1, walk->x}, {-whole, e0}};
        bl_mix(walk->n, walk->x, terms, 2);
        return 0;
    }
    bl_term first[] = {{1, walk->x}, {-s1 * expm1(r1 * h), e0}};
    bl_mix(walk->n, u, first, 2);
    rc = noise_at(walk, e1, u, s1);
    if (rc) {
        return rc;
    }
    if (order == 2) {
        double k = whole / (2 * r1);
        bl_term terms[] = {{1, walk->x}, {k - whole, e0}, {-k, e1}};
        bl_mix(walk->n, walk->x, terms, 3);
        return 0;
    }
    double k = s2 * (r2 / r1) * (expm1(r2 * h) / (r2 * h) - 1);
    bl_term second[] = {{1, walk->x}, {k - s2 * expm1(r2 * h), e0}, {-k, e1}};
    bl_mix(walk->n, u, second, 3);
    rc = noise_at(walk, e2, u, s2);
    if (!rc) {
        k = end / r2 * (expm1(h) / h - 1);
        bl_term terms[] = {{1, walk->x}, {k - whole, e0}, {-k, e2}};
        bl_mix(walk->n, walk->x, terms, 3);
    }
    return rc;
}

/* As many evaluations as there are steps, in steps of the third order and what is left. */
int bl_sample_dpm_fast(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    const int calls = s->steps, count = calls / 3 + 1;
    double low = calls > 1 ? s->sigmas[calls - 1] : s->table.sigma[0], begin = -log(s->sigmas[0]),
           end = -log(low);
    float *denoised = walk->buffer[4], *noise = walk->buffer[1];
    for (int i = 0; i < count; i++) {
        int order = i < count - 2 ? 3 : calls % 3 ? (i < count - 1 ? 3 : calls % 3) : (i < count - 1 ? 2 : 1);
        double t = begin + i * (end - begin) / count,
               next = i + 1 < count ? begin + (i + 1) * (end - begin) / count : end;
        double to = next, down, up;
        bl_ancestral(exp(-t), exp(-next), walk->eta, &down, &up);
        if (walk->eta > 0) {
            to = down > 0 && -log(down) < end ? -log(down) : end;
            up = sqrt(fmax(exp(-2 * next) - exp(-2 * to), 0));
        }
        int rc = noise_at(walk, walk->buffer[0], walk->x, exp(-t));
        if (!rc) {
            bl_term terms[] = {{1, walk->x}, {-exp(-t), walk->buffer[0]}};
            bl_mix(walk->n, denoised, terms, 2);
            rc = solve(walk, t, to - t, order);
        }
        if (!rc && walk->eta > 0 && i + 1 < count) {
            rc = bl_walk_noise(walk, exp(-t), exp(-next), noise);
            bl_term terms[] = {{1, walk->x}, {up, noise}};
            bl_mix(walk->n, walk->x, terms, rc ? 0 : 2);
        }
        if (!rc && walk->calls->step) {
            rc = walk->calls->step(walk->calls->payload, i, count, walk->x, denoised, walk->err);
        }
        if (rc) {
            return rc;
        }
    }
    return 0;
}
