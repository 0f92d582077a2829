#include "image/latin1.h"

#include "core/utf8.h"

#include <stdint.h>
#include <stdlib.h>

bl_charset bl_charset_of(const char *text) {
    bl_charset charset = BL_CHARSET_LATIN1;
    uint32_t c;
    while (*text) {
        text = bl_utf8_next(text, &c);
        if (!text) {
            return BL_CHARSET_NEITHER;
        }
        charset = c > 0xff ? BL_CHARSET_UTF8 : charset;
    }
    return charset;
}

void bl_to_latin1(char *text) {
    const uint8_t *in = (const uint8_t *)text;
    uint8_t *out = (uint8_t *)text;
    for (; *in; in++) {
        if (*in < 0x80) {
            *out++ = *in;
        } else {
            *out++ = (uint8_t)(*in << 6 | (in[1] & 0x3f));
            in++;
        }
    }
    *out = 0;
}

char *bl_from_latin1(const char *text, size_t bytes) {
    uint8_t *out = malloc(2 * bytes + 1);
    if (!out) {
        return NULL;
    }
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t c = (uint8_t)text[i];
        if (c < 0x80) {
            out[n++] = c;
        } else {
            out[n++] = (uint8_t)(0xc0 | c >> 6);
            out[n++] = (uint8_t)(0x80 | (c & 0x3f));
        }
    }
    out[n] = 0;
    return (char *)out;
}
