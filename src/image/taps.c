#include "image/taps.h"

#include <math.h>
#include <stdlib.h>
#include <stdbool.h>

#define PI 3.14159265358979323846

static double box(double x) {
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double hamming(double x) {
    x = fabs(x);
    if (x == 0.0) {
        return 1.0;
    }
    if (x >= 1.0) {
        return 0.0;
    }
    x *= PI;
    /* Pillow's constants are floats, and that shows in some bytes. */
    return sin(x) / x * ((double)0.54f + (double)0.46f * cos(x));
}

/* Keys' cubic convolution (1981) with the free parameter a. */
static double cubic(double x, double a) {
    x = fabs(x);
    if (x < 1.0) {
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    }
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

static double bicubic(double x) {
    return cubic(x, -0.5);
}

static double sinc(double x) {
    return x == 0.0 ? 1.0 : sin(x * PI) / (x * PI);
}

static double lanczos(double x) {
    return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
}

static const struct filter {
    double (*weight)(double);
    double support;
} filters[BL_RESIZE_COUNT] = {
    [BL_RESIZE_BOX] = {box, 0.5},         [BL_RESIZE_BILINEAR] = {bilinear, 1.0},
    [BL_RESIZE_HAMMING] = {hamming, 1.0}, [BL_RESIZE_BICUBIC] = {bicubic, 2.0},
    [BL_RESIZE_LANCZOS] = {lanczos, 3.0},
};

/* Room for `count` places of at most `most` taps, all zero. */
static int allocate(bl_taps *out, int64_t count, int64_t most, bl_error *err) {
    bl_taps t = {.count = count,
                 .most = most,
                 .first = calloc((size_t)count, sizeof *t.first),
                 .length = calloc((size_t)count, sizeof *t.length),
                 .weights = calloc((size_t)(count * most), sizeof *t.weights)};
    if (!t.first || !t.length || !t.weights) {
        bl_taps_clear(&t);
        return bl_fail_memory(err, "the weights of a resize", (unsigned long long)(count * (most + 2)) * 8);
    }
    *out = t;
    return BL_OK;
}

void bl_taps_clear(bl_taps *taps) {
    free(taps->first);
    free(taps->length);
    free(taps->weights);
    *taps = (bl_taps){0};
}

int bl_taps_filter(bl_taps *out, int64_t from, int64_t to, bl_resize_filter filter, bl_error *err) {
    const struct filter *f = &filters[filter];
    double scale = (double)from / (double)to;
    double stretch = scale < 1.0 ? 1.0 : scale;
    double support = f->support * stretch;
    int rc = allocate(out, to, (int64_t)ceil(support) * 2 + 1, err);
    if (rc) {
        return rc;
    }
    for (int64_t i = 0; i < to; i++) {
        double center = ((double)i + 0.5) * scale;
        int64_t first = (int64_t)(center - support + 0.5), end = (int64_t)(center + support + 0.5);
        first = first < 0 ? 0 : first;
        end = end > from ? from : end;
        double *w = out->weights + i * out->most, sum = 0.0;
        for (int64_t k = 0; k < end - first; k++) {
            w[k] = f->weight(((double)(k + first) - center + 0.5) * (1.0 / stretch));
            sum += w[k];
        }
        for (int64_t k = 0; sum != 0.0 && k < end - first; k++) {
            w[k] /= sum;
        }
        out->first[i] = first;
        out->length[i] = end - first;
    }
    return BL_OK;
}

int bl_taps_nearest(bl_taps *out, int64_t from, int64_t to, bl_error *err) {
    int rc = allocate(out, to, 1, err);
    if (rc) {
        return rc;
    }
    /* Added up, not multiplied, as Pillow does: where a place lies on the border of two pixels, rounding
     * decides. */
    double scale = (double)from / (double)to, at = scale * 0.5;
    for (int64_t i = 0; i < to; i++, at += scale) {
        out->first[i] = at < (double)from ? (int64_t)at : from - 1;
        out->length[i] = 1;
        out->weights[i] = 1.0;
    }
    return BL_OK;
}

/* One place of the unfiltered modes: `n` neighbours from floor(at) + begin, those beyond the edge repeat it.
 */
static void put_neighbours(bl_taps *t, int64_t i, int64_t from, float at, int64_t begin, int64_t n) {
    int64_t low = (int64_t)floorf(at);
    double x = (double)(at - (float)low);
    for (int64_t k = 0; k < n; k++) {
        double distance = (double)(begin + k) - x;
        int64_t place = low + begin + k;
        place = place < 0 ? 0 : place >= from ? from - 1 : place;
        if (!k) {
            t->first[i] = place;
        }
        t->weights[i * t->most + place - t->first[i]] += n == 4 ? cubic(distance, -0.75) : bilinear(distance);
        t->length[i] = place - t->first[i] + 1;
    }
}

int bl_taps_interpolate(bl_taps *out, int64_t from, int64_t to, bl_interpolation mode, bl_error *err) {
    if (mode == BL_INTERPOLATE_BILINEAR_ANTIALIAS || mode == BL_INTERPOLATE_BICUBIC_ANTIALIAS) {
        bool linear = mode == BL_INTERPOLATE_BILINEAR_ANTIALIAS;
        return bl_taps_filter(out, from, to, linear ? BL_RESIZE_BILINEAR : BL_RESIZE_BICUBIC, err);
    }
    int rc = allocate(out, to, 4, err);
    if (rc) {
        return rc;
    }
    /* In float, as torch does for float tensors: nearest must fall on the same neighbour. */
    float scale = (float)from / (float)to;
    for (int64_t i = 0; i < to; i++) {
        float at = scale * ((float)i + 0.5f) - 0.5f;
        if (mode == BL_INTERPOLATE_BICUBIC) {
            put_neighbours(out, i, from, at, -1, 4);
        } else if (mode == BL_INTERPOLATE_BILINEAR) {
            put_neighbours(out, i, from, at < 0.0f ? 0.0f : at, 0, 2);
        } else {
            float exact = ((float)i + (mode == BL_INTERPOLATE_NEAREST ? 0.0f : 0.5f)) * scale;
            int64_t place = (int64_t)floorf(exact);
            out->first[i] = place < from ? place : from - 1;
            out->length[i] = 1;
            out->weights[i * out->most] = 1.0;
        }
    }
    return BL_OK;
}
