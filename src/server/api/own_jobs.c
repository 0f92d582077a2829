/* /ballast/v1: jobs and history as the server keeps them. */
#include "server/api/handlers.h"
#include "server/api/sdapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_KEY 200 /* bytes of an Idempotency-Key */
#define HOLD_SECONDS 10

/* A key stands for one request: another one under it is a caller's mistake, and would be lost unseen. */
static int check_same(struct call *c, const char *id, const char *digest, struct problem *p) {
    json_t *job = NULL;
    int status = c->api->service.job(c->api->service.self, id, &job, p);
    const char *first = json_string_value(json_object_get(json_object_get(job, "asked"), "digest"));
    if (!status && first && strcmp(first, digest) != 0) {
        status =
            problem_set(p, 422, "Idempotency-Key",
                        "Idempotency-Key: job %s was another request under this key; take a new one", id);
    }
    json_decref(job);
    return status;
}

void own_add_job(struct call *c) {
    struct picture_request r;
    struct sd_body body;
    struct problem p = {0};
    char id[JOB_ID], url[300], digest[65] = "";
    json_t *warnings = json_array(), *asked = NULL;
    const char *key = exchange_header(c->x, "Idempotency-Key");
    const struct field *fields =
        json_object_get(c->body, "init_images") ? own_img2img_fields : own_txt2img_fields;
    int status = key && (!*key || strlen(key) > MOST_KEY)
                     ? problem_set(&p, 422, "Idempotency-Key", "Idempotency-Key: 1 to %d bytes", MOST_KEY)
                     : 0;
    picture_request_init(&r);
    status = status ? status : sd_read(c->api, &r, &body, fields, c->body, warnings, &p);
    if (!status && key && !body_digest(c, NULL, digest)) {
        status = problem_set(&p, 503, NULL, "out of memory");
    }
    if (!status) {
        asked = key ? json_pack("{s:s}", "digest", digest) : NULL;
        struct submission s = {.source = "ballast",
                               .request = &r,
                               .asked = asked,
                               .warnings = warnings,
                               .idempotency = key,
                               .priority = body.priority};
        status = c->api->service.submit(c->api->service.self, &s, id, &p);
        json_decref(asked);
        status = status || !key ? status : check_same(c, id, digest, &p);
    }
    picture_request_free(&r);
    if (status) {
        json_decref(warnings);
        reply_problem(c->x, &p);
        return;
    }
    int base = snprintf(url, sizeof url, "%.*s/ballast/v1/jobs/%s", base_path_length(c->api),
                        c->api->options.base_path, id);
    exchange_set_header(c->x, "Location", url);
    const char *own = url + base - strlen("/ballast/v1/jobs/") - strlen(id);
    reply_json(c->x, 202, json_pack("{s:s, s:s, s:o}", "id", id, "url", own, "warnings", warnings));
}

/* ",queued,running," of "queued,running"; false: a state that there is not. */
static bool read_states(const char *text, char *out, size_t size) {
    char copy[96];
    static const char known[] = ",queued,running,done,failed,cancelled,";
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy ||
        snprintf(out, size, ",%s,", text) >= (int)size) {
        return false;
    }
    for (char *at = copy; at;) {
        char *comma = strchr(at, ','), one[100];
        if (comma) {
            *comma = 0;
        }
        snprintf(one, sizeof one, ",%s,", at);
        if (!*at || !strstr(known, one)) {
            return false;
        }
        at = comma ? comma + 1 : NULL;
    }
    return true;
}

void own_jobs(struct call *c) {
    struct problem p = {0};
    char *text = NULL;
    char states[128];
    const char *given = exchange_query(c->x, "state");
    int status = read_states(given && *given ? given : "queued,running", states, sizeof states)
                     ? 0
                     : problem_set(&p, 422, "state",
                                   "state: queued, running, done, failed, cancelled, or some of them "
                                   "with commas between");
    status = status ? status : c->api->service.jobs(c->api->service.self, states, &text, &p);
    if (status) {
        reply_problem(c->x, &p);
    } else {
        reply_held_text(c, false, HOLD_SECONDS, text);
    }
}

void own_job(struct call *c) {
    struct problem p = {0};
    json_t *job = NULL;
    if (c->api->service.job(c->api->service.self, c->parts[0], &job, &p)) {
        reply_problem(c->x, &p);
        return;
    }
    json_object_set_new(job, "ballast", ballast_part(job));
    json_t *request = json_object_get(job, "request");
    json_object_set(job, "seed", json_object_get(request, "seed"));
    json_object_del(job, "asked");
    reply_held(c, true, HOLD_SECONDS, job);
}

void own_cancel(struct call *c) {
    struct problem p = {0};
    json_t *job = NULL;
    int status = c->api->service.cancel(c->api->service.self, c->parts[0], &p);
    if (status == 404 && !c->api->service.job(c->api->service.self, c->parts[0], &job, NULL)) {
        status = 0; /* it has ended already: that is what was asked for */
    }
    json_decref(job);
    if (status) {
        reply_problem(c->x, &p);
    } else {
        reply_json(c->x, 200, json_pack("{s:s}", "id", c->parts[0]));
    }
}

void own_move(struct call *c) {
    struct problem p = {0};
    double position;
    const json_t *value = json_object_get(c->body, "position");
    int status = value && field_number(value, &position) && position >= 0 && position < 1e6 &&
                         position == (int)position
                     ? c->api->service.move(c->api->service.self, c->parts[0], (int)position, &p)
                     : problem_set(&p, 422, "position", "position: the place in the queue, from 0");
    json_t *job = NULL;
    if (status == 404 && !c->api->service.job(c->api->service.self, c->parts[0], &job, NULL)) {
        status = problem_set(&p, 409, NULL, "job %s is %s; those that wait can be moved", c->parts[0],
                             json_string_value(json_object_get(job, "state")));
    }
    json_decref(job);
    if (status) {
        reply_problem(c->x, &p);
    } else {
        reply_json(c->x, 200, json_pack("{s:s}", "id", c->parts[0]));
    }
}

static long number_of(const char *text, long fallback, long least, long most) {
    char *end;
    if (!text || !*text) {
        return fallback;
    }
    long number = strtol(text, &end, 10);
    return *end || number < least ? -1 : number > most ? most : number;
}

static const char *given(struct call *c, const char *name) {
    const char *text = exchange_query(c->x, name);
    return text && *text ? text : NULL;
}

/* Seconds since 1970; -1: it is no time. */
static double time_of(struct call *c, const char *name, double fallback) {
    const char *text = given(c, name);
    json_t *number = text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_real(fallback);
    double seconds = json_is_number(number) ? json_number_value(number) : -1;
    json_decref(number);
    return seconds;
}

void own_history(struct call *c) {
    struct problem p = {0};
    json_t *items = NULL;
    long limit = number_of(exchange_query(c->x, "limit"), 50, 1, 1000);
    long after = number_of(exchange_query(c->x, "after"), 0x7fffffffffff, 0, 0x7fffffffffff);
    struct history_wish wish = {.limit = (int)limit,
                                .before = after,
                                .search = given(c, "search"),
                                .model = given(c, "model"),
                                .since = time_of(c, "since", 0),
                                .until = time_of(c, "until", 1e15)};
    int status = limit < 0        ? problem_set(&p, 422, "limit", "limit: 1 to 1000")
                 : after < 0      ? problem_set(&p, 422, "after", "after: what `next` said")
                 : wish.since < 0 ? problem_set(&p, 422, "since", "since: seconds since 1970")
                 : wish.until < 0 ? problem_set(&p, 422, "until", "until: seconds since 1970")
                                  : c->api->service.history(c->api->service.self, &wish, &items, &p);
    if (status) {
        reply_problem(c->x, &p);
        return;
    }
    size_t count = json_array_size(items);
    json_t *last = count == (size_t)limit ? json_object_get(json_array_get(items, count - 1), "n") : NULL;
    json_t *next = last ? json_incref(last) : json_null();
    reply_json(c->x, 200, json_pack("{s:o, s:o}", "items", items, "next", next));
}

static bool has_picture(const json_t *job, long index) {
    const json_t *pictures = json_object_get(job, "images"), *picture;
    size_t i;
    json_array_foreach(pictures, i, picture) {
        if (json_integer_value(json_object_get(picture, "index")) == index) {
            return true;
        }
    }
    return false;
}

/* The pictures of a job, or the one of that number. */
void own_forget(struct call *c) {
    struct problem p = {0};
    json_t *job = NULL;
    const char *which = c->parts[1];
    long index = number_of(which, -1, 0, 1000000);
    int status = c->api->service.job(c->api->service.self, c->parts[0], &job, &p);
    if (!status && *which && !has_picture(job, index)) {
        status = problem_set(&p, 404, NULL, "job %s has no picture %s", c->parts[0], which);
    }
    const char *state = json_string_value(json_object_get(job, "state"));
    if (state && (!strcmp(state, "queued") || !strcmp(state, "running"))) {
        status = problem_set(&p, 409, NULL, "job %s is %s; DELETE /ballast/v1/jobs/%s ends it first",
                             c->parts[0], state, c->parts[0]);
    }
    json_decref(job);
    status = status ? status : c->api->service.forget(c->api->service.self, c->parts[0], (int)index, &p);
    if (status) {
        reply_problem(c->x, &p);
    } else {
        reply_json(c->x, 200, json_pack("{s:s}", "id", c->parts[0]));
    }
}
