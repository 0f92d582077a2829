#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void bl_tame(char *line) {
    for (char *p = line; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }
}

int bl_fail(bl_error *err, int code, const char *format, ...) {
    if (!err) {
        return code;
    }
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    if (n >= (int)sizeof err->message) {
        memcpy(err->message + sizeof err->message - 4, "...", 4);
    }
    bl_tame(err->message);
    err->code = code;
    return code;
}

int bl_fail_memory(bl_error *err, const char *what, unsigned long long bytes) {
    return bl_fail(err, BL_E_MEMORY, "out of memory: %s needs %llu bytes", what, bytes);
}

int bl_fail_open(bl_error *err, const char *path, int why) {
    int code = BL_E_IO;
    switch (why) {
    case ENOMEM:
        return bl_fail(err, BL_E_MEMORY, "out of memory: opening \"%.400s\"", path);
    case ENOENT:
    case ENOTDIR:
        code = BL_E_NOT_FOUND;
        break;
    case EACCES:
    case EPERM:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO: /* a socket */
        code = BL_E_ARGUMENT;
        break;
    default:
        break;
    }
    return bl_fail(err, code, "cannot open \"%.400s\": %s", path, strerror(why));
}
