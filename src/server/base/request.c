#include "server/base/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, INT, REAL, SEED };

struct row {
    const char *name;
    enum kind kind;
    size_t at;
};

static const struct row rows[] = {
#define REQUEST_FIELD(kind, name, fallback) {#name, kind, offsetof(struct picture_request, name)},
    REQUEST_FIELDS
#undef REQUEST_FIELD
};
#define ROWS (sizeof rows / sizeof *rows)

void picture_request_init(struct picture_request *r) {
    memset(r, 0, sizeof *r);
#define REQUEST_FIELD(kind, name, fallback) r->name = fallback;
    REQUEST_FIELDS
#undef REQUEST_FIELD
}

void picture_request_free(struct picture_request *r) {
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].kind == TEXT) {
            free(*(char **)((char *)r + rows[i].at));
        }
    }
    free(r->init);
    picture_request_init(r);
}

bool picture_text_set(char **at, const char *text) {
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy) {
        return false;
    }
    free(*at);
    *at = copy;
    return true;
}

int picture_init_count(const struct picture_request *r) {
    int count = r->init != NULL;
    for (const char *c = r->init_sizes; c && *c && r->init; c++) {
        count += *c == ',';
    }
    return count;
}

const char *picture_init_at(const struct picture_request *r, int n, size_t *bytes) {
    size_t at = 0;
    *bytes = r->init_bytes;
    if (!r->init_sizes || !r->init) {
        return n ? NULL : r->init;
    }
    char *end;
    const char *c = r->init_sizes;
    for (int i = 0;; i++) {
        *bytes = strtoul(c, &end, 10);
        if (at > r->init_bytes || *bytes > r->init_bytes - at || end == c) {
            return NULL;
        }
        if (i == n) {
            return r->init + at;
        }
        if (*end != ',') {
            return NULL;
        }
        at += *bytes;
        c = end + 1;
    }
}

bool picture_init_add(struct picture_request *r, const char *file, size_t bytes) {
    char *sizes = NULL;
    char *grown = realloc(r->init, r->init_bytes + bytes);
    if (!grown) {
        return false;
    }
    memcpy(grown + r->init_bytes, file, bytes);
    int n = r->init_sizes   ? asprintf(&sizes, "%s,%zu", r->init_sizes, bytes)
            : r->init_bytes ? asprintf(&sizes, "%zu,%zu", r->init_bytes, bytes)
                            : 0;
    r->init = grown;
    r->init_bytes += bytes;
    if (n > 0) {
        free(r->init_sizes);
        r->init_sizes = sizes;
    }
    return n >= 0;
}

json_t *seed_json(uint64_t seed) {
    char digits[24];
    if (seed <= INT64_MAX) {
        return json_integer((json_int_t)seed);
    }
    snprintf(digits, sizeof digits, "%" PRIu64, seed);
    return json_string(digits);
}

bool seed_read(uint64_t *seed, const json_t *value) {
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *seed = (uint64_t)json_integer_value(value);
        return true;
    }
    const char *text = json_string_value(value);
    if (!text || !*text || strspn(text, "0123456789") != strlen(text)) {
        return false;
    }
    errno = 0;
    *seed = strtoull(text, NULL, 10);
    return !errno;
}

json_t *picture_request_json(const struct picture_request *r) {
    json_t *object = json_object();
    for (size_t i = 0; object && i < ROWS; i++) {
        const char *at = (const char *)r + rows[i].at;
        json_t *value = NULL;
        switch (rows[i].kind) {
        case TEXT:
            if (!*(char *const *)(const void *)at) {
                continue;
            }
            value = json_string(*(char *const *)(const void *)at);
            break;
        case INT:
            value = json_integer(*(const int *)(const void *)at);
            break;
        case REAL:
            value = json_real(*(const double *)(const void *)at);
            break;
        case SEED:
            value = seed_json(*(const uint64_t *)(const void *)at);
            break;
        }
        if (json_object_set_new(object, rows[i].name, value)) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

int picture_request_read(struct picture_request *r, const json_t *object, struct problem *p) {
    picture_request_init(r);
    for (size_t i = 0; i < ROWS; i++) {
        const json_t *value = json_object_get(object, rows[i].name);
        char *at = (char *)r + rows[i].at;
        bool good = true;
        if (!value) {
            continue;
        }
        switch (rows[i].kind) {
        case TEXT:
            good = json_is_string(value) && picture_text_set((char **)(void *)at, json_string_value(value));
            break;
        case INT:
            good = json_is_integer(value);
            *(int *)(void *)at = (int)json_integer_value(value);
            break;
        case REAL:
            good = json_is_number(value);
            *(double *)(void *)at = json_number_value(value);
            break;
        case SEED:
            good = seed_read((uint64_t *)(void *)at, value);
            break;
        }
        if (!good) {
            return problem_set(p, 500, rows[i].name, "a kept request's \"%s\" cannot be read", rows[i].name);
        }
    }
    return 0;
}
