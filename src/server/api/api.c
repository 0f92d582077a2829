#include "server/api/internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MOST_VALUES 100000 /* of a body, without what lies in texts */

/* Does a path fit a route's, part by part? {..} takes any one. */
static bool fits(const char *pattern, const char *path, char parts[CALL_PARTS][64]) {
    int part = 0;
    while (*pattern && *path) {
        if (*pattern == '{') {
            size_t n = strcspn(path, "/");
            if (!n || n >= sizeof parts[0] || part == CALL_PARTS) {
                return false;
            }
            memcpy(parts[part], path, n);
            parts[part++][n] = 0;
            path += n;
            pattern += strcspn(pattern, "}") + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return !*pattern && !*path;
}

static int find_route(struct call *c, struct problem *p) {
    char allowed[64] = "";
    for (int i = 0; i < route_count; i++) {
        if (!fits(routes[i].path, c->x->path, c->parts)) {
            continue;
        }
        if (!strcmp(routes[i].method, c->x->method)) {
            c->route = &routes[i];
            return 0;
        }
        size_t used = strlen(allowed);
        if (used + strlen(routes[i].method) + 3 < sizeof allowed) {
            memcpy(allowed + used, used ? ", " : "", used ? 3 : 1);
            memcpy(allowed + strlen(allowed), routes[i].method, strlen(routes[i].method) + 1);
        }
    }
    if (allowed[0]) {
        exchange_set_header(c->x, "Allow", allowed);
        return problem_set(p, 405, NULL, "Method Not Allowed");
    }
    return problem_set(p, 404, NULL, "Not Found");
}

static bool is_form(struct exchange *x) {
    const char *type = exchange_header(x, "Content-Type");
    return type && !strncasecmp(type, "multipart/form-data", 19);
}

/* The texts of a form become an object, as if they had come as JSON; files stay where they are. */
static int read_form(struct call *c, struct problem *p) {
    c->form = calloc(MULTIPART_MOST, sizeof *c->form);
    c->body = json_object();
    if (!c->form || !c->body) {
        return problem_set(p, 503, NULL, "out of memory");
    }
    int status = multipart_read(c->form, &c->part_count, exchange_header(c->x, "Content-Type"), c->x->body,
                                c->x->body_bytes, p);
    for (int i = 0; i < c->part_count && !status; i++) {
        const struct part *part = &c->form[i];
        bool whole = !part->file && !memchr(part->data, 0, part->bytes); /* a text ends at a zero byte */
        json_t *text = whole ? json_stringn(part->data, part->bytes) : NULL;
        if (!part->file && !text) {
            status = problem_set(p, 422, part->name, "%s: it is no text in UTF-8", part->name);
        } else if (text) {
            json_object_set_new(c->body, part->name, text);
        }
    }
    return status;
}

/* Each value takes thirty times the memory of its two bytes: 48 MB of them would take a gigabyte and more. */
static bool has_too_many_values(const char *body, size_t bytes) {
    size_t count = 0;
    bool text = false;
    for (size_t i = 0; i < bytes && count <= MOST_VALUES; i++) {
        char c = body[i];
        if (text && c == '\\') {
            i++;
        } else if (c == '"') {
            text = !text;
        } else if (!text && (c == ',' || c == '[' || c == '{')) {
            count++;
        }
    }
    return count > MOST_VALUES;
}

/* The body as an object, whatever Content-Type says: half of the clients say none. */
static int read_body(struct call *c, struct problem *p) {
    json_error_t error;
    bool needed = c->route->body == BODY_JSON || c->route->body == BODY_FORM;
    if (c->route->body == BODY_NONE) {
        return 0;
    }
    if (!c->x->body_bytes) {
        return needed ? problem_set(p, 422, NULL, "a body is needed: a JSON object") : 0;
    }
    if (c->route->body == BODY_FORM && is_form(c->x)) {
        return read_form(c, p);
    }
    if (has_too_many_values(c->x->body, c->x->body_bytes)) {
        return problem_set(p, 422, NULL, "the body has more than %d values, the most that are taken",
                           MOST_VALUES);
    }
    /* Some write a mark of byte order first. */
    size_t mark = c->x->body_bytes >= 3 && !memcmp(c->x->body, "\xef\xbb\xbf", 3) ? 3 : 0;
    json_t *value = json_loadb(c->x->body + mark, c->x->body_bytes - mark, JSON_DECODE_ANY, &error);
    if (!value) {
        return problem_set(p, 422, NULL, "the body is no JSON: %s (byte %d)", error.text, error.position);
    }
    if (!json_is_object(value)) {
        json_decref(value);
        return needed ? problem_set(p, 422, NULL, "the body has to be a JSON object") : 0;
    }
    c->body = value;
    return 0;
}

void api_handle(struct api *api, struct exchange *x) {
    struct call c = {.api = api, .x = x};
    struct problem p = {0};
    for (int i = 0; i < 2; i++) {
        c.versions[i] = api->service.version(api->service.self, i == 1);
    }
    int status = find_route(&c, &p);
    status = status ? status : read_body(&c, &p);
    if (status) {
        reply_problem(x, &p);
    } else {
        c.route->handle(&c);
    }
    free(c.form);
    json_decref(c.body);
}

static void on_event(void *payload, const struct event *event) {
    waits_event(payload, event);
    events_tell(payload, event);
}

int api_open(struct api **out, const struct api_options *options, const struct service *service,
             struct problem *p) {
    *out = NULL;
    struct api *api = calloc(1, sizeof *api);
    if (!api) {
        return problem_set(p, 500, NULL, "out of memory");
    }
    api->options = *options;
    api->options.base_path = options->base_path ? options->base_path : "";
    api->service = *service;
    pthread_mutex_init(&api->lock, NULL);
    pthread_mutex_init(&api->step_lock, NULL);
    pthread_cond_init(&api->tick, NULL);
    if (held_open(api) || events_open(api) || waits_start(api)) {
        api_close(&api);
        return problem_set(p, 500, NULL, "no thread could be started");
    }
    service->listen(service->self, on_event, api);
    *out = api;
    return 0;
}

void api_stop(struct api *api) {
    waits_stop(api);
    events_close(api);
}

void api_close(struct api **api) {
    if (*api) {
        events_close(*api);
        held_close(*api);
        pthread_mutex_destroy(&(*api)->step_lock);
        pthread_mutex_destroy(&(*api)->lock);
        pthread_cond_destroy(&(*api)->tick);
        free(*api);
    }
    *api = NULL;
}
