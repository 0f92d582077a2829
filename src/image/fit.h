/* A picture of one shape made into one of another. */
#ifndef BALLAST_IMAGE_FIT_H
#define BALLAST_IMAGE_FIT_H

#include "image/resize.h"

typedef enum bl_fit {
    BL_FIT_CROP =
        0, /* as large as covers, what sticks out is cut off on both sides: A1111's "Crop and resize" */
    BL_FIT_STRETCH, /* "Just resize" */
    BL_FIT_PAD,     /* as large as goes in, its edges repeated: "Resize and fill" */
    BL_FIT_COUNT
} bl_fit;

/* BL_E_NOT_FOUND lists the names. */
int bl_fit_find(bl_fit *out, const char *name, bl_error *err);

/* The size that the whole of `in` is resized to for it, A1111's. */
void bl_fit_size(int64_t *height, int64_t *width, int64_t out_height, int64_t out_width, int64_t in_height,
                 int64_t in_width, bl_fit fit);

/* Resizes in [in_height, in_width, 3] with bl_resize_rgb8, with the bytes that A1111 makes in Pillow, to
 * out [out_height, out_width, 3]. Errors: those of bl_resize_rgb8. */
int bl_fit_rgb8(uint8_t *out, int64_t out_height, int64_t out_width, const uint8_t *in, int64_t in_height,
                int64_t in_width, bl_fit fit, bl_resize_filter filter, bl_error *err);

#endif
