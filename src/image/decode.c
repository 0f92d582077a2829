#include "image/decode.h"

#include <string.h>

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int bl_picture_decode(bl_picture *out, const uint8_t *data, size_t bytes, size_t most_pixels,
                      const char *name, bl_error *err) {
    /* The header is the first chunk of a PNG; where it is not, the decoder finds that out. */
    if (most_pixels && bytes >= 24 && !memcmp(data, "\x89PNG\r\n\x1a\n", 8)) {
        uint64_t width = big_endian(data + 16), height = big_endian(data + 20);
        if (width * height > most_pixels) {
            return bl_fail(err, BL_E_UNSUPPORTED,
                           "%s has %llu x %llu pixels, more than the %zu that are allowed", name,
                           (unsigned long long)width, (unsigned long long)height, most_pixels);
        }
    }
    return bl_png_decode(out, data, bytes, name, err);
}
