#include "image/decode.h"

#include "image/orientation.h"

#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/encode.h>

/* The orientation that the chunk EXIF gives; 1: none. */
static int find_orientation(const uint8_t *data, size_t bytes) {
    for (size_t at = 12; bytes - at >= 8 && at < bytes;) {
        size_t length = data[at + 4] | (size_t)data[at + 5] << 8 | (size_t)data[at + 6] << 16 |
                        (size_t)data[at + 7] << 24;
        if (length > bytes - at - 8) {
            return 1;
        }
        if (!memcmp(data + at, "EXIF", 4)) {
            return bl_exif_orientation(data + at + 8, length);
        }
        at += 8 + length + length % 2;
    }
    return 1;
}

static void lay_over_white(uint8_t *pixels, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        unsigned alpha = pixels[4 * i + 3];
        for (int c = 0; c < 3; c++) {
            pixels[3 * i + c] = (uint8_t)((pixels[4 * i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
        }
    }
}

int bl_webp_decode(bl_picture *out, const uint8_t *data, size_t bytes, size_t most_pixels, const char *name,
                   bl_error *err) {
    WebPBitstreamFeatures features;
    if (WebPGetFeatures(data, bytes, &features) != VP8_STATUS_OK) {
        return bl_fail(err, BL_E_FORMAT, "%s cannot be read as WebP: it is cut short or damaged", name);
    }
    if (features.has_animation) {
        return bl_fail(err, BL_E_UNSUPPORTED, "%s is an animation; a single picture is needed", name);
    }
    int64_t width = features.width, height = features.height;
    if ((uint64_t)(width * height) > most_pixels) {
        return bl_picture_too_large(name, (uint64_t)width, (uint64_t)height, most_pixels, err);
    }
    size_t size = (size_t)(width * height) * 4;
    uint8_t *pixels = malloc(size);
    if (!pixels) {
        return bl_fail_memory(err, name, size);
    }
    if (!WebPDecodeRGBAInto(data, bytes, pixels, size, (int)width * 4)) {
        free(pixels);
        return bl_fail(err, BL_E_FORMAT, "%s cannot be read as WebP: it is cut short or damaged", name);
    }
    lay_over_white(pixels, width * height);
    *out = (bl_picture){.rgb = pixels, .height = height, .width = width};
    int rc = bl_picture_turn(out, find_orientation(data, bytes), err);
    if (rc) {
        bl_picture_clear(out);
    }
    return rc;
}

int bl_webp_encode(uint8_t **out, size_t *bytes, const uint8_t *rgb, int64_t height, int64_t width,
                   int quality, bl_error *err) {
    uint8_t *file = NULL;
    *out = NULL;
    if (width < 1 || height < 1 || width > WEBP_MAX_DIMENSION || height > WEBP_MAX_DIMENSION) {
        return bl_fail(err, BL_E_ARGUMENT, "a WebP cannot have %lld x %lld pixels", (long long)width,
                       (long long)height);
    }
    size_t n = WebPEncodeRGB(rgb, (int)width, (int)height, (int)width * 3, (float)quality, &file);
    uint8_t *own = n ? malloc(n) : NULL; /* WebPFree is not always free */
    if (own) {
        memcpy(own, file, n);
    }
    WebPFree(file);
    if (!own) {
        return bl_fail_memory(err, "a WebP", n);
    }
    *out = own;
    *bytes = n;
    return BL_OK;
}
