/* UniPC (Zhao et al. 2023) on predictions of x0, multistep, in sigma space: x = y / alpha turns the paper's
 * y' = (s'/s) y - alpha' (phi1 m + B res) into x' = (sigma'/sigma) x - phi1 m - B res, with h the step in
 * -log sigma and phi1 = expm1(-h). B(h) is -h in bh1 and expm1(-h) in bh2. Orders fall towards the end, as
 * all programs have it. */
#include "sample/walk.h"

#include <math.h>

#define ORDER 3

typedef struct history {
    float *m[ORDER];      /* predictions, newest first: m[0] is at sigma[0] */
    double lambda[ORDER]; /* their -log sigma */
    int count;
} history;

/* Solves the k x k system sum_j r_j^row rho_j = b_row (k <= 3) by elimination. */
static void vandermonde(const double *r, const double *b, int k, double *rho) {
    double m[ORDER][ORDER + 1];
    for (int row = 0; row < k; row++) {
        for (int j = 0; j < k; j++) {
            m[row][j] = pow(r[j], row);
        }
        m[row][k] = b[row];
    }
    for (int p = 0; p < k; p++) {
        int best = p;
        for (int row = p + 1; row < k; row++) {
            best = fabs(m[row][p]) > fabs(m[best][p]) ? row : best;
        }
        for (int j = 0; j <= k; j++) {
            double t = m[p][j];
            m[p][j] = m[best][j];
            m[best][j] = t;
        }
        for (int row = 0; row < k; row++) {
            double factor = row == p ? 0.0 : m[row][p] / m[p][p];
            for (int j = p; j <= k; j++) {
                m[row][j] -= factor * m[p][j];
            }
        }
    }
    for (int p = 0; p < k; p++) {
        rho[p] = m[p][k] / m[p][p];
    }
}

/* Right-hand sides phi_{k+1}(-h) k! / B, k = 1 .. count. */
static void moments(double h, double b, int count, double *out) {
    double phi = expm1(-h) / -h - 1, factorial = 1;
    for (int k = 1; k <= count; k++) {
        out[k - 1] = phi * factorial / b;
        factorial *= k + 1;
        phi = phi / -h - 1 / factorial;
    }
}

/* x = ratio * base - phi1 m[0] - B (sum_j rho_j (m[j] - m[0]) / r_j + rho_last (new - m[0])): the predictor
 * without `new`, the corrector with it. `order` predictions of the history count. */
static void combine(bl_walk *walk, float *out, const float *base, const history *past, int order,
                    double ratio, double h, const float *fresh) {
    double phi1 = isfinite(h) ? expm1(-h) : -1.0, b = walk->id == BL_SAMPLER_UNIPC_BH2 ? phi1 : -h;
    if (walk->schedule->compat == BL_COMPAT_DIFFUSERS) {
        b = phi1; /* diffusers' own choice */
    }
    double r[ORDER], rhs[ORDER], rho[ORDER];
    int nodes = order - 1;
    for (int j = 0; j < nodes; j++) {
        r[j] = (past->lambda[j + 1] - past->lambda[0]) / h;
    }
    if (fresh && order > 1) {
        r[nodes] = 1.0;
        moments(h, b, order, rhs);
        vandermonde(r, rhs, order, rho);
    } else if (fresh || order == 2) {
        rho[0] = 0.5; /* what the authors take at first and second order */
    } else if (order > 2) {
        moments(h, b, nodes, rhs);
        vandermonde(r, rhs, nodes, rho);
    }
    bl_term terms[BL_WALK_BUFFERS] = {{ratio, base}, {-phi1, past->m[0]}};
    int count = 2;
    for (int j = 0; j < nodes; j++) {
        double w = b * rho[j] / r[j];
        terms[count++] = (bl_term){-w, past->m[j + 1]};
        terms[1].weight += w;
    }
    if (fresh) {
        double w = b * rho[nodes];
        terms[count++] = (bl_term){-w, fresh};
        terms[1].weight += w;
    }
    bl_mix(walk->n, out, terms, count);
}

/* Puts the oldest buffer first, for the next prediction, and moves the others back. */
static float *make_room(history *past) {
    float *oldest = past->m[ORDER - 1];
    for (int j = ORDER - 1; j > 0; j--) {
        past->m[j] = past->m[j - 1];
        past->lambda[j] = past->lambda[j - 1];
    }
    past->m[0] = oldest;
    return oldest;
}

int bl_sample_unipc(bl_walk *walk) {
    const bl_schedule *s = walk->schedule;
    history past = {{walk->buffer[0], walk->buffer[1], walk->buffer[2]}, {0}, 0};
    float *fresh = walk->buffer[3], *base = walk->buffer[4];
    int order = 0;
    for (int i = 0; i < s->steps; i++) {
        double a = s->sigmas[i], b = s->targets[i], lambda = -log(a);
        int rc = bl_walk_denoise(walk, i, fresh);
        if (rc) {
            return rc;
        }
        if (i > 0) { /* the corrector goes the last step again, now with the prediction at its end */
            combine(walk, walk->x, base, &past, order, a / s->sigmas[i - 1], lambda - past.lambda[0], fresh);
        }
        float *oldest = make_room(&past);
        past.m[0] = fresh;
        past.lambda[0] = lambda;
        past.count += past.count < ORDER;
        fresh = oldest;
        order = walk->order < s->steps - i ? walk->order : s->steps - i;
        order = order < past.count ? order : past.count;
        bl_term same = {1.0, walk->x};
        bl_mix(walk->n, base, &same, 1);
        double h = b > 0 ? -log(b) - lambda : INFINITY, next = s->sigmas[i + 1];
        combine(walk, walk->x, base, &past, order, b / a, h, NULL);
        if (next != b) { /* the end above 0: the decoder takes the variance-preserving sample */
            bl_term scaled = {sqrt((next * next + 1) / (b * b + 1)), walk->x};
            bl_mix(walk->n, walk->x, &scaled, 1);
        }
        rc = bl_walk_step(walk, i, past.m[0]);
        if (rc) {
            return rc;
        }
    }
    return 0;
}
