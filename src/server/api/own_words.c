/* /ballast/v1: words for who writes a prompt: those that an adapter was trained with, and the user's tags. */
#include "server/api/handlers.h"
#include "server/api/internal.h"

#include "ballast.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOST_BYTES ((size_t)32 << 20) /* of the list of tags */

/* The path of the adapter of this name or alias, which lives as long as the list; NULL: none. */
static const char *path_of(const json_t *adapters, const char *name) {
    const json_t *x;
    size_t i;
    json_array_foreach(adapters, i, x) {
        const char *alias = json_string_value(json_object_get(x, "alias"));
        if (!strcmp(json_string_value(json_object_get(x, "name")), name) || (alias && !strcmp(alias, name))) {
            return json_string_value(json_object_get(x, "path"));
        }
    }
    return NULL;
}

void own_adapter(struct call *c) {
    struct problem p = {0};
    ballast_error err = {0};
    char *text = NULL;
    const char *name = exchange_query(c->x, "name");
    json_t *adapters = c->api->service.adapters(c->api->service.self);
    const char *path = name && *name ? path_of(adapters, name) : NULL;
    if (!name || !*name) {
        problem_set(&p, 422, "name", "name: an adapter's");
    } else if (!path) {
        problem_set(&p, 404, NULL, "there is no adapter %.200s", name);
    } else if (ballast_adapter_inspect(&text, path, &err)) {
        /* The library's line begins with where it lies, which is nobody's business. */
        problem_set(&p, 422, "name", "%.200s is no adapter that can be read", name);
    }
    json_decref(adapters);
    if (p.status) {
        reply_problem(c->x, &p);
        return;
    }
    reply_json(c->x, 200, json_loads(text, 0, NULL));
    ballast_string_free(&text);
}

/* NULL: neither is there. */
static FILE *open_tags(const char *folder, struct stat *about) {
    static const char *const names[] = {"tags.csv", "tags.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        int n = snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        FILE *file = n > 0 && n < (int)sizeof path ? fopen(path, "rb") : NULL;
        if (file && !fstat(fileno(file), about) && S_ISREG(about->st_mode) &&
            (size_t)about->st_size <= MOST_BYTES) {
            return file;
        }
        if (file) {
            fclose(file);
        }
    }
    return NULL;
}

/* As it lies there: the page reads it. Without one the answer is empty. */
void own_tags(struct call *c) {
    struct stat about = {0};
    char tag[64];
    const char *known = exchange_header(c->x, "If-None-Match");
    FILE *file = open_tags(c->api->options.data, &about);
    snprintf(tag, sizeof tag, "\"%" PRIx64 "-%" PRIx64 ".%" PRIx64 "\"", (uint64_t)about.st_size,
             (uint64_t)about.st_mtim.tv_sec, (uint64_t)about.st_mtim.tv_nsec);
    exchange_set_header(c->x, "Cache-Control", "no-cache");
    exchange_set_header(c->x, "ETag", tag);
    bool same = known && strstr(known, tag);
    size_t bytes = 0;
    char *text = file && !same ? malloc((size_t)about.st_size + 1) : NULL;
    if (text) {
        bytes = fread(text, 1, (size_t)about.st_size, file);
    }
    if (file) {
        fclose(file);
    }
    exchange_answer(c->x, same ? 304 : 200, "text/plain; charset=utf-8", text ? text : strdup(""), bytes);
}
