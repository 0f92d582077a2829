/* The page at /: files that lie in the program, or in the folder of --page. */
#include "server/api/page.h"
#include "server/api/handlers.h"
#include "server/api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#define MOST_BYTES ((size_t)4 << 20) /* of one file of --page */

/* Everything is ours, and nobody may put the page into a frame. */
static const char policy[] =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

static const char *type_of(const char *name) {
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".svg", "image/svg+xml"}};
    const char *suffix = strrchr(name, '.');
    for (size_t i = 0; suffix && i < sizeof types / sizeof *types; i++) {
        if (!strcmp(suffix, types[i][0])) {
            return types[i][1];
        }
    }
    return NULL;
}

static void missing(struct call *c, const char *name) {
    struct problem p;
    problem_set(&p, 404, NULL, "the page has no file %.60s", name);
    reply_problem(c->x, &p);
}

static void answer(struct call *c, int status, const char *name, char *body, size_t bytes) {
    exchange_set_header(c->x, "Content-Security-Policy", policy);
    exchange_set_header(c->x, "Referrer-Policy", "no-referrer");
    exchange_answer(c->x, status, type_of(name), body, bytes);
}

/* As it lies in the folder at this moment: for who changes it. */
static void from_folder(struct call *c, const char *name) {
    char path[4096];
    struct stat about;
    int n = snprintf(path, sizeof path, "%s/%s", c->api->options.page, name);
    FILE *file = n > 0 && n < (int)sizeof path ? fopen(path, "rb") : NULL;
    if (!file || fstat(fileno(file), &about) || !S_ISREG(about.st_mode) ||
        (size_t)about.st_size > MOST_BYTES) {
        if (file) {
            fclose(file);
        }
        missing(c, name);
        return;
    }
    char *data = malloc((size_t)about.st_size + 1);
    size_t bytes = data ? fread(data, 1, (size_t)about.st_size, file) : 0;
    fclose(file);
    exchange_set_header(c->x, "Cache-Control", "no-store");
    answer(c, 200, name, data, bytes);
}

static bool takes_gzip(struct exchange *x) {
    const char *accepts = exchange_header(x, "Accept-Encoding");
    return accepts && strstr(accepts, "gzip") && !strstr(accepts, "gzip;q=0");
}

/* NULL: no memory. */
static char *expand(const struct page_file *f) {
    char *out = malloc(f->bytes + 1);
    z_stream z = {.next_in = (unsigned char *)f->gzip,
                  .avail_in = (unsigned)f->gzip_bytes,
                  .next_out = (unsigned char *)out,
                  .avail_out = (unsigned)f->bytes};
    if (!out || inflateInit2(&z, 15 + 16) != Z_OK) {
        free(out);
        return NULL;
    }
    int result = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    if (result != Z_STREAM_END) {
        free(out);
        return NULL;
    }
    return out;
}

static void embedded(struct call *c, const struct page_file *f) {
    const char *known = exchange_header(c->x, "If-None-Match");
    exchange_set_header(c->x, "Cache-Control", "no-cache");
    exchange_set_header(c->x, "ETag", f->tag);
    exchange_set_header(c->x, "Vary", "Accept-Encoding");
    if (known && strstr(known, f->tag)) {
        answer(c, 304, f->name, strdup(""), 0);
        return;
    }
    if (!takes_gzip(c->x)) {
        answer(c, 200, f->name, expand(f), f->bytes);
        return;
    }
    char *copy = malloc(f->gzip_bytes);
    if (copy) {
        memcpy(copy, f->gzip, f->gzip_bytes);
    }
    exchange_set_header(c->x, "Content-Encoding", "gzip");
    answer(c, 200, f->name, copy, f->gzip_bytes);
}

static void find(struct call *c, const char *name) {
    if (!type_of(name) || name[0] == '.' || strchr(name, '/')) {
        missing(c, name);
        return;
    }
    if (c->api->options.page) {
        from_folder(c, name);
        return;
    }
    for (const struct page_file *f = page_files; f->name; f++) {
        if (!strcmp(f->name, name)) {
            embedded(c, f);
            return;
        }
    }
    missing(c, name);
}

void page_root(struct call *c) {
    find(c, "index.html");
}

void page_file(struct call *c) {
    find(c, c->parts[0]);
}
