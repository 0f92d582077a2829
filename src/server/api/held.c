/* Answers that hold until something changes. Many ask for the same, again and again, of a job that takes
 * minutes: what was answered once lies ready, and is given out in the event loop, without the database and
 * another thread. */
#include "server/api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HELD 256                     /* answers; each has one place it may lie in */
#define KEY 160                      /* bytes of what names it */
#define MOST_BYTES ((size_t)1 << 20) /* of one */
#define MOST_TOTAL ((size_t)8 << 20) /* of all */

struct held_answer {
    char key[KEY];
    bool of_work; /* else of what is kept alone */
    uint64_t version;
    double until;
    char *body;
    size_t bytes;
};

struct held {
    pthread_mutex_t lock;
    struct held_answer answers[HELD];
    size_t bytes;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Path and arguments of those routes that hold answers. False: too long to be one. */
static bool name(char key[KEY], struct exchange *x) {
    const char *skip = exchange_query(x, "skip_current_image"), *state = exchange_query(x, "state");
    int n = snprintf(key, KEY, "%s\n%s\n%s", x->path, skip ? skip : "", state ? state : "");
    return n > 0 && n < KEY;
}

static struct held_answer *place_of(struct held *h, const char *key) {
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
    for (const char *c = key; *c; c++) {
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3;
    }
    return &h->answers[hash % HELD];
}

int held_open(struct api *api) {
    api->held = calloc(1, sizeof *api->held);
    return api->held ? pthread_mutex_init(&api->held->lock, NULL) : 503;
}

void held_close(struct api *api) {
    for (int i = 0; api->held && i < HELD; i++) {
        free(api->held->answers[i].body);
    }
    if (api->held) {
        pthread_mutex_destroy(&api->held->lock);
    }
    free(api->held);
    api->held = NULL;
}

static void hold(struct call *c, bool of_work, double seconds, const char *body, size_t bytes) {
    struct held *h = c->api->held;
    char key[KEY];
    char *copy = bytes <= MOST_BYTES && name(key, c->x) ? malloc(bytes + 1) : NULL;
    if (!copy) {
        return;
    }
    memcpy(copy, body, bytes + 1);
    pthread_mutex_lock(&h->lock);
    struct held_answer *a = place_of(h, key);
    h->bytes -= a->bytes;
    free(a->body);
    *a = (struct held_answer){.of_work = of_work, .version = c->versions[of_work], .until = now() + seconds};
    if (h->bytes + bytes <= MOST_TOTAL) {
        memcpy(a->key, key, KEY);
        a->body = copy;
        a->bytes = bytes;
        h->bytes += bytes;
        copy = NULL;
    }
    pthread_mutex_unlock(&h->lock);
    free(copy);
}

void reply_held_text(struct call *c, bool of_work, double seconds, char *json) {
    size_t bytes = json ? strlen(json) : 0;
    if (json) {
        hold(c, of_work, seconds, json, bytes);
    }
    exchange_answer(c->x, 200, "application/json", json, bytes);
}

void reply_held(struct call *c, bool of_work, double seconds, json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    json_decref(value);
    reply_held_text(c, of_work, seconds, text);
}

bool api_quick(struct api *api, struct exchange *x) {
    struct held *h = api->held;
    char key[KEY];
    char *body = NULL;
    size_t bytes = 0;
    if (strcmp(x->method, "GET") != 0 || !name(key, x)) {
        return false;
    }
    pthread_mutex_lock(&h->lock);
    const struct held_answer *a = place_of(h, key);
    if (a->body && !strcmp(a->key, key) &&
        a->version == api->service.version(api->service.self, a->of_work) && now() < a->until &&
        (body = malloc(a->bytes))) {
        bytes = a->bytes;
        memcpy(body, a->body, bytes);
    }
    pthread_mutex_unlock(&h->lock);
    if (body) {
        exchange_answer(x, 200, "application/json", body, bytes);
    }
    return body != NULL;
}
