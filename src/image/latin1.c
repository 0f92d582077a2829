#include "image/latin1.h"

#include <stdint.h>
#include <stdlib.h>

bl_charset bl_charset_of(const char *text) {
    bl_charset charset = BL_CHARSET_LATIN1;
    for (const uint8_t *p = (const uint8_t *)text; *p;) {
        int more = *p < 0x80 ? 0 : *p < 0xc2 ? -1 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : -1;
        if (more < 0) {
            return BL_CHARSET_NEITHER;
        }
        uint32_t c = more ? *p & (0x3fu >> more) : *p;
        p++;
        for (int i = 0; i < more; i++, p++) {
            if ((*p & 0xc0) != 0x80) { /* the terminating NUL stops here too */
                return BL_CHARSET_NEITHER;
            }
            c = c << 6 | (*p & 0x3f);
        }
        if ((more == 2 && c < 0x800) || (more == 3 && c < 0x10000) || c > 0x10ffff ||
            (c >= 0xd800 && c < 0xe000)) {
            return BL_CHARSET_NEITHER;
        }
        if (c > 0xff) {
            charset = BL_CHARSET_UTF8;
        }
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
