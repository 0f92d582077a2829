#include "pipeline/pictures.h"

#include "image/pixels.h"
#include "pipeline/finite.h"
#include "pipeline/tiles.h"

#include <stdlib.h>

int bl_decode_phase(bl_engine *engine, const char *name, int batch, int height, int width, bool tiled,
                    bl_error *err) {
    bl_tiles t = bl_tiles_of(height, width, tiled);
    bl_shape_key key = {.batch = 1, .height = t.rows, .width = t.columns};
    return bl_engine_phase(engine, name, "decode", BL_VAE_DECODER, key, batch * bl_tiles_count(&t), err);
}

int bl_encode_phase(bl_engine *engine, const char *name, int batch, int height, int width, bl_error *err) {
    bl_shape_key key = {.batch = 1, .height = height, .width = width};
    return bl_engine_phase(engine, name, "encode", BL_VAE_ENCODER, key, batch, err);
}

/* z [channels, height, width] to image [3, 8 height, 8 width], tile by tile. */
static int decode_tiles(float *image, bl_engine *engine, int phase, const bl_tiles *t, const float *z,
                        int channels, bl_error *err) {
    size_t pixels = (size_t)t->rows * (size_t)t->columns;
    float *part = malloc((size_t)channels * pixels * sizeof *part),
          *made = malloc(3 * 64 * pixels * sizeof *made);
    int result =
        part && made ? 0 : bl_fail_memory(err, "a tile of the picture", 3 * 64 * pixels * sizeof *made);
    for (int i = 0; i < bl_tiles_count(t) && !result; i++) {
        bl_port inputs[] = {{"z", part}, {NULL, NULL}}, outputs[] = {{"image", made}, {NULL, NULL}};
        bl_tiles_take(part, t, i, z, channels);
        result = bl_engine_pass(engine, phase, inputs, outputs, err);
        if (!result) {
            bl_tiles_add(image, t, i, made);
        }
    }
    free(part);
    free(made);
    return result;
}

int bl_decode(uint8_t *rgb, bl_engine *engine, int phase, const bl_architecture *arch, const bl_request *r,
              const float *latents, int height, int width, bool tiled, bl_error *err) {
    size_t channels = (size_t)arch->vae.latent_channels, n = channels * (size_t)height * (size_t)width;
    size_t pixels = 64 * (size_t)height * (size_t)width;
    bl_tiles t = bl_tiles_of(height, width, tiled);
    float *z = malloc(n * sizeof *z), *image = calloc(3 * pixels, sizeof *image);
    int result = 0;
    if (!z || !image) {
        result = bl_fail_memory(err, "the decoded picture", 3 * pixels * sizeof *image);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        z[i] = latents[i] / (float)arch->vae.scaling_factor;
    }
    if (bl_tiles_count(&t) > 1) {
        result = decode_tiles(image, engine, phase, &t, z, (int)channels, err);
    } else {
        bl_port inputs[] = {{"z", z}, {NULL, NULL}}, outputs[] = {{"image", image}, {NULL, NULL}};
        result = bl_engine_pass(engine, phase, inputs, outputs, err);
    }
    if (!result && !bl_all_finite(image, 3 * pixels)) {
        result = bl_fail_nan(engine, BL_VAE_DECODER, "in the picture", err);
    }
    if (!result) {
        bl_pixels_from_float(rgb, image, height * 8, width * 8,
                             r->compat == BL_COMPAT_DIFFUSERS ? BL_PIXELS_NEAREST : BL_PIXELS_TRUNCATE);
    }
done:
    free(z);
    free(image);
    return result;
}

int bl_encode(float *latents, bl_engine *engine, int phase, const bl_architecture *arch, const uint8_t *rgb,
              int height, int width, bl_error *err) {
    size_t n = (size_t)arch->vae.latent_channels * (size_t)height * (size_t)width;
    size_t pixels = 64 * (size_t)height * (size_t)width;
    float *moments = malloc(2 * n * sizeof *moments), *image = malloc(3 * pixels * sizeof *image);
    int result = 0;
    if (!moments || !image) {
        result = bl_fail_memory(err, "the picture to encode", 3 * pixels * sizeof *image);
        goto done;
    }
    bl_pixels_to_float(image, rgb, height * 8, width * 8);
    bl_port inputs[] = {{"image", image}, {NULL, NULL}}, outputs[] = {{"moments", moments}, {NULL, NULL}};
    result = bl_engine_pass(engine, phase, inputs, outputs, err);
    if (!result && !bl_all_finite(moments, 2 * n)) {
        result = bl_fail_nan(engine, BL_VAE_ENCODER, "in the latents", err);
    }
    for (size_t i = 0; i < n && !result; i++) { /* the first half of the channels is the mean */
        latents[i] = moments[i] * (float)arch->vae.scaling_factor;
    }
done:
    free(moments);
    free(image);
    return result;
}

void bl_latent_preview(uint8_t *rgb, const bl_architecture *arch, const float *latents, int height,
                       int width) {
    static const float factors[2][4][3] = {
        {{0.3512f, 0.2297f, 0.3227f},
         {0.3250f, 0.4974f, 0.2350f},
         {-0.2829f, 0.1762f, 0.2721f},
         {-0.2120f, -0.2616f, -0.7177f}},
        {{0.3920f, 0.4054f, 0.4549f},
         {-0.2634f, -0.0196f, 0.0653f},
         {0.0568f, 0.1687f, -0.0755f},
         {-0.3112f, -0.2359f, -0.2076f}},
    };
    const float(*f)[3] = factors[arch->family == BL_SDXL];
    size_t n = (size_t)height * (size_t)width;
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < 3; c++) {
            float v = 0;
            for (size_t k = 0; k < 4; k++) {
                v += latents[k * n + i] * f[k][c];
            }
            v = 127.5f * (v + 1);
            rgb[i * 3 + (size_t)c] = (uint8_t)(v > 0 ? v < 255 ? v : 255 : 0);
        }
    }
}
