#include "image/fit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[BL_FIT_COUNT] = {"crop", "stretch", "pad"};

int bl_fit_find(bl_fit *out, const char *name, bl_error *err) {
    for (int i = 0; i < BL_FIT_COUNT; i++) {
        if (!strcmp(name, names[i])) {
            *out = (bl_fit)i;
            return BL_OK;
        }
    }
    return bl_fail(err, BL_E_NOT_FOUND, "fit: no \"%.40s\"; there are crop, stretch, pad", name);
}

void bl_fit_size(int64_t *height, int64_t *width, int64_t out_height, int64_t out_width, int64_t in_height,
                 int64_t in_width, bl_fit fit) {
    double out_shape = (double)out_width / (double)out_height,
           in_shape = (double)in_width / (double)in_height;
    *height = out_height;
    *width = out_width;
    if (fit == BL_FIT_STRETCH || out_shape == in_shape) {
        return;
    }
    if ((fit == BL_FIT_CROP) == (out_shape > in_shape)) {
        *height = in_height * out_width / in_width;
    } else {
        *width = in_width * out_height / in_height;
    }
    *height = *height ? *height : 1; /* of a picture that is a line */
    *width = *width ? *width : 1;
}

/* One beyond the edge, as Pillow's bicubic filter continues it: 9/8 of the last less 1/8 of the one before.
 */
static uint8_t beyond(uint8_t last, uint8_t before) {
    int value = 9 * last - before + 4;
    return (uint8_t)(value < 0 ? 0 : value / 8 > 255 ? 255 : value / 8);
}

/* Where the resized picture lies in the one that is made: from `out_at` on it shows what is from `in_at` on.
 */
typedef struct side {
    int64_t out_at, in_at, count;
} side;

static side place(int64_t out, int64_t in) {
    int64_t shift = out / 2 - in / 2;
    return (side){
        .out_at = shift > 0 ? shift : 0, .in_at = shift < 0 ? -shift : 0, .count = in < out ? in : out};
}

/* Fills line i of `lines` (rows, or with a stride of 3 columns) that a picture's `s` leaves empty. */
static void pad_lines(uint8_t *out, int64_t lines, int64_t line_stride, int64_t pixels, int64_t pixel_stride,
                      side s) {
    for (int64_t i = 0; i < lines; i++) {
        if (i >= s.out_at && i < s.out_at + s.count) {
            continue;
        }
        int64_t inward = i < s.out_at ? 1 : -1, last = i < s.out_at ? s.out_at : s.out_at + s.count - 1;
        int64_t before = s.count > 1 ? last + inward : last;
        for (int64_t k = 0; k < 3 * pixels; k++) {
            int64_t at = k / 3 * pixel_stride + k % 3;
            out[i * line_stride + at] = beyond(out[last * line_stride + at], out[before * line_stride + at]);
        }
    }
}

int bl_fit_rgb8(uint8_t *out, int64_t out_height, int64_t out_width, const uint8_t *in, int64_t in_height,
                int64_t in_width, bl_fit fit, bl_resize_filter filter, bl_error *err) {
    int64_t height, width;
    bl_fit_size(&height, &width, out_height, out_width, in_height, in_width, fit);
    if (height == out_height && width == out_width) {
        return bl_resize_rgb8(out, out_height, out_width, in, in_height, in_width, filter, err);
    }
    size_t bytes = (size_t)height * (size_t)width * 3;
    uint8_t *whole = malloc(bytes);
    if (!whole) {
        return bl_fail_memory(err, "the start picture, resized", bytes);
    }
    int rc = bl_resize_rgb8(whole, height, width, in, in_height, in_width, filter, err);
    if (!rc) {
        side y = place(out_height, height), x = place(out_width, width);
        for (int64_t i = 0; i < y.count; i++) {
            memcpy(out + 3 * ((y.out_at + i) * out_width + x.out_at),
                   whole + 3 * ((y.in_at + i) * width + x.in_at), (size_t)x.count * 3);
        }
        pad_lines(out, out_height, 3 * out_width, out_width, 3, y);
        pad_lines(out, out_width, 3, out_height, 3 * out_width, x);
    }
    free(whole);
    return rc;
}
