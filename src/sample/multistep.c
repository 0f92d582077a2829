/* One evaluation a step and predictions of earlier steps: DPM++ 2M, 2M SDE (midpoint and Heun), 3M SDE.
 *
 * h = log(a/b) is the length of a step in -log sigma. A step that ends on 0 takes the prediction as it is. */
#include "sample/walk.h"

#include <math.h>

static void swap(float **p, float **q) {
    float *t = *p;
    *p = *q;
    *q = t;
}

int bl_sample_dpmpp_2m(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    float *now = walk->buffer[0], *old = walk->buffer[1];
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i], extra = 0.0;
        int rc = bl_walk_denoise(walk, i, now);
        if (rc) {
            return rc;
        }
        if (b > 0 && i > 0) {
            extra = 0.5 * log(a / b) / log(s->sigmas[i - 1] / a); /* 1 / 2r, r = the step before / this one */
        }
        double whole = 1 - b / a;
        bl_term terms[] = {{b / a, walk->x}, {whole * (1 + extra), now}, {-whole * extra, old}};
        bl_mix(walk->n, walk->x, terms, i > 0 ? 3 : 2);
        rc = bl_walk_step(walk, i, now);
        if (rc) {
            return rc;
        }
        swap(&now, &old);
    }
    return 0;
}

/* x' = (b/a) e^(-eta h) x + c D + k (D - D_old) / r + b sqrt(1 - e^(-2 eta h)) noise, c = 1 - e^(-h - eta h);
 * midpoint: k = c/2, Heun: k = 1 - c / (h + eta h). */
int bl_sample_dpmpp_2m_sde(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    float *now = walk->buffer[0], *old = walk->buffer[1], *noise = walk->buffer[2];
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i];
        int rc = bl_walk_denoise(walk, i, now);
        if (rc) {
            return rc;
        }
        if (b > 0) {
            double h = log(a / b), he = h + walk->eta * h, c = -expm1(-he), k = 0.0;
            double up = b * sqrt(-expm1(-2 * walk->eta * h));
            if (i > 0) {
                double r = log(s->sigmas[i - 1] / a) / h;
                k = (walk->id == BL_SAMPLER_DPMPP_2M_SDE_HEUN ? 1 - c / he : 0.5 * c) / r;
            }
            if (up > 0 && (rc = bl_walk_noise(walk, a, b, noise))) {
                return rc;
            }
            bl_term terms[4] = {{exp(-he), walk->x}, {c + k, now}};
            int count = 2;
            if (i > 0) {
                terms[count++] = (bl_term){-k, old};
            }
            if (up > 0) {
                terms[count++] = (bl_term){up, noise};
            }
            bl_mix(walk->n, walk->x, terms, count);
        } else {
            bl_term all = {1.0, now};
            bl_mix(walk->n, walk->x, &all, 1);
        }
        rc = bl_walk_step(walk, i, now);
        if (rc) {
            return rc;
        }
        swap(&now, &old);
    }
    return 0;
}

/* Weights of the predictions of this step and the two before in DPM++ 3M: with g = (D0 - D1) / r0 and
 * g' = (D1 - D2) / r1, adds phi2 (g + (g - g') r0 / (r0 + r1)) - phi3 (g - g') / (r0 + r1); with one older
 * prediction phi2 g. */
static void third_order(double he, double h, double h1, double h2, int known, double w[3]) {
    w[0] = -expm1(-he);
    w[1] = w[2] = 0.0;
    double phi2 = expm1(-he) / he + 1, phi3 = phi2 / he - 0.5, r0 = h1 / h, r1 = h2 / h;
    if (known >= 2) {
        double bend = (phi2 * r0 - phi3) / (r0 + r1); /* weight of g - g' */
        w[0] += (phi2 + bend) / r0;
        w[1] -= (phi2 + bend) / r0 + bend / r1;
        w[2] += bend / r1;
    } else if (known == 1) {
        w[0] += phi2 / r0;
        w[1] -= phi2 / r0;
    }
}

int bl_sample_dpmpp_3m_sde(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    float *now = walk->buffer[0], *d1 = walk->buffer[1], *d2 = walk->buffer[2], *noise = walk->buffer[3];
    double h1 = 0.0, h2 = 0.0;
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i];
        int rc = bl_walk_denoise(walk, i, now);
        if (rc) {
            return rc;
        }
        if (b > 0) {
            double h = log(a / b), he = h + walk->eta * h, up = b * sqrt(-expm1(-2 * walk->eta * h)), w[3];
            third_order(he, h, h1, h2, i, w);
            if (up > 0 && (rc = bl_walk_noise(walk, a, b, noise))) {
                return rc;
            }
            bl_term terms[5] = {{exp(-he), walk->x}, {w[0], now}};
            int count = 2;
            if (i > 0) {
                terms[count++] = (bl_term){w[1], d1};
            }
            if (i > 1) {
                terms[count++] = (bl_term){w[2], d2};
            }
            if (up > 0) {
                terms[count++] = (bl_term){up, noise};
            }
            bl_mix(walk->n, walk->x, terms, count);
            h2 = h1;
            h1 = h;
        } else {
            bl_term all = {1.0, now};
            bl_mix(walk->n, walk->x, &all, 1);
        }
        rc = bl_walk_step(walk, i, now);
        if (rc) {
            return rc;
        }
        swap(&d1, &d2);
        swap(&now, &d1);
    }
    return 0;
}
