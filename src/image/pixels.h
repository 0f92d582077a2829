/* Between the float pictures of an autoencoder, planes in -1 .. 1, and bytes. */
#ifndef BALLAST_IMAGE_PIXELS_H
#define BALLAST_IMAGE_PIXELS_H

#include <stdint.h>

typedef enum bl_pixel_rounding {
    BL_PIXELS_TRUNCATE, /* A1111 and ComfyUI: the fraction is cut off */
    BL_PIXELS_NEAREST   /* diffusers: to the nearest, halves to even */
} bl_pixel_rounding;

/* rgb [height, width, 3] from image [3, height, width]: 255 * clamp(x / 2 + 0.5, 0, 1), in float as torch and
 * numpy compute it. NaN becomes 0: the caller looks for NaN where it can still say which module made it. */
void bl_pixels_from_float(uint8_t *rgb, const float *image, int64_t height, int64_t width,
                          bl_pixel_rounding rounding);

/* image [3, height, width] from rgb [height, width, 3]: x / 127.5 - 1. */
void bl_pixels_to_float(float *image, const uint8_t *rgb, int64_t height, int64_t width);

#endif
