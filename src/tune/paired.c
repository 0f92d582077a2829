#include "tune/paired.h"

#include "core/splitmix.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DRAWS 2000

double bl_sign_test(int heads, int count) {
    double term = pow(0.5, count), sum = 0; /* (count choose k) / 2^count */
    for (int k = 0; k <= count; k++) {
        sum += k >= heads ? term : 0;
        term = term * (count - k) / (k + 1);
    }
    return sum;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value below which this share of them lies. Sorts. */
static double quantile(double *x, int n, double share) {
    qsort(x, (size_t)n, sizeof *x, by_size);
    double at = share * (n - 1);
    int low = (int)at, high = low + 1 < n ? low + 1 : low;
    return x[low] + (at - low) * (x[high] - x[low]);
}

static void bootstrap(bl_verdict *v, const double *logs, int n) {
    static const double tail = BL_PAIRS_LEVEL / 2;
    double means[DRAWS];
    uint64_t state = 1;
    for (int d = 0; d < DRAWS; d++) {
        double sum = 0;
        for (int i = 0; i < n; i++) {
            sum += logs[bl_splitmix(&state) % (uint64_t)n];
        }
        means[d] = sum / n;
    }
    v->low = exp(quantile(means, DRAWS, tail));
    v->high = exp(quantile(means, DRAWS, 1 - tail));
}

bl_verdict bl_pairs_judge(const bl_pairs *p) {
    bl_verdict v = {.ratio = 1, .low = 1, .high = 1};
    double logs[BL_PAIRS_MOST], sorted[BL_PAIRS_MOST], sum = 0;
    int wins = 0, losses = 0, n = p->count;
    if (!n) {
        return v;
    }
    for (int i = 0; i < n; i++) {
        logs[i] = log(p->other[i] / p->present[i]);
        sum += logs[i];
        wins += logs[i] < 0;
        losses += logs[i] > 0;
    }
    v.ratio = exp(sum / n);
    bootstrap(&v, logs, n);
    memcpy(sorted, p->other, sizeof sorted);
    v.other = quantile(sorted, n, 0.5);
    memcpy(sorted, p->present, sizeof sorted);
    v.present = quantile(sorted, n, 0.5);
    v.spread = (quantile(sorted, n, 0.75) - quantile(sorted, n, 0.25)) / v.present;
    v.faster = bl_sign_test(wins, n) <= BL_PAIRS_LEVEL && v.high < 1;
    v.slower = bl_sign_test(losses, n) <= BL_PAIRS_LEVEL && v.low > 1;
    return v;
}
