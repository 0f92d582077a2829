/* DPM-Solver (Lu et al. 2022) of orders 1 to 3 in t = -log sigma, on predictions of the noise, eps = (x - D)
 * / sigma: DPM fast and DPM adaptive, as k-diffusion has them. Both end on the smallest sigma above 0. */
#include "sample/walk.h"

#include <math.h>
#include <string.h>

static int noise_at(bl_walk *walk, float *eps, const float *x, double sigma) {
    double timestep = bl_sigma_to_timestep(walk->schedule, sigma);
    int rc = walk->calls->denoise(walk->calls->payload, x, sigma, timestep, eps, walk->err);
    if (!rc) {
        bl_term terms[] = {{1 / sigma, x}, {-1 / sigma, eps}};
        bl_mix(walk->n, eps, terms, 2);
    }
    return rc;
}

/* Smallest sigma that the walk is for. */
static double last_sigma(const bl_schedule *s) {
    return s->steps > 1 ? s->sigmas[s->steps - 1] : s->table.sigma[0];
}

/* eps at t, of x: buffer 0. */
static int begin_at(bl_walk *walk, double t) {
    return noise_at(walk, walk->buffer[0], walk->x, exp(-t));
}

/* The step's prediction of x0, once eps at t is known and x has not moved. */
static void predict(const bl_walk *walk, float *denoised, double t) {
    bl_term terms[] = {{1, walk->x}, {-exp(-t), walk->buffer[0]}};
    bl_mix(walk->n, denoised, terms, 2);
}

/* Where the way to `next` ends before fresh noise is added, and how much that is. */
static double without_noise(const bl_walk *walk, double t, double next, double end, double *up) {
    double down, to = next;
    *up = 0;
    if (walk->eta > 0) {
        bl_ancestral(exp(-t), exp(-next), walk->eta, &down, up);
        to = down > 0 && -log(down) < end ? -log(down) : end;
        *up = sqrt(fmax(exp(-2 * next) - exp(-2 * to), 0));
    }
    return to;
}

static int add_noise(bl_walk *walk, double t, double next, double up, float *noise) {
    int rc = bl_walk_noise(walk, exp(-t), exp(-next), noise);
    bl_term terms[] = {{1, walk->x}, {up, noise}};
    bl_mix(walk->n, walk->x, terms, rc ? 0 : 2);
    return rc;
}

/* From t over h to `out`, which may be x, once eps at t is known: buffer 0. Others: 1, 2 for eps between, 3
 * for x there. With `low` the third order, and there what the second gives from the same evaluations. */
static int solve(bl_walk *walk, float *out, float *low, double t, double h, int order) {
    float *e0 = walk->buffer[0], *e1 = walk->buffer[1], *e2 = walk->buffer[2], *u = walk->buffer[3];
    double end = exp(-(t + h)), r1 = order == 2 ? 0.5 : 1.0 / 3, r2 = 2.0 / 3, s1 = exp(-(t + r1 * h)),
           s2 = exp(-(t + r2 * h)), whole = end * expm1(h);
    int rc = 0;
    if (order == 1) {
        bl_term terms[] = {{1, walk->x}, {-whole, e0}};
        bl_mix(walk->n, out, terms, 2);
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
        bl_mix(walk->n, out, terms, 3);
        return 0;
    }
    if (low) {
        double k = whole / (2 * r1);
        bl_term terms[] = {{1, walk->x}, {k - whole, e0}, {-k, e1}};
        bl_mix(walk->n, low, terms, 3);
    }
    double k = s2 * (r2 / r1) * (expm1(r2 * h) / (r2 * h) - 1);
    bl_term second[] = {{1, walk->x}, {k - s2 * expm1(r2 * h), e0}, {-k, e1}};
    bl_mix(walk->n, u, second, 3);
    rc = noise_at(walk, e2, u, s2);
    if (!rc) {
        k = end / r2 * (expm1(h) / h - 1);
        bl_term terms[] = {{1, walk->x}, {k - whole, e0}, {-k, e2}};
        bl_mix(walk->n, out, terms, 3);
    }
    return rc;
}

/* As many evaluations as there are steps, in steps of the third order and what is left. */
int bl_sample_dpm_fast(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    const int calls = s->steps, count = calls / 3 + 1;
    double begin = -log(s->sigmas[0]), end = -log(last_sigma(s));
    float *denoised = walk->buffer[4];
    for (int i = 0; i < count; i++) {
        int order = i < count - 2 ? 3 : calls % 3 ? (i < count - 1 ? 3 : calls % 3) : (i < count - 1 ? 2 : 1);
        double t = begin + i * (end - begin) / count,
               next = i + 1 < count ? begin + (i + 1) * (end - begin) / count : end;
        double up, to = without_noise(walk, t, next, end, &up);
        int rc = begin_at(walk, t);
        if (!rc) {
            predict(walk, denoised, t);
            rc = solve(walk, walk->x, NULL, t, to - t, order);
        }
        if (!rc && walk->eta > 0 && i + 1 < count) {
            rc = add_noise(walk, t, next, up, walk->buffer[1]);
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

#define ABSOLUTE 0.0078 /* what the two orders may differ by, for their root mean square */
#define RELATIVE 0.05
#define FIRST_STEP 0.05
#define END_AT 1e-5   /* this near to it in t, the walk is at its end */
#define ACCEPTED 0.81 /* a step that is to be made shorter than this is made again */

/* Root mean square of (low - high), each in units of what is allowed at its place. */
static double error_of(size_t n, const float *low, const float *high, const float *before) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double allowed = fmax(ABSOLUTE, RELATIVE * fmax(fabs((double)low[i]), fabs((double)before[i])));
        double d = ((double)low[i] - (double)high[i]) / allowed;
        sum += d * d;
    }
    return sqrt(sum / (double)n);
}

/* How far the walk has come, in parts. */
static int parts_done(double begin, double end, double t) {
    int done = (int)floor(BL_ADAPTIVE_PARTS * (t - begin) / (end - begin));
    return t >= end - END_AT ? BL_ADAPTIVE_PARTS : done < 1 ? 1 : done;
}

/* Steps of the third order, as long as the second order gives nearly the same. */
int bl_sample_dpm_adaptive(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    const double begin = -log(s->sigmas[0]), end = -log(last_sigma(s)), order = walk->eta > 0 ? 1.5 : 3;
    float *high = walk->buffer[3], *low = walk->buffer[4], *before = walk->buffer[5],
          *denoised = walk->buffer[1];
    double t = begin, h = FIRST_STEP;
    memcpy(before, walk->x, walk->n * sizeof *before);
    for (int calls = 0; t < end - END_AT; calls += 3) {
        double next = fmin(end, t + h), up, to = without_noise(walk, t, next, end, &up);
        if (calls + 3 > BL_ADAPTIVE_MOST) {
            return bl_fail(walk->err, BL_E_UNSUPPORTED,
                           "DPM adaptive has not come to an end after %d evaluations: use another sampler",
                           calls);
        }
        int rc = begin_at(walk, t);
        rc = rc ? rc : solve(walk, high, low, t, to - t, 3);
        if (rc) {
            return rc;
        }
        double factor = 1 + atan(pow(1 / (error_of(walk->n, low, high, before) + 1e-8), 1 / order) - 1);
        if (!(factor > 0)) {
            return bl_fail(walk->err, BL_E_DEVICE, "DPM adaptive: latents that are no numbers");
        }
        h *= factor;
        if (factor < ACCEPTED) {
            continue;
        }
        predict(walk, denoised, t);
        memcpy(before, low, walk->n * sizeof *before);
        memcpy(walk->x, high, walk->n * sizeof *high);
        rc = up > 0 ? add_noise(walk, t, next, up, walk->buffer[2]) : 0;
        t = next;
        if (!rc && walk->calls->step) {
            rc = walk->calls->step(walk->calls->payload, parts_done(begin, end, t) - 1, BL_ADAPTIVE_PARTS,
                                   walk->x, denoised, walk->err);
        }
        if (rc) {
            return rc;
        }
    }
    return 0;
}
