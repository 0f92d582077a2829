#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int too_long(const char *pattern) {
    fprintf(stderr, "ballast: --output: the name is too long (\"%.60s...\")\n", pattern);
    return EXIT_USAGE;
}

int expand_pattern(char *path, size_t size, const char *pattern, uint64_t seed, int index) {
    size_t n = 0;
    for (const char *p = pattern; *p; p++) {
        char piece[32] = {*p, 0};
        if (*p == '%') {
            p++;
            if (*p == 's') {
                snprintf(piece, sizeof piece, "%" PRIu64, seed);
            } else if (*p == 'i') {
                snprintf(piece, sizeof piece, "%d", index);
            } else if (*p != '%') {
                fprintf(stderr,
                        "ballast: --output: %%%c means nothing; use %%s (seed), %%i (number) or %%%%\n",
                        *p ? *p : ' ');
                return EXIT_USAGE;
            }
        }
        size_t length = strlen(piece);
        if (n + length + 1 > size) {
            return too_long(pattern);
        }
        memcpy(path + n, piece, length);
        n += length;
    }
    path[n] = 0;
    return 0;
}

char *distinct_pattern(const char *pattern, int pictures) {
    bool distinct = pictures == 1;
    for (const char *p = pattern; *p && !distinct; p++) {
        distinct = p[0] == '%' && (p[1] == 's' || p[1] == 'i');
        p += p[0] == '%' && p[1];
    }
    if (distinct) {
        return strdup(pattern);
    }
    const char *slash = strrchr(pattern, '/'), *dot = strrchr(pattern, '.');
    size_t stem =
        dot && (!slash || dot > slash + 1) && dot != pattern ? (size_t)(dot - pattern) : strlen(pattern);
    size_t size = strlen(pattern) + 4;
    char *out = malloc(size);
    if (out) {
        snprintf(out, size, "%.*s-%%i%s", (int)stem, pattern, pattern + stem);
    }
    return out;
}

int check_output(const char *path, int overwrite) {
    struct stat st;
    if (!*path) {
        fprintf(stderr, "ballast: --output: an empty name\n");
        return EXIT_USAGE;
    }
    if (!stat(path, &st)) {
        if (S_ISDIR(st.st_mode)) {
            fprintf(stderr, "ballast: --output: \"%s\" is a folder; give a file name in it\n", path);
            return EXIT_USAGE;
        }
        if (!overwrite) {
            fprintf(stderr, "ballast: --output: \"%s\" exists; give another name or --overwrite\n", path);
            return EXIT_USAGE;
        }
    }
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + (slash == path) : 1;
    if (length >= sizeof folder) {
        return too_long(path);
    }
    memcpy(folder, slash ? path : ".", length);
    folder[length] = 0;
    if (access(folder, W_OK | X_OK)) {
        fprintf(stderr, "ballast: --output: cannot write into \"%s\": %s\n", folder, strerror(errno));
        return EXIT_USAGE;
    }
    return 0;
}
