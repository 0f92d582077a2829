#include "image/decode.h"

#include <string.h>

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int bl_picture_too_large(const char *name, uint64_t width, uint64_t height, size_t most_pixels,
                         bl_error *err) {
    return bl_fail(err, BL_E_UNSUPPORTED, "%s has %llu x %llu pixels, more than the %zu that are allowed",
                   name, (unsigned long long)width, (unsigned long long)height, most_pixels);
}

int bl_picture_decode(bl_picture *out, const uint8_t *data, size_t bytes, size_t most_pixels,
                      const char *name, bl_error *err) {
    size_t most = most_pixels && most_pixels < BL_PNG_MAX_READ_PIXELS ? most_pixels : BL_PNG_MAX_READ_PIXELS;
    if (bytes >= 3 && !memcmp(data, "\xff\xd8\xff", 3)) {
        return bl_jpeg_decode(out, data, bytes, most, name, err);
    }
    if (bytes >= 12 && !memcmp(data, "RIFF", 4) && !memcmp(data + 8, "WEBP", 4)) {
        return bl_webp_decode(out, data, bytes, most, name, err);
    }
    if (bytes < 8 || memcmp(data, "\x89PNG\r\n\x1a\n", 8) != 0) {
        return bl_fail(err, BL_E_FORMAT, "%s is no PNG, JPEG or WebP", name);
    }
    /* The header is the first chunk of a PNG; where it is not, the decoder finds that out. */
    if (bytes >= 24 && (uint64_t)big_endian(data + 16) * big_endian(data + 20) > most) {
        return bl_picture_too_large(name, big_endian(data + 16), big_endian(data + 20), most, err);
    }
    return bl_png_decode(out, data, bytes, name, err);
}
