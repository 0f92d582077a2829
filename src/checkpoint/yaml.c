#include "checkpoint/yaml.h"

#include <string.h>

#define MAX_DEPTH 24
#define PATH_BYTES 256

/* Where a line stands: the keys above it, each with the column that it begins in. */
typedef struct place {
    size_t columns[MAX_DEPTH];
    size_t ends[MAX_DEPTH]; /* length of the path up to this key */
    int depth;
    char path[PATH_BYTES];
} place;

/* Leaves the keys that stand in this column or right of it, and adds this one. False if there is no room. */
static bool enter(place *p, size_t column, const char *key, size_t length) {
    while (p->depth && p->columns[p->depth - 1] >= column) {
        p->depth--;
    }
    size_t end = p->depth ? p->ends[p->depth - 1] : 0;
    if (p->depth == MAX_DEPTH || length > PATH_BYTES || end + length + 2 > PATH_BYTES) {
        return false;
    }
    if (end) {
        p->path[end++] = '.';
    }
    memcpy(p->path + end, key, length);
    p->path[end + length] = '\0';
    p->columns[p->depth] = column;
    p->ends[p->depth++] = end + length;
    return true;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts the scalar at [*p, *end) out of its quotation marks, or from a comment and blanks around it. */
static void cut_scalar(const char **p, const char **end) {
    const char *a = *p, *b = *end;
    while (a < b && is_blank(*a)) {
        a++;
    }
    const char *close = a < b && (*a == '"' || *a == '\'') ? memchr(a + 1, *a, (size_t)(b - a - 1)) : NULL;
    if (close) {
        a++;
        b = close;
    } else {
        for (const char *c = a; c < b; c++) {
            if (*c == '#' && (c == a || is_blank(c[-1]))) {
                b = c;
            }
        }
        while (b > a && is_blank(b[-1])) {
            b--;
        }
    }
    *p = a;
    *end = b;
}

/* The colon that ends a key: a blank or nothing follows it. */
static const char *key_end(const char *p, const char *end) {
    for (; p < end && *p != '#'; p++) {
        if (*p == ':' && (p + 1 == end || is_blank(p[1]))) {
            return p;
        }
    }
    return NULL;
}

/* Goes to the place of a line's key. False if it has none; else its scalar is [*value, *value_end). */
static bool read_line(place *at, const char *line, const char *end, const char **value,
                      const char **value_end) {
    const char *p = line;
    while (p < end && (*p == ' ' || (*p == '-' && p + 1 < end && p[1] == ' '))) {
        if (*p == '-' && !enter(at, (size_t)(p - line), "-", 1)) {
            return false;
        }
        p++;
    }
    const char *colon = key_end(p, end), *key = p, *last = colon;
    if (!colon) {
        return false;
    }
    cut_scalar(&key, &last);
    *value = colon + 1;
    *value_end = end;
    cut_scalar(value, value_end);
    return enter(at, (size_t)(p - line), key, (size_t)(last - key));
}

bool bl_yaml_find(char *out, size_t room, const char *text, size_t n, const char *path) {
    place at = {.depth = 0};
    bool found = false;
    for (const char *line = text, *end = text + n; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line)), *value, *value_end;
        stop = stop ? stop : end;
        if (read_line(&at, line, stop, &value, &value_end) && value < value_end &&
            strcmp(at.path, path) == 0) {
            size_t length = (size_t)(value_end - value);
            length = length < room ? length : room - 1;
            memcpy(out, value, length);
            out[length] = '\0';
            found = true;
        }
        line = stop + 1;
    }
    return found;
}
