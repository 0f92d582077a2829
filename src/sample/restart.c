/* Restart sampling (Xu et al. 2023) with Heun's steps, as A1111 has it: from 20 steps on it goes back from
 * sigma 0.1 to 2, once or twice, with fresh noise. */
#include "sample/walk.h"

#include "sample/curves.h"

#include <math.h>
#include <stdlib.h>

#define BACK_FROM 0.1
#define BACK_TO 2.0

static int heun(bl_walk *walk, double a, double b) {
    float *d1 = walk->buffer[0], *d2 = walk->buffer[1], *x2 = walk->buffer[2];
    int rc = walk->calls->denoise(walk->calls->payload, walk->x, a, bl_sigma_to_timestep(walk->schedule, a),
                                  d1, walk->err);
    if (rc) {
        return rc;
    }
    bl_term euler[] = {{b / a, walk->x}, {1 - b / a, d1}};
    if (b == 0) {
        bl_mix(walk->n, walk->x, euler, 2);
        return 0;
    }
    bl_mix(walk->n, x2, euler, 2);
    rc = walk->calls->denoise(walk->calls->payload, x2, b, bl_sigma_to_timestep(walk->schedule, b), d2,
                              walk->err);
    if (!rc) {
        bl_term terms[] = {{b / a, walk->x}, {(b - a) * (0.5 / b - 1 / a), d1}, {(a - b) * 0.5 / b, d2}};
        bl_mix(walk->n, walk->x, terms, 3);
    }
    return rc;
}

static int nearest(const double *sigmas, int count, double sigma) {
    int best = 0;
    for (int i = 1; i < count; i++) {
        best = fabs(sigmas[i] - sigma) < fabs(sigmas[best] - sigma) ? i : best;
    }
    return best;
}

/* One step of the list, after fresh noise where it begins above the end of the last one. */
static int one_step(bl_walk *walk, int number, double last, double a, double b) {
    int rc = 0;
    if (a > last) {
        rc = bl_walk_noise(walk, a, last, walk->buffer[0]);
        bl_term terms[] = {{1, walk->x}, {sqrt(a * a - last * last), walk->buffer[0]}};
        bl_mix(walk->n, walk->x, terms, rc ? 0 : 2);
    }
    rc = rc ? rc : heun(walk, a, b);
    return rc ? rc : bl_walk_step(walk, number, walk->buffer[0]);
}

/* The list: `count` steps down sigmas, and `times` times `back` steps of `again`, which begin and end at two
 * of these, where the second one is reached. */
typedef struct list {
    double *sigmas, *again;       /* [count + 1], [back + 1] */
    int count, back, times, from; /* from: where the second one is; 0: nowhere */
} list;

static void make_list(list *l, const bl_schedule *s) {
    const int n = s->steps;
    l->back = n >= 36 ? n / 4 : n >= 20 ? 9 : 0;
    l->times = n >= 36 ? 2 : l->back > 0;
    l->count = n - l->back * l->times;
    bl_curve(BL_SCHEDULE_KARRAS, l->count, s->sigmas[n - 1], s->sigmas[0], l->sigmas);
    l->sigmas[l->count] = 0;
    int from = nearest(l->sigmas, l->count, BACK_FROM), to = nearest(l->sigmas, l->count, BACK_TO);
    if (l->back && to < from) {
        l->from = from;
        bl_curve(BL_SCHEDULE_KARRAS, l->back + 1, l->sigmas[from], l->sigmas[to], l->again);
        return;
    }
    l->count = n; /* there is nowhere to go back to */
    for (int i = 0; i <= n; i++) {
        l->sigmas[i] = s->sigmas[i];
    }
}

static int walk_list(bl_walk *walk, const list *l) {
    int rc = 0, number = 0;
    double last = l->sigmas[0];
    for (int i = 0; i < l->count && !rc; i++) {
        rc = one_step(walk, number++, last, l->sigmas[i], l->sigmas[i + 1]);
        last = l->sigmas[i + 1];
        for (int k = 0; l->from && i + 1 == l->from && k < l->times * l->back && !rc; k++) {
            rc = one_step(walk, number++, last, l->again[k % l->back], l->again[k % l->back + 1]);
            last = l->again[k % l->back + 1];
        }
    }
    return rc;
}

int bl_sample_restart(bl_walk *walk) {
    size_t room = (size_t)walk->schedule->steps + 1;
    double *sigmas = calloc(2 * room, sizeof *sigmas);
    if (!sigmas) {
        return bl_fail_memory(walk->err, "the list of noise levels", 2 * room * sizeof *sigmas);
    }
    list l = {.sigmas = sigmas, .again = sigmas + room};
    make_list(&l, walk->schedule);
    int rc = walk_list(walk, &l);
    free(sigmas);
    return rc;
}
