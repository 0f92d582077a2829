/* Predictions of earlier steps as slopes d = (x - D) / sigma: LMS, PLMS. */
#include "sample/walk.h"

#include <math.h>

#define ORDER 4

static void slope(bl_walk *walk, float *out, const float *x, const float *denoised, double sigma) {
    bl_term terms[] = {{1 / sigma, x}, {-1 / sigma, denoised}};
    bl_mix(walk->n, out, terms, 2);
}

/* The newest slope comes first. */
static void shift(float *d[ORDER]) {
    float *oldest = d[ORDER - 1];
    for (int k = ORDER - 1; k; k--) {
        d[k] = d[k - 1];
    }
    d[0] = oldest;
}

/* Weight of the slope at node k of the polynomial through `count` nodes, over the step from a to b: Gauss's
 * two points, which are exact for cubics. */
static double weight_of(const double *node, int count, int k, double a, double b) {
    double sum = 0;
    for (int p = -1; p <= 1; p += 2) {
        double at = (a + b) / 2 + p * (b - a) / (2 * sqrt(3)), product = 1;
        for (int j = 0; j < count; j++) {
            product *= j == k ? 1 : (at - node[j]) / (node[k] - node[j]);
        }
        sum += product * (b - a) / 2;
    }
    return sum;
}

/* Linear multistep (Katherine Crowson): x' = x + sum of d_k times the integral of Lagrange's polynomial. */
int bl_sample_lms(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    float *denoised = walk->buffer[0], *d[ORDER];
    for (int k = 0; k < ORDER; k++) {
        d[k] = walk->buffer[k + 1];
    }
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i], node[ORDER];
        int rc = bl_walk_denoise(walk, i, denoised), count = i + 1 < ORDER ? i + 1 : ORDER;
        if (rc) {
            return rc;
        }
        shift(d);
        slope(walk, d[0], walk->x, denoised, a);
        for (int k = 0; k < count; k++) {
            node[k] = s->sigmas[i - k];
        }
        double first = weight_of(node, count, 0, a, b) / a; /* of this step's slope, as x and D */
        bl_term terms[ORDER + 1] = {{1 + first, walk->x}, {-first, denoised}};
        for (int k = 1; k < count; k++) {
            terms[k + 1] = (bl_term){weight_of(node, count, k, a, b), d[k]};
        }
        bl_mix(walk->n, walk->x, terms, count + 1);
        rc = bl_walk_step(walk, i, denoised);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* The slope at the end of an Euler step from a to b, into d; x2 and D2 are for it. */
static int improve(bl_walk *walk, float *x2, float *denoised2, float *d, const float *denoised, double a,
                   double b, double timestep) {
    bl_term terms[] = {{b / a, walk->x}, {1 - b / a, denoised}};
    bl_mix(walk->n, x2, terms, 2);
    int rc = walk->calls->denoise(walk->calls->payload, x2, b, timestep, denoised2, walk->err);
    if (!rc) {
        slope(walk, d, x2, denoised2, b);
    }
    return rc;
}

/* Pseudo linear multistep (Liu et al. 2022) as latent diffusion has it: Adams and Bashforth's weights of the
 * last four slopes, and where there is one, the mean of it and of the one at the step's end. */
int bl_sample_plms(bl_walk *walk) {
    static const double weights[ORDER][ORDER] = {{0.5, 0.5},
                                                 {1.5, -0.5},
                                                 {23.0 / 12, -16.0 / 12, 5.0 / 12},
                                                 {55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24}};
    const bl_schedule *s = walk->schedule;
    float *denoised = walk->buffer[0], *x2 = walk->buffer[1], *d[ORDER];
    for (int k = 0; k < ORDER; k++) {
        d[k] = walk->buffer[k + 2];
    }
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i], scale = bl_reread(s, i, b);
        int rc = bl_walk_denoise(walk, i, denoised), count = i + 1 < ORDER ? i + 1 : ORDER;
        const double *w = weights[count - 1];
        if (!rc) {
            shift(d);
            slope(walk, d[0], walk->x, denoised, a);
        }
        if (!rc && !i && s->steps > 1) {
            rc = improve(walk, x2, d[2], d[1], denoised, a, b, s->timesteps[1]);
        }
        if (rc) {
            return rc;
        }
        bl_term terms[ORDER + 1] = {{scale, walk->x}};
        bool alone = s->steps == 1; /* Euler's step */
        count = alone ? 1 : i ? count : 2;
        for (int k = 0; k < count; k++) {
            terms[k + 1] = (bl_term){scale * (b - a) * (alone ? 1 : w[k]), d[k]};
        }
        bl_mix(walk->n, walk->x, terms, count + 1);
        rc = bl_walk_step(walk, i, denoised);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
