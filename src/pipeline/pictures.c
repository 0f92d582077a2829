#include "pipeline/pictures.h"

#include "image/pixels.h"
#include "model/taesd.h"
#include "pipeline/finite.h"
#include "pipeline/packed.h"
#include "pipeline/tiles.h"

#include <stdlib.h>

static bl_tiles_plane pixels_plane(const bl_architecture *arch) {
    return (bl_tiles_plane){.channels = 3, .scale = bl_family_vae_downscale(arch->family)};
}

static bl_tiles_plane latents_plane(int channels) {
    return (bl_tiles_plane){.channels = channels, .scale = 1};
}

static int vae_phase(bl_generation *generation, const char *name, const char *stage, bl_module module,
                     int batch, const bl_tiles *t, bl_error *err) {
    bl_shape_key key = {.batch = 1, .height = t->rows, .width = t->columns};
    return bl_generation_phase(generation, name, stage, module, key, batch * bl_tiles_count(t), err);
}

int bl_decode_phase(bl_generation *generation, const char *name, bool taesd, int batch, int height, int width,
                    int side, bl_error *err) {
    bl_tiles t = bl_tiles_of(height, width, side);
    return vae_phase(generation, name, "decode", taesd ? BL_TAESD : BL_VAE_DECODER, batch, &t, err);
}

int bl_preview_phase(bl_generation *generation, int batch, int height, int width, uint64_t kept,
                     bl_error *err) {
    bl_shape_key key = {.batch = 1, .height = height, .width = width, .kept = kept};
    return bl_generation_phase(generation, "preview", "preview", BL_TAESD, key, batch, err);
}

int bl_encode_phase(bl_generation *generation, const char *name, int batch, int height, int width, int side,
                    bl_error *err) {
    bl_tiles t = bl_tiles_of(height, width, side);
    return vae_phase(generation, name, "encode", BL_VAE_ENCODER, batch, &t, err);
}

/* A port of the decoder or of the encoder, and what goes through it. */
typedef struct end {
    const char *port;
    bl_tiles_plane plane;
    float *data;
} end;

static size_t floats_of(bl_tiles_plane plane, int height, int width) {
    return (size_t)(plane.channels * plane.scale * plane.scale) * (size_t)height * (size_t)width;
}

static int pass(bl_generation *generation, int phase, const char *in, float *from, const char *out, float *to,
                bl_error *err) {
    bl_port inputs[] = {{in, from}, {NULL, NULL}}, outputs[] = {{out, to}, {NULL, NULL}};
    return bl_generation_pass(generation, phase, inputs, outputs, err);
}

/* A picture through the phase, whole or tile by tile. What `to` points at begins with zeros. */
static int pass_tiles(bl_generation *generation, int phase, const bl_tiles *t, const end *from, const end *to,
                      bl_error *err) {
    if (bl_tiles_count(t) == 1) {
        return pass(generation, phase, from->port, from->data, to->port, to->data, err);
    }
    size_t taken = floats_of(from->plane, t->rows, t->columns) * sizeof(float);
    size_t made = floats_of(to->plane, t->rows, t->columns) * sizeof(float);
    float *in = malloc(taken), *out = malloc(made);
    int result = in && out ? 0 : bl_fail_memory(err, "a tile of the picture", taken + made);
    for (int i = 0; i < bl_tiles_count(t) && !result; i++) {
        bl_tiles_take(in, t, i, from->data, from->plane);
        result = pass(generation, phase, from->port, in, to->port, out, err);
        if (!result) {
            bl_tiles_add(to->data, t, i, out, to->plane);
        }
    }
    free(in);
    free(out);
    return result;
}

int bl_decode(uint8_t *rgb, bl_generation *generation, int phase, const bl_architecture *arch,
              const bl_request *r, const float *latents, int height, int width, int side, bl_error *err) {
    const int packed = bl_family_packed(arch->family), rows = packed * height, columns = packed * width;
    bl_tiles t = bl_tiles_of(rows, columns, side);
    end z = {.port = "z", .plane = latents_plane(arch->vae.latent_channels)};
    end image = {.port = "image", .plane = pixels_plane(arch)};
    size_t n = floats_of(z.plane, rows, columns), values = floats_of(image.plane, rows, columns);
    z.data = malloc(n * sizeof *z.data);
    image.data = calloc(values, sizeof *image.data);
    int result = 0;
    if (!z.data || !image.data) {
        result = bl_fail_memory(err, "the decoded picture", values * sizeof *image.data);
        goto done;
    }
    if (r->taesd) {
        bl_latents_unpacked(z.data, arch->family, latents, height, width);
        bl_taesd_clamp(z.data, z.data, n);
    } else {
        bl_latents_to_vae(z.data, arch, latents, height, width);
    }
    result = pass_tiles(generation, phase, &t, &z, &image, err);
    if (!result && !bl_all_finite(image.data, values)) {
        result = bl_fail_nan(generation, r->taesd ? BL_TAESD : BL_VAE_DECODER, "in the picture", err);
    }
    if (!result && r->taesd) {
        bl_taesd_range(image.data, values);
    }
    if (!result) {
        bl_pixels_from_float(rgb, image.data, rows * image.plane.scale, columns * image.plane.scale,
                             r->compat == BL_COMPAT_DIFFUSERS ? BL_PIXELS_NEAREST : BL_PIXELS_TRUNCATE);
    }
done:
    free(z.data);
    free(image.data);
    return result;
}

int bl_encode(float *latents, bl_generation *generation, int phase, const bl_architecture *arch,
              const uint8_t *rgb, int height, int width, int side, bl_error *err) {
    const int packed = bl_family_packed(arch->family), rows = packed * height, columns = packed * width;
    bl_tiles t = bl_tiles_of(rows, columns, side);
    end image = {.port = "image", .plane = pixels_plane(arch)};
    end moments = {.port = "moments", .plane = latents_plane(2 * arch->vae.latent_channels)};
    size_t values = floats_of(image.plane, rows, columns), n = floats_of(moments.plane, rows, columns);
    image.data = malloc(values * sizeof *image.data);
    moments.data = calloc(n, sizeof *moments.data);
    int result = 0;
    if (!image.data || !moments.data) {
        result = bl_fail_memory(err, "the picture to encode", values * sizeof *image.data);
        goto done;
    }
    bl_pixels_to_float(image.data, rgb, rows * image.plane.scale, columns * image.plane.scale);
    result = pass_tiles(generation, phase, &t, &image, &moments, err);
    if (!result && !bl_all_finite(moments.data, n)) {
        result = bl_fail_nan(generation, BL_VAE_ENCODER, "in the latents", err);
    }
    if (!result) { /* the first half of the channels is the mean */
        bl_latents_from_vae(latents, arch, moments.data, height, width);
    }
done:
    free(image.data);
    free(moments.data);
    return result;
}

void bl_latent_preview(uint8_t *rgb, const bl_family *family, const float *latents, int height, int width) {
    const int packed = bl_family_packed(family), columns = packed * width;
    for (size_t i = 0; i < (size_t)(packed * height) * (size_t)columns; i++) {
        const int y = (int)(i / (size_t)columns), x = (int)(i % (size_t)columns);
        for (int c = 0; c < 3; c++) {
            float v = 0;
            for (int k = 0; k < bl_family_vae_channels(family); k++) {
                v += latents[bl_packed_place(family, height, width, k, y, x)] * family->preview[k][c];
            }
            v = 127.5f * (v + 1);
            rgb[i * 3 + (size_t)c] = (uint8_t)(v > 0 ? v < 255 ? v : 255 : 0);
        }
    }
}
