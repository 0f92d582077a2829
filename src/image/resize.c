#include "image/resize.h"

#include "core/parallel.h"
#include "image/taps.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PRECISION 22 /* fractional bits of Pillow's weights: 32 less 8 of the pixel less 2 for overshoot */

static int check_sides(int64_t out_height, int64_t out_width, int64_t in_height, int64_t in_width,
                       bl_error *err) {
    const int64_t sides[] = {out_height, out_width, in_height, in_width};
    for (int i = 0; i < 4; i++) {
        if (sides[i] < 1 || sides[i] > BL_RESIZE_MAX_SIDE) {
            return bl_fail(err, BL_E_ARGUMENT,
                           "cannot resize a picture of %lld x %lld to %lld x %lld: sides must be 1 to %d",
                           (long long)in_width, (long long)in_height, (long long)out_width,
                           (long long)out_height, BL_RESIZE_MAX_SIDE);
        }
    }
    return BL_OK;
}

/* One pass over the rows of the result. A pass along rows reads [height, from] and writes [height,
 * taps.count]; a pass along columns reads [from, width] and writes [taps.count, width]. */
typedef struct pass {
    const bl_taps *taps;
    const int32_t *fixed; /* [count, most]: the weights in PRECISION bits; bytes only */
    const uint8_t *in;
    uint8_t *out;
    const float *in_float;
    float *out_float;
    int64_t
        from; /* bytes: pixels of a row read along, or of the result's row; floats: the same in elements */
} pass;

static uint8_t clip(int32_t sum) {
    int32_t v = sum >> PRECISION;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void bytes_along_rows(void *context, int64_t begin, int64_t end, int thread) {
    (void)thread;
    const pass *p = context;
    const bl_taps *t = p->taps;
    for (int64_t y = begin; y < end; y++) {
        uint8_t *out = p->out + y * t->count * 3;
        for (int64_t x = 0; x < t->count; x++, out += 3) {
            const int32_t *w = p->fixed + x * t->most;
            const uint8_t *in = p->in + (y * p->from + t->first[x]) * 3;
            int32_t sum[3] = {1 << (PRECISION - 1), 1 << (PRECISION - 1), 1 << (PRECISION - 1)};
            for (int64_t k = 0; k < t->length[x]; k++, in += 3) {
                sum[0] += in[0] * w[k];
                sum[1] += in[1] * w[k];
                sum[2] += in[2] * w[k];
            }
            for (int c = 0; c < 3; c++) {
                out[c] = clip(sum[c]);
            }
        }
    }
}

#define BAND 512 /* sums held at a time, so that each row is read in order */

static void bytes_along_columns(void *context, int64_t begin, int64_t end, int thread) {
    (void)thread;
    const pass *p = context;
    const bl_taps *t = p->taps;
    int64_t width = p->from * 3;
    for (int64_t y = begin; y < end; y++) {
        const int32_t *w = p->fixed + y * t->most;
        for (int64_t x = 0; x < width; x += BAND) {
            int64_t n = width - x < BAND ? width - x : BAND;
            int32_t sum[BAND];
            for (int64_t i = 0; i < n; i++) {
                sum[i] = 1 << (PRECISION - 1);
            }
            for (int64_t k = 0; k < t->length[y]; k++) {
                const uint8_t *in = p->in + (t->first[y] + k) * width + x;
                for (int64_t i = 0; i < n; i++) {
                    sum[i] += in[i] * w[k];
                }
            }
            for (int64_t i = 0; i < n; i++) {
                p->out[y * width + x + i] = clip(sum[i]);
            }
        }
    }
}

/* Pillow's normalize_coeffs_8bpc: halves away from zero. The caller frees the result; NULL: no memory. */
static int32_t *fixed_weights(const bl_taps *t) {
    int32_t *fixed = malloc((size_t)(t->count * t->most) * sizeof *fixed);
    for (int64_t i = 0; fixed && i < t->count * t->most; i++) {
        double w = t->weights[i] * (1 << PRECISION);
        fixed[i] = (int32_t)(w < 0.0 ? w - 0.5 : w + 0.5);
    }
    return fixed;
}

/* Taps of both axes, and what lies between the two passes. */
typedef struct plan {
    bl_taps x, y;
    int32_t *fixed_x, *fixed_y;
    uint8_t *between; /* [in_height, out_width, 3], or [out_height, in_width, 3] with columns first */
    bool columns_first;
} plan;

static void plan_clear(plan *p) {
    free(p->between);
    free(p->fixed_y);
    free(p->fixed_x);
    bl_taps_clear(&p->y);
    bl_taps_clear(&p->x);
}

static int plan_make(plan *out, int64_t out_height, int64_t out_width, int64_t in_height, int64_t in_width,
                     bl_resize_filter filter, bl_error *err) {
    plan p = {0};
    bool nearest = filter == BL_RESIZE_NEAREST;
    int rc = nearest ? bl_taps_nearest(&p.x, in_width, out_width, err)
                     : bl_taps_filter(&p.x, in_width, out_width, filter, err);
    if (!rc) {
        rc = nearest ? bl_taps_nearest(&p.y, in_height, out_height, err)
                     : bl_taps_filter(&p.y, in_height, out_height, filter, err);
    }
    if (rc) {
        plan_clear(&p);
        return rc;
    }
    /* The order shows in the last bit, because bytes are kept between the passes. Pillow's choice since
     * version 12. */
    p.columns_first = in_height > out_height && in_height - out_height > 2 * (in_width - out_width);
    size_t bytes = (size_t)(p.columns_first ? out_height * in_width : in_height * out_width) * 3;
    p.fixed_x = fixed_weights(&p.x);
    p.fixed_y = fixed_weights(&p.y);
    p.between = malloc(bytes);
    if (!p.fixed_x || !p.fixed_y || !p.between) {
        plan_clear(&p);
        return bl_fail_memory(err, "the resized picture", bytes);
    }
    *out = p;
    return BL_OK;
}

int bl_resize_rgb8(uint8_t *out, int64_t out_height, int64_t out_width, const uint8_t *in, int64_t in_height,
                   int64_t in_width, bl_resize_filter filter, bl_error *err) {
    plan p;
    int rc = check_sides(out_height, out_width, in_height, in_width, err);
    if (!rc) {
        rc = plan_make(&p, out_height, out_width, in_height, in_width, filter, err);
    }
    if (rc) {
        return rc;
    }
    pass rows = {.taps = &p.x, .fixed = p.fixed_x, .from = in_width};
    pass columns = {.taps = &p.y, .fixed = p.fixed_y};
    if (p.columns_first) {
        columns.in = in;
        columns.out = p.between;
        columns.from = in_width;
        bl_parallel_for(out_height, 16, bytes_along_columns, &columns);
        rows.in = p.between;
        rows.out = out;
        bl_parallel_for(out_height, 16, bytes_along_rows, &rows);
    } else {
        rows.in = in;
        rows.out = p.between;
        bl_parallel_for(in_height, 16, bytes_along_rows, &rows);
        columns.in = p.between;
        columns.out = out;
        columns.from = out_width;
        bl_parallel_for(out_height, 16, bytes_along_columns, &columns);
    }
    plan_clear(&p);
    return BL_OK;
}

static float weighted(const bl_taps *t, int64_t i, const float *in, int64_t stride) {
    const double *w = t->weights + i * t->most;
    double sum = w[0] * (double)in[t->first[i] * stride]; /* not 0 + ...: that would lose the sign of -0 */
    for (int64_t k = 1; k < t->length[i]; k++) {
        sum += w[k] * (double)in[(t->first[i] + k) * stride];
    }
    return (float)sum;
}

static void floats_along_rows(void *context, int64_t begin, int64_t end, int thread) {
    (void)thread;
    const pass *p = context;
    for (int64_t y = begin; y < end; y++) {
        for (int64_t x = 0; x < p->taps->count; x++) {
            p->out_float[y * p->taps->count + x] = weighted(p->taps, x, p->in_float + y * p->from, 1);
        }
    }
}

static void floats_along_columns(void *context, int64_t begin, int64_t end, int thread) {
    (void)thread;
    const pass *p = context;
    for (int64_t y = begin; y < end; y++) {
        for (int64_t x = 0; x < p->from; x++) {
            p->out_float[y * p->from + x] = weighted(p->taps, y, p->in_float + x, p->from);
        }
    }
}

int bl_interpolate(float *out, int64_t out_height, int64_t out_width, const float *in, int64_t planes,
                   int64_t in_height, int64_t in_width, bl_interpolation mode, bl_error *err) {
    int rc = check_sides(out_height, out_width, in_height, in_width, err);
    if (rc) {
        return rc;
    }
    bl_taps x = {0}, y = {0};
    float *between = NULL; /* [in_height, out_width] */
    rc = bl_taps_interpolate(&x, in_width, out_width, mode, err);
    if (!rc) {
        rc = bl_taps_interpolate(&y, in_height, out_height, mode, err);
    }
    if (rc) {
        goto done;
    }
    size_t bytes = (size_t)in_height * (size_t)out_width * sizeof *between;
    between = malloc(bytes);
    if (!between) {
        rc = bl_fail_memory(err, "the resized latents", bytes);
        goto done;
    }
    for (int64_t i = 0; i < planes; i++) {
        pass along_x = {
            .taps = &x, .in_float = in + i * in_height * in_width, .out_float = between, .from = in_width};
        bl_parallel_for(in_height, 64, floats_along_rows, &along_x);
        pass along_y = {.taps = &y,
                        .in_float = between,
                        .out_float = out + i * out_height * out_width,
                        .from = out_width};
        bl_parallel_for(out_height, 64, floats_along_columns, &along_y);
    }
done:
    free(between);
    bl_taps_clear(&y);
    bl_taps_clear(&x);
    return rc;
}
