/* Resizing, with the results of the two libraries that users know it from: Pillow for pictures, torch for
 * latents. */
#ifndef BALLAST_IMAGE_RESIZE_H
#define BALLAST_IMAGE_RESIZE_H

#include "core/error.h"

#include <stdint.h>

typedef enum bl_resize_filter {
    BL_RESIZE_NEAREST = 0,
    BL_RESIZE_BOX,
    BL_RESIZE_BILINEAR,
    BL_RESIZE_HAMMING,
    BL_RESIZE_BICUBIC,
    BL_RESIZE_LANCZOS,
    BL_RESIZE_COUNT
} bl_resize_filter;

/* Resizes in [in_height, in_width, 3] to out [out_height, out_width, 3], the bytes of Pillow's Image.resize:
 * along rows first, then along columns, each with weights of 22 fractional bits and rounded to bytes. The
 * filters widen when the picture shrinks (nearest does not). in and out must not overlap. Errors:
 * BL_E_ARGUMENT (a side that is not 1 .. BL_RESIZE_MAX_SIDE), BL_E_MEMORY. */
#define BL_RESIZE_MAX_SIDE 65535
int bl_resize_rgb8(uint8_t *out, int64_t out_height, int64_t out_width, const uint8_t *in, int64_t in_height,
                   int64_t in_width, bl_resize_filter filter, bl_error *err);

typedef enum bl_interpolation {
    BL_INTERPOLATE_NEAREST = 0,
    BL_INTERPOLATE_NEAREST_EXACT,
    BL_INTERPOLATE_BILINEAR,
    BL_INTERPOLATE_BILINEAR_ANTIALIAS,
    BL_INTERPOLATE_BICUBIC,
    BL_INTERPOLATE_BICUBIC_ANTIALIAS,
    BL_INTERPOLATE_COUNT
} bl_interpolation;

/* Resizes every plane of in [planes, in_height, in_width] to out [planes, out_height, out_width] as
 * torch.nn.functional.interpolate(size=...) does with align_corners=False: nearest copies exactly, the others
 * differ by rounding. in and out must not overlap. Errors as above. */
int bl_interpolate(float *out, int64_t out_height, int64_t out_width, const float *in, int64_t planes,
                   int64_t in_height, int64_t in_width, bl_interpolation mode, bl_error *err);

#endif
