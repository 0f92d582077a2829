#include "server/http/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int digit(char c) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

size_t path_unescape(char *text) {
    char *out = text;
    for (const char *in = text; *in; in++) {
        int high = *in == '%' ? digit(in[1]) : -1, low = high >= 0 ? digit(in[2]) : -1;
        if (low >= 0 && high + low > 0) {
            *out++ = (char)(16 * high + low);
            in += 2;
        } else {
            *out++ = *in;
        }
    }
    *out = 0;
    return (size_t)(out - text);
}

char *path_route(const char *url, const char *base) {
    char *path = malloc(strlen(url) + 2);
    size_t n = 0;
    if (!path) {
        return NULL;
    }
    for (const char *c = url; *c; c++) {
        if (*c != '/' || n == 0 || path[n - 1] != '/') {
            path[n++] = *c;
        }
    }
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    path[n] = 0;
    size_t cut = base ? strlen(base) : 0;
    while (cut && base[cut - 1] == '/') {
        cut--;
    }
    if (cut && !strncmp(path, base, cut) && (path[cut] == '/' || !path[cut])) {
        memmove(path, path + cut, n - cut + 1);
    }
    if (!*path) {
        snprintf(path, 2, "/");
    }
    return path;
}
