#include "pipeline/utf8.h"

#include "image/latin1.h"

#include <string.h>

char *bl_utf8_copy(const char *text) {
    char *copy = strdup(text);
    if (copy && bl_charset_of(copy) == BL_CHARSET_NEITHER) {
        for (char *p = copy; *p; p++) {
            *p = (unsigned char)*p < 0x80 ? *p : '?';
        }
    }
    return copy;
}
