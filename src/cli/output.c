#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

int too_long(const struct settings *s, enum setting_id id, const char *pattern) {
    return complain_of(s, id, "the name is too long (\"%.60s...\")", pattern);
}

int expand_pattern(char *path, size_t size, const struct settings *s, enum setting_id id, const char *pattern,
                   uint64_t seed, int index) {
    size_t n = 0;
    for (const char *p = pattern; *p; p++) {
        char piece[32] = {*p, 0};
        if (*p == '%') {
            p++;
            if (*p == 's') {
                snprintf(piece, sizeof piece, "%" PRIu64, seed);
            } else if (*p == 'i') {
                snprintf(piece, sizeof piece, "%d", index + 1);
            } else if (*p != '%') {
                return complain_of(s, id, "%%%.1s means nothing; use %%s (seed), %%i (number) or %%%%", p);
            }
        }
        size_t length = strlen(piece);
        if (n + length + 1 > size) {
            return too_long(s, id, pattern);
        }
        memcpy(path + n, piece, length);
        n += length;
    }
    path[n] = 0;
    return 0;
}

bool is_stdout(const char *path) {
    return !strcmp(path, "-");
}

static int
    lost; /* errno of the first flush that failed: by the end of the program errno means something else */

bool send_stdout(const void *data, size_t bytes) {
    if (fwrite(data, 1, bytes, stdout) != bytes && !lost) {
        lost = errno;
    }
    return flush_stdout();
}

bool flush_stdout(void) {
    if (fflush(stdout) && !lost) {
        lost = errno;
    }
    return !ferror(stdout);
}

int report_stdout(void) {
    fprintf(stderr, "ballast: standard output: %s\n",
            lost == EBADF ? "it is closed"
            : lost        ? strerror(lost)
                          : "not all could be written");
    return EXIT_OURS;
}

char *distinct_pattern(const char *pattern, int pictures, bool one_seed) {
    bool distinct = pictures == 1 || is_stdout(pattern);
    for (const char *p = pattern; *p && !distinct; p++) {
        distinct = p[0] == '%' && ((p[1] == 's' && !one_seed) || p[1] == 'i');
        p += p[0] == '%' && p[1];
    }
    if (distinct) {
        return strdup(pattern);
    }
    const char *slash = strrchr(pattern, '/'), *dot = strrchr(pattern, '.');
    const char *name = slash ? slash + 1 : pattern;
    size_t stem = dot && dot > name ? (size_t)(dot - pattern) : strlen(pattern);
    size_t size = strlen(pattern) + 4;
    char *out = malloc(size);
    if (out) {
        snprintf(out, size, "%.*s-%%i%s", (int)stem, pattern, pattern + stem);
    }
    return out;
}

int check_stdout(const struct settings *s, enum setting_id id, int pictures) {
    bool json = setting_on(s, S_JSON);
    const char *why = pictures > 1 ? "takes one picture, and there would be more: give a name with %i in it"
                      : json       ? "takes the picture or --json, not both: give a name"
                      : isatty(STDOUT_FILENO)
                          ? "is a terminal: send it to a file or a program, as in `-o - >picture.png`"
                          : NULL;
    return why ? complain_of(s, id, "standard output (\"-\") %s", why) : 0;
}

int check_output(const struct settings *s, enum setting_id id, const char *path) {
    struct stat st;
    if (!*path) {
        return complain_of(s, id, "an empty name");
    }
    if (is_stdout(path)) {
        return complain_of(
            s, id, "standard output (\"-\") takes pictures alone; for a file of that name give \"./-\"");
    }
    if (!stat(path, &st)) {
        if (S_ISDIR(st.st_mode)) {
            return complain_of(s, id, "\"%s\" is a folder; give a file name in it", path);
        }
        if (!S_ISREG(st.st_mode)) {
            return complain_of(s, id, "\"%s\" is no regular file, and will not be replaced by one", path);
        }
        if (!setting_on(s, S_OVERWRITE)) {
            return complain_of(s, id, "\"%s\" exists; give another name or --overwrite", path);
        }
    }
    char folder[4096];
    const char *slash = strrchr(path, '/');
    if (!folder_of(folder, sizeof folder, path) || strlen(slash ? slash + 1 : path) > NAME_MAX) {
        return too_long(s, id, path);
    }
    if (slash && !slash[1]) {
        return complain_of(s, id, "\"%s\" is a folder; give a file name in it", path);
    }
    /* Folders that are not there are made, in the last one that is. */
    errno = 0;
    while (stat(folder, &st) && errno == ENOENT && folder_of(folder, sizeof folder, folder)) {
        errno = 0;
    }
    if (!errno && !S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
    }
    if (errno || access(folder, W_OK | X_OK)) {
        return complain_of(s, id, "cannot write into \"%s\": %s", folder, strerror(errno));
    }
    return 0;
}

/* The suffix with its dot; "": there is none. */
static const char *suffix_of(const char *path) {
    const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
    return dot && (!slash || dot > slash) ? dot : "";
}

const char *form_of(const char *path) {
    const char *suffix = suffix_of(path);
    bool jpeg = !strcasecmp(suffix, ".jpg") || !strcasecmp(suffix, ".jpeg") || !strcasecmp(suffix, ".jfif");
    return jpeg ? "jpeg" : !strcasecmp(suffix, ".webp") ? "webp" : "png";
}

int check_suffix(const struct settings *s, enum setting_id id, const char *path) {
    static const char *const others[] = {".gif",  ".bmp", ".tif", ".tiff", ".avif",       ".jxl",
                                         ".heic", ".ppm", ".exr", ".svg",  ".safetensors"};
    const char *suffix = suffix_of(path);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (!strcasecmp(suffix, others[i])) {
            return complain_of(s, id,
                               "pictures are written as PNG, JPEG or WebP; end the name in .png, .jpg or "
                               ".webp, not in %s",
                               suffix);
        }
    }
    return 0;
}

json_t *json_seed(uint64_t seed) {
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, seed);
    return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_string(digits);
}

json_t *json_name(const char *text) {
    json_t *value = json_string(text);
    char *copy = value ? NULL : strdup(text);
    for (char *p = copy; p && *p; p++) {
        *p = (unsigned char)*p < 0x80 ? *p : '?';
    }
    value = value || !copy ? value : json_string(copy);
    free(copy);
    return value;
}

int out_of_memory(void) {
    fprintf(stderr, "ballast: out of memory\n");
    return EXIT_OURS;
}

int print_json(json_t *value) {
    char *text = NULL;
    size_t bytes = 0;
    /* Not json_dumps, which does not always notice that a piece is missing. */
    FILE *f = value ? open_memstream(&text, &bytes) : NULL;
    bool fine = f && !json_dumpf(value, f, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) && !ferror(f);
    json_decref(value);
    fine = f && !fclose(f) && fine;
    if (fine) {
        printf("%s\n", text);
    }
    free(text);
    return fine ? 0 : out_of_memory();
}
