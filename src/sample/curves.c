#include "sample/curves.h"

#include "sample/quantile.h"

#include <math.h>

#define LAST (BL_TRAIN_STEPS - 1)
#define KARRAS_RHO 7.0
#define BETA_SHAPE 0.6
#define STEPS_OFFSET 1 /* of "leading", in the configs that SD1.x, SD2.x and SDXL came with */

double bl_linspace(int i, int n, double start, double stop) {
    if (n > 1 && i == n - 1) {
        return stop;
    }
    return n > 1 ? i * ((stop - start) / (n - 1)) + start : start;
}

void bl_curve(bl_schedule_id curve, int n, double low, double high, double *sigmas) {
    double top = pow(high, 1 / KARRAS_RHO), bottom = pow(low, 1 / KARRAS_RHO);
    for (int i = 0; i < n; i++) {
        double ramp = bl_linspace(i, n, 0.0, 1.0);
        if (curve == BL_SCHEDULE_KARRAS) {
            sigmas[i] = pow(top + ramp * (bottom - top), KARRAS_RHO);
        } else if (curve == BL_SCHEDULE_EXPONENTIAL || curve == BL_SCHEDULE_POLYEXPONENTIAL) {
            sigmas[i] = exp(bl_linspace(i, n, log(high), log(low)));
        } else {
            sigmas[i] = low + bl_beta_quantile(1 - ramp, BETA_SHAPE) * (high - low);
        }
    }
}

int bl_k_room(int n) {
    return n > BL_TRAIN_STEPS ? n : BL_TRAIN_STEPS;
}

static int ddim_uniform(const bl_sigmas *table, int n, double *sigmas) {
    int stride = table->count / n > 1 ? table->count / n : 1;
    int count = (table->count - 2) / stride + 1;
    for (int i = 0; i < count; i++) {
        sigmas[i] = table->sigma[1 + (count - 1 - i) * stride];
    }
    return count;
}

static int beta_of_timesteps(const bl_sigmas *table, int n, double *sigmas) {
    int count = 0, before = -1;
    for (int i = 0; i < n; i++) {
        int t = (int)rint(bl_beta_quantile(1 - i * (1.0 / n), BETA_SHAPE) * LAST);
        if (t != before) {
            sigmas[count++] = table->sigma[t];
        }
        before = t;
    }
    return count;
}

void bl_aligned_sigmas(const double *steps, int n, double *sigmas) {
    static const double sd1[BL_ALIGNED_STEPS] = {14.615, 6.475, 3.861, 2.697, 1.886, 1.396,
                                                 0.963,  0.652, 0.399, 0.152, 0.029};
    const double *of = steps ? steps : sd1;
    for (int i = 0; i < n; i++) {
        double at = n > 1 ? bl_linspace(i, n, 0, BL_ALIGNED_STEPS - 1) : BL_ALIGNED_STEPS - 1;
        int low = at < BL_ALIGNED_STEPS - 1 ? (int)at : BL_ALIGNED_STEPS - 2;
        double w = at - low;
        sigmas[i] = exp((1 - w) * log(of[low]) + w * log(of[low + 1]));
    }
}

int bl_k_sigmas(const bl_sigmas *table, bl_schedule_id schedule, int n, bool comfy_beta, double *sigmas) {
    int first = bl_sigmas_first(table), last = table->count - 1;
    switch (schedule) {
    case BL_SCHEDULE_DDIM_UNIFORM:
        return ddim_uniform(table, n, sigmas);
    case BL_SCHEDULE_BETA:
        if (comfy_beta) {
            return beta_of_timesteps(table, n, sigmas);
        }
        /* fall through */
    case BL_SCHEDULE_KARRAS:
    case BL_SCHEDULE_EXPONENTIAL:
    case BL_SCHEDULE_POLYEXPONENTIAL:
        bl_curve(schedule, n, table->sigma[0], table->sigma[last], sigmas);
        return n;
    case BL_SCHEDULE_KL_OPTIMAL: /* angles; of A1111's n + 1 the last is left out */
        for (int i = 0; i < n; i++) {
            double w = comfy_beta ? bl_linspace(i, n, 0, 1) : (double)i / n;
            sigmas[i] = tan(w * atan(table->sigma[0]) + (1 - w) * atan(table->sigma[last]));
        }
        return n;
    case BL_SCHEDULE_TURBO: /* timesteps 1000 k / n - 1, nearest whole: "Turbo" of
                               stable-diffusion-webui-forge (modules/sd_schedulers.py, turbo_scheduler).
                               ComfyUI's SDTurboScheduler is another: the first n of 999, 899, ... */
        for (int i = 0; i < n; i++) {
            double t = rint((n - i) * ((double)BL_TRAIN_STEPS / n) - 1);
            sigmas[i] = bl_sigma_at(table, t);
        }
        return n;
    case BL_SCHEDULE_SIMPLE:
        for (int i = 0; i < n; i++) {
            sigmas[i] = table->sigma[last - (int)(i * (double)table->count / n)];
        }
        return n;
    case BL_SCHEDULE_SGM_UNIFORM:
        for (int i = 0; i < n; i++) {
            sigmas[i] = bl_sigma_at(table, bl_linspace(i, n + 1, LAST, first));
        }
        return n;
    default:
        for (int i = 0; i < n; i++) {
            sigmas[i] = bl_sigma_at(table, bl_linspace(i, n, LAST, first));
        }
        return n;
    }
}

int bl_spaced_timesteps(bl_schedule_id spacing, int n, bool more, bool whole, double *timesteps) {
    int points = more ? n + 1 : n;
    if (spacing == BL_SCHEDULE_TRAILING) {
        /* numpy.arange(1000, 0, -step), with its way of counting and stepping: halves are rounded below. */
        double step = (double)BL_TRAIN_STEPS / n, delta = (BL_TRAIN_STEPS - step) - BL_TRAIN_STEPS;
        int count = 0;
        for (int i = 0; i < (int)ceil(BL_TRAIN_STEPS / step); i++) {
            double t = rint(BL_TRAIN_STEPS + i * delta) - 1;
            if (t >= 0 && count < n) {
                timesteps[count++] = t;
            }
        }
        return count;
    }
    for (int i = 0; i < n; i++) {
        int rank = points - 1 - i; /* numpy counts upwards and turns the list round */
        if (spacing == BL_SCHEDULE_LEADING) {
            timesteps[i] = rank * (BL_TRAIN_STEPS / points) + STEPS_OFFSET;
        } else {
            double t = bl_linspace(rank, points, 0, LAST);
            timesteps[i] = whole ? rint(t) : (double)(float)t;
        }
    }
    return n;
}
