#include "image/pixels.h"

#include "core/parallel.h"

#include <math.h>

#define GRAIN 16384 /* pixels: less work than this is not worth a second thread */

typedef struct job {
    uint8_t *rgb;
    float *image;
    const uint8_t *rgb_in;
    const float *image_in;
    int64_t pixels;
    bl_pixel_rounding rounding;
} job;

static uint8_t byte_of(float x, bl_pixel_rounding rounding) {
    float unit = x * 0.5f + 0.5f;
    if (!(unit > 0.0f)) { /* NaN too */
        return 0;
    }
    float value = 255.0f * (unit < 1.0f ? unit : 1.0f);
    return (uint8_t)(rounding == BL_PIXELS_NEAREST ? nearbyintf(value) : value);
}

static void to_bytes(void *context, int64_t begin, int64_t end, int thread) {
    (void)thread;
    const job *j = context;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t c = 0; c < 3; c++) {
            j->rgb[3 * i + c] = byte_of(j->image_in[c * j->pixels + i], j->rounding);
        }
    }
}

static void to_floats(void *context, int64_t begin, int64_t end, int thread) {
    (void)thread;
    const job *j = context;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t c = 0; c < 3; c++) {
            j->image[c * j->pixels + i] = (float)j->rgb_in[3 * i + c] / 127.5f - 1.0f;
        }
    }
}

void bl_pixels_from_float(uint8_t *rgb, const float *image, int64_t height, int64_t width,
                          bl_pixel_rounding rounding) {
    job j = {.rgb = rgb, .image_in = image, .pixels = height * width, .rounding = rounding};
    bl_parallel_for(j.pixels, GRAIN, to_bytes, &j);
}

void bl_pixels_to_float(float *image, const uint8_t *rgb, int64_t height, int64_t width) {
    job j = {.image = image, .rgb_in = rgb, .pixels = height * width};
    bl_parallel_for(j.pixels, GRAIN, to_floats, &j);
}
