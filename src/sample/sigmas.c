/* alphas_cumprod in double, and in float with the roundings that torch makes on the way. */
#include "sample/sigmas.h"

#include <math.h>

#define BETA_START 0.00085
#define BETA_END 0.012
#define LAST (BL_TRAIN_STEPS - 1)

static void alphas_double(double *a) {
    double start = sqrt(BETA_START), end = sqrt(BETA_END), step = (end - start) / LAST, product = 1.0;
    for (int t = 0; t <= LAST; t++) {
        double root = t == LAST ? end : t * step + start;
        product *= 1.0 - root * root;
        a[t] = product;
    }
}

/* torch.linspace in float counts from the nearer end and rounds once; cumprod carries a double. */
static void alphas_single(double *a) {
    float start = (float)sqrt(BETA_START), end = (float)sqrt(BETA_END), step = (end - start) / (float)LAST;
    double product = 1.0;
    for (int t = 0; t <= LAST; t++) {
        float root = t < BL_TRAIN_STEPS / 2 ? (float)((double)start + (double)step * t)
                                            : (float)((double)end - (double)step * (LAST - t));
        float beta = root * root;
        product *= (double)(1.0f - beta);
        a[t] = (double)(float)product;
    }
}

/* Shifts sqrt(a) so that its last is 0 and scales it so that its first stays. */
static void rescale_double(double *a) {
    double first = sqrt(a[0]), last = sqrt(a[LAST]);
    for (int t = 0; t <= LAST; t++) {
        double root = (sqrt(a[t]) - last) * first / (first - last);
        a[t] = root * root;
    }
}

/* The same with diffusers' detour over betas, whose roundings can be seen in the sigmas. */
static void rescale_single(double *a) {
    float first = sqrtf((float)a[0]), last = sqrtf((float)a[LAST]), scale = first / (first - last);
    float before = 1.0f;
    double product = 1.0;
    for (int t = 0; t <= LAST; t++) {
        float root = (sqrtf((float)a[t]) - last) * scale;
        float bar = root * root;
        float alpha = t == 0 ? bar : bar / before;
        float beta = 1.0f - alpha;
        before = bar;
        product *= (double)(1.0f - beta);
        a[t] = (double)(float)product;
    }
}

void bl_sigmas_fill(bl_sigmas *table, double terminal, bool single) {
    double *a = table->alphas_cumprod;
    table->count = BL_TRAIN_STEPS;
    table->single = single;
    if (single) {
        alphas_single(a);
    } else {
        alphas_double(a);
    }
    if (terminal > 0) {
        if (single) {
            rescale_single(a);
        } else {
            rescale_double(a);
        }
        a[LAST] = terminal;
    }
    for (int t = 0; t <= LAST; t++) {
        if (single) {
            float ratio = (float)(1.0 - a[t]) / (float)a[t];
            float sigma = sqrtf(ratio);
            table->sigma[t] = (double)sigma;
            table->log_sigma[t] = (double)(float)log((double)sigma);
        } else {
            table->sigma[t] = sqrt((1.0 - a[t]) / a[t]);
            table->log_sigma[t] = log(table->sigma[t]);
        }
    }
}

void bl_sigmas_thin(bl_sigmas *table, int count) {
    int stride = table->count / count;
    for (int i = 0; i < count; i++) {
        int from = (i + 1) * stride - 1;
        table->alphas_cumprod[i] = table->alphas_cumprod[from];
        table->sigma[i] = table->sigma[from];
        table->log_sigma[i] = table->log_sigma[from];
    }
    table->count = count;
}

int bl_sigmas_first(const bl_sigmas *table) {
    return BL_TRAIN_STEPS / table->count - 1;
}

static double held(double t) {
    return fmin(fmax(t, 0.0), (double)LAST);
}

double bl_sigma_at(const bl_sigmas *table, double t) {
    int first = bl_sigmas_first(table);
    t = fmax(held(t) - first, 0.0) / (first + 1); /* the level */
    int low = (int)floor(t), high = (int)ceil(t);
    double w = t - low;
    return exp((1 - w) * table->log_sigma[low] + w * table->log_sigma[high]);
}

double bl_sigma_at_linear(const bl_sigmas *table, double t) {
    t = held(t);
    int low = (int)floor(t);
    if (low == LAST) {
        return table->sigma[LAST];
    }
    return (table->sigma[low + 1] - table->sigma[low]) * (t - low) + table->sigma[low];
}

/* The last entry that is not above `log_sigma`, at most the last but one, at least 0. */
static int entry_below(const bl_sigmas *table, double log_sigma) {
    int low = 0, high = table->count - 1;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (table->log_sigma[middle] <= log_sigma) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

double bl_timestep_fractional(const bl_sigmas *table, double sigma) {
    double l = log(fmax(sigma, 1e-10));
    int low = entry_below(table, l);
    double from = table->log_sigma[low], to = table->log_sigma[low + 1], width = from - to;
    if (table->single) {
        width = (double)(float)width;
    }
    double w = fmin(fmax((from - l) / width, 0.0), 1.0);
    return (1 - w) * low + w * (low + 1);
}

double bl_timestep_nearest(const bl_sigmas *table, double sigma) {
    double l = log(fmax(sigma, 1e-10));
    int low = entry_below(table, l), first = bl_sigmas_first(table);
    int nearest = fabs(l - table->log_sigma[low]) <= fabs(l - table->log_sigma[low + 1]) ? low : low + 1;
    return nearest * (first + 1) + first;
}
