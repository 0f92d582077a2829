#include "core/utf8.h"

#include <stddef.h>
#include <string.h>

const char *bl_utf8_next(const char *text, uint32_t *character) {
    const uint8_t *p = (const uint8_t *)text;
    int more = *p < 0x80 ? 0 : *p < 0xc2 ? -1 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : -1;
    if (more < 0) {
        return NULL;
    }
    uint32_t c = more ? *p & (0x3fu >> more) : *p;
    p++;
    for (int i = 0; i < more; i++, p++) {
        if ((*p & 0xc0) != 0x80) { /* the terminating NUL stops here too */
            return NULL;
        }
        c = c << 6 | (*p & 0x3f);
    }
    if ((more == 2 && c < 0x800) || (more == 3 && c < 0x10000) || c > 0x10ffff ||
        (c >= 0xd800 && c < 0xe000)) {
        return NULL;
    }
    *character = c;
    return (const char *)p;
}

bool bl_utf8_valid(const char *text) {
    uint32_t c;
    while (text && *text) {
        text = bl_utf8_next(text, &c);
    }
    return text;
}

char *bl_utf8_copy(const char *text) {
    char *copy = strdup(text);
    if (copy && !bl_utf8_valid(copy)) {
        for (char *p = copy; *p; p++) {
            *p = (unsigned char)*p < 0x80 ? *p : '?';
        }
    }
    return copy;
}
