#include "server/api/multipart.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MOST_BOUNDARY 70 /* characters; RFC 2046 */

static int fail(struct problem *p, const char *what) {
    return problem_set(p, 422, NULL, "the form cannot be read: %s", what);
}

/* What is quoted may hold any. NULL: none. */
static const char *next_semicolon(const char *at, const char *end) {
    bool quoted = false;
    for (; at < end && (quoted || *at != ';'); at++) {
        if (quoted && *at == '\\' && at + 1 < end) {
            at++;
        } else if (*at == '"') {
            quoted = !quoted;
        }
    }
    return at < end ? at : NULL;
}

/* Where the value of `key` begins in "form-data; key=value; key2=\"value\""; NULL: it is not there. */
static const char *seek(const char *text, const char *end, const char *key) {
    size_t n = strlen(key);
    for (const char *at = text; (at = next_semicolon(at, end));) {
        at++;
        while (at < end && (*at == ' ' || *at == '\t')) {
            at++;
        }
        if ((size_t)(end - at) > n && !strncasecmp(at, key, n) && at[n] == '=') {
            return at + n + 1;
        }
    }
    return NULL;
}

/* That value; false: it is not there, or longer than there is room. */
static bool parameter(char *out, size_t room, const char *text, const char *end, const char *key) {
    const char *at = seek(text, end, key);
    bool quoted = at && at < end && *at == '"';
    size_t used = 0;
    if (!at) {
        return false;
    }
    for (at += quoted; at < end && (quoted ? *at != '"' : *at != ';' && *at != ' ');) {
        if (quoted && *at == '\\' && at + 1 < end) {
            at++;
        }
        if (used + 1 >= room) {
            return false;
        }
        out[used++] = *at++;
    }
    out[used] = 0;
    return true;
}

static const char *find(const char *in, const char *end, const char *what, size_t n) {
    return in && in < end ? memmem(in, (size_t)(end - in), what, n) : NULL;
}

/* The header lines of a part, from `at` to the blank line. NULL: malformed. */
static const char *read_head(struct part *part, const char *at, const char *end) {
    bool named = false;
    while (at < end) {
        const char *line = find(at, end, "\r\n", 2);
        if (!line) {
            return NULL;
        }
        if (line == at) {
            return named ? line + 2 : NULL;
        }
        static const char key[] = "Content-Disposition:", type[] = "Content-Type:";
        size_t length = (size_t)(line - at);
        if (length > sizeof key && !strncasecmp(at, key, sizeof key - 1)) {
            named = parameter(part->name, sizeof part->name, at, line, "name");
            part->file = part->file || seek(at, line, "filename") || seek(at, line, "filename*");
        } else if (length > sizeof type && !strncasecmp(at, type, sizeof type - 1)) {
            const char *value = at + sizeof type - 1 + strspn(at + sizeof type - 1, " \t");
            part->file = part->file || (line - value > 6 && !strncasecmp(value, "image/", 6));
        }
        at = line + 2;
    }
    return NULL;
}

int multipart_read(struct part parts[MULTIPART_MOST], int *count, const char *content_type, const char *body,
                   size_t bytes, struct problem *p) {
    char boundary[MOST_BOUNDARY + 1], mark[MOST_BOUNDARY + 5];
    const char *end = body + bytes;
    *count = 0;
    if (!parameter(boundary, sizeof boundary, content_type, content_type + strlen(content_type),
                   "boundary") ||
        !*boundary) {
        return fail(p, "its Content-Type names no boundary");
    }
    int n = snprintf(mark, sizeof mark, "\r\n--%s", boundary);
    size_t length = (size_t)n;
    const char *at = bytes >= length - 2 && !memcmp(body, mark + 2, length - 2) ? body + length - 2 : NULL;
    if (!at) {
        const char *first = find(body, end, mark, length);
        at = first ? first + length : NULL;
    }
    if (!at) {
        return fail(p, "its boundary is not there");
    }
    for (;;) {
        if (end - at >= 2 && !memcmp(at, "--", 2)) {
            return 0;
        }
        while (at < end && (*at == ' ' || *at == '\t')) {
            at++;
        }
        if (end - at < 2 || memcmp(at, "\r\n", 2) != 0) {
            return fail(p, "a boundary is cut short");
        }
        if (*count == MULTIPART_MOST) {
            return fail(p, "it has too many parts");
        }
        struct part *part = &parts[*count];
        *part = (struct part){.name = ""};
        part->data = read_head(part, at + 2, end);
        const char *next = part->data ? find(part->data - 2, end, mark, length) : NULL;
        if (!next) {
            return fail(p, part->data ? "a part does not end" : "a part has no name");
        }
        part->bytes = next > part->data ? (size_t)(next - part->data) : 0;
        (*count)++;
        at = next + length;
    }
}
