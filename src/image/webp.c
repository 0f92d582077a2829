#include "image/decode.h"

#include "image/exif.h"

#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/encode.h>

/* The chunk EXIF and its *length; NULL: none. */
static const uint8_t *find_exif(const uint8_t *data, size_t bytes, size_t *length) {
    for (size_t at = 12; bytes - at >= 8 && at < bytes;) {
        *length = data[at + 4] | (size_t)data[at + 5] << 8 | (size_t)data[at + 6] << 16 |
                  (size_t)data[at + 7] << 24;
        if (*length > bytes - at - 8) {
            return NULL;
        }
        if (!memcmp(data + at, "EXIF", 4)) {
            return data + at + 8;
        }
        at += 8 + *length + *length % 2;
    }
    return NULL;
}

static int use_exif(bl_picture *p, const uint8_t *data, size_t bytes, bl_error *err) {
    size_t length;
    const uint8_t *exif = find_exif(data, bytes, &length);
    int rc = exif ? bl_exif_comment(&p->parameters, exif, length, err) : BL_OK;
    return rc || !exif ? rc : bl_picture_turn(p, bl_exif_orientation(exif, length), err);
}

int bl_webp_decode(bl_picture *out, const uint8_t *data, size_t bytes, size_t most_pixels, const char *name,
                   bl_error *err) {
    WebPBitstreamFeatures features;
    size_t says = data[4] | (size_t)data[5] << 8 | (size_t)data[6] << 16 | (size_t)data[7] << 24;
    if (says > bytes - 8 || WebPGetFeatures(data, bytes, &features) != VP8_STATUS_OK) {
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
    bool transparent = bl_lay_over_white(pixels, width * height);
    *out = (bl_picture){.rgb = pixels, .height = height, .width = width, .transparent = transparent};
    int rc = use_exif(out, data, bytes, err);
    if (rc) {
        bl_picture_clear(out);
    }
    return rc;
}

static void put_number(uint8_t *p, size_t value, int bytes) {
    for (int i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

/* A file of its own from what libwebp encoded, `file` [n], and an EXIF block [m], which may be NULL: then it
 * is a copy, because WebPFree is not always free. Else it takes the extended form: RIFF's header, the chunk
 * VP8X with a flag for EXIF and the picture's size, libwebp's chunks, the chunk EXIF. NULL: no memory. */
static uint8_t *put_together(size_t *bytes, const uint8_t *file, size_t n, const uint8_t *exif, size_t m,
                             int64_t height, int64_t width) {
    enum { RIFF = 12, CHUNK = 8, VP8X = 10 };
    *bytes = exif ? n + CHUNK + VP8X + CHUNK + m + m % 2 : n;
    uint8_t *out = malloc(*bytes);
    if (!out || !exif) {
        return out ? memcpy(out, file, n) : NULL;
    }
    uint8_t *p = out + RIFF;
    memcpy(out, file, RIFF);
    put_number(out + 4, *bytes - CHUNK, 4);
    memset(p, 0, CHUNK + VP8X);
    memcpy(p, "VP8X", 4);
    put_number(p + 4, VP8X, 4);
    p[CHUNK] = 0x08;
    put_number(p + CHUNK + 4, (size_t)width - 1, 3);
    put_number(p + CHUNK + 7, (size_t)height - 1, 3);
    p += CHUNK + VP8X;
    memcpy(p, file + RIFF, n - RIFF);
    p += n - RIFF;
    memcpy(p, "EXIF", 4);
    put_number(p + 4, m, 4);
    memcpy(p + CHUNK, exif, m);
    memset(p + CHUNK + m, 0, m % 2);
    return out;
}

int bl_webp_encode(uint8_t **out, size_t *bytes, const uint8_t *rgb, int64_t height, int64_t width,
                   int quality, const char *parameters, bl_error *err) {
    uint8_t *file = NULL, *exif = NULL;
    size_t m = 0;
    *out = NULL;
    if (width < 1 || height < 1 || width > WEBP_MAX_DIMENSION || height > WEBP_MAX_DIMENSION) {
        return bl_fail(err, BL_E_ARGUMENT, "a WebP cannot have %lld x %lld pixels", (long long)width,
                       (long long)height);
    }
    int rc = parameters ? bl_exif_encode(&exif, &m, parameters, err) : BL_OK;
    if (rc) {
        return rc;
    }
    size_t n = WebPEncodeRGB(rgb, (int)width, (int)height, (int)width * 3, (float)quality, &file);
    *out = n ? put_together(bytes, file, n, exif, m, height, width) : NULL;
    WebPFree(file);
    free(exif);
    return *out ? BL_OK : bl_fail_memory(err, "a WebP", n);
}
