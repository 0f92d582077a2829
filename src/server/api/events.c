/* Server-sent events: everybody who listens gets all that happens, and who was away for a moment what was
 * missed. */
#include "server/api/handlers.h"
#include "server/api/internal.h"

#include "server/base/base64.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define JOBS_TOLD 8    /* jobs in work whose steps are told one by one */
#define REMEMBERED 256 /* events for those who come back */
#define MOST_LISTENERS 256
#define COMMENT_SECONDS 15
#define STEP_SECONDS 0.1 /* between two steps, or previews, that are told */
#define PREVIEW_SECONDS 0.25
#define SLOW ((size_t)1 << 20) /* bytes that wait: steps and previews are left out */
#define TOO_SLOW ((size_t)4 << 20)

struct listener {
    struct listener *next;
    struct exchange *x;
    atomic_bool gone;
};

struct kept {
    uint64_t id;
    char *text; /* as it is sent; NULL: none */
};

/* When steps and previews of a job were told last. */
struct told {
    char job[JOB_ID];
    double step, preview;
};

struct events {
    pthread_mutex_t lock;
    struct listener *listeners;
    int count;
    uint64_t next_id;
    struct kept kept[REMEMBERED]; /* number id % REMEMBERED */
    struct told told[JOBS_TOLD];
    double last_comment;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int events_open(struct api *api) {
    struct events *e = calloc(1, sizeof *e);
    if (!e) {
        return 503;
    }
    pthread_mutex_init(&e->lock, NULL);
    /* Ids go on growing over a restart. */
    e->next_id = (uint64_t)time(NULL) << 16;
    api->events = e;
    return 0;
}

/* One event to all; takes `data`. Kept for those who come back, unless it is `fleeting`. */
static void send(struct events *e, const char *name, bool fleeting, json_t *data) {
    char *json = data ? json_dumps(data, JSON_COMPACT) : NULL, *text = NULL;
    json_decref(data);
    pthread_mutex_lock(&e->lock);
    uint64_t id = e->next_id;
    int n = !json ? -1
            : fleeting
                ? asprintf(&text, "event: %s\ndata: %s\n\n", name, json)
                : asprintf(&text, "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)id, name, json);
    if (n > 0) {
        for (struct listener *l = e->listeners; l; l = l->next) {
            size_t waits = exchange_backlog(l->x);
            if (waits > TOO_SLOW) {
                l->gone = true;
            }
            if (!l->gone && !(fleeting && waits > SLOW)) {
                exchange_write(l->x, text, (size_t)n);
            }
        }
        if (!fleeting) {
            struct kept *k = &e->kept[id % REMEMBERED];
            free(k->text);
            *k = (struct kept){id, text};
            text = NULL;
            e->next_id++;
        }
    }
    pthread_mutex_unlock(&e->lock);
    if (n >= 0) {
        free(text);
    }
    free(json);
}

static json_t *queue_json(const struct progress *now_at) {
    return json_pack("{s:i, s:o}", "queued", now_at->queued, "running",
                     now_at->job[0] ? json_string(now_at->job) : json_null());
}

static json_t *step_json(const struct progress *p) {
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:f}", "job", p->job, "stage", p->stage, "step",
                     p->step, "steps", p->steps, "image", p->image, "images", p->images, "progress",
                     p->fraction, "seconds", p->seconds);
}

static void tell_preview(struct api *api, const struct event *event) {
    char *png = NULL, *text = NULL;
    size_t bytes;
    api->service.preview(api->service.self, event->job, &png, &bytes);
    text = png ? base64_encode(png, bytes) : NULL;
    if (text) {
        send(api->events, "preview", true,
             json_pack("{s:s, s:o}", "job", event->job, "image", json_string_nocheck(text)));
    }
    free(png);
    free(text);
}

static void tell_end(struct api *api, const struct event *event) {
    json_t *job = NULL;
    if (api->service.job(api->service.self, event->job, &job, NULL)) {
        return;
    }
    send(api->events, "done", false,
         json_pack("{s:s, s:O, s:O, s:O}", "job", event->job, "state", json_object_get(job, "state"), "error",
                   json_object_get(job, "error"), "images", json_object_get(job, "images")));
    json_decref(job);
}

/* The listener's thread alone. A job that is not there takes the place of the one told of longest ago. */
static struct told *told_of(struct events *e, const char *job) {
    struct told *oldest = &e->told[0];
    for (int i = 0; i < JOBS_TOLD; i++) {
        if (!strcmp(e->told[i].job, job)) {
            return &e->told[i];
        }
        oldest = e->told[i].step < oldest->step ? &e->told[i] : oldest;
    }
    *oldest = (struct told){.step = 0};
    snprintf(oldest->job, sizeof oldest->job, "%s", job);
    return oldest;
}

void events_tell(struct api *api, const struct event *event) {
    struct events *e = api->events;
    struct told *told;
    double t = now();
    pthread_mutex_lock(&e->lock);
    bool anybody = e->listeners != NULL;
    pthread_mutex_unlock(&e->lock);
    switch (event->kind) {
    case EVENT_QUEUED:
    case EVENT_STARTED:
        send(e, "queue", false, queue_json(&event->progress));
        break;
    case EVENT_STEP:
        if (anybody && t - (told = told_of(e, event->job))->step >= STEP_SECONDS) {
            told->step = t;
            send(e, "step", true, step_json(&event->progress));
        }
        break;
    case EVENT_PREVIEW:
        if (anybody && t - (told = told_of(e, event->job))->preview >= PREVIEW_SECONDS) {
            told->preview = t;
            tell_preview(api, event);
        }
        break;
    case EVENT_ENDED:
        tell_end(api, event);
        send(e, "queue", false, queue_json(&event->progress));
        break;
    case EVENT_HINT:
        send(e, "hint", false, json_pack("{s:s, s:O}", "job", event->job, "hint", event->data));
        break;
    case EVENT_PICTURE:
        break;
    }
}

static void on_gone(void *payload) {
    struct listener *l = payload;
    l->gone = true;
}

/* Those who left, or read too slowly, are let go. Locked. */
static void let_go(struct events *e) {
    for (struct listener **at = &e->listeners; *at;) {
        struct listener *l = *at;
        if (!l->gone) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        e->count--;
        exchange_end(l->x);
        free(l);
    }
}

void events_tick(struct api *api) {
    struct events *e = api->events;
    double t = now();
    pthread_mutex_lock(&e->lock);
    let_go(e);
    if (t - e->last_comment >= COMMENT_SECONDS) {
        e->last_comment = t;
        for (struct listener *l = e->listeners; l; l = l->next) {
            exchange_write(l->x, ": here\n\n", 8);
        }
    }
    pthread_mutex_unlock(&e->lock);
}

void events_close(struct api *api) {
    struct events *e = api->events;
    if (e) {
        pthread_mutex_lock(&e->lock);
        for (struct listener *l = e->listeners; l; l = l->next) {
            l->gone = true;
        }
        let_go(e);
        pthread_mutex_unlock(&e->lock);
        for (int i = 0; i < REMEMBERED; i++) {
            free(e->kept[i].text);
        }
        pthread_mutex_destroy(&e->lock);
        free(e);
    }
    api->events = NULL;
}

/* What came after the event `last`, as far as it is remembered. Locked. */
static void catch_up(struct events *e, struct exchange *x, uint64_t last) {
    uint64_t first = e->next_id > REMEMBERED ? e->next_id - REMEMBERED : 0;
    for (uint64_t id = last + 1 > first ? last + 1 : first; id < e->next_id; id++) {
        const struct kept *k = &e->kept[id % REMEMBERED];
        if (k->text && k->id == id) {
            exchange_write(x, k->text, strlen(k->text));
        }
    }
}

void own_events(struct call *c) {
    struct events *e = c->api->events;
    struct progress now_at;
    const char *header = exchange_header(c->x, "Last-Event-ID"),
               *query = exchange_query(c->x, "last_event_id");
    const char *last = header ? header : query;
    uint64_t last_id = last ? strtoull(last, NULL, 10) : 0;
    struct listener *l = calloc(1, sizeof *l);
    pthread_mutex_lock(&e->lock);
    if (!l || e->count >= MOST_LISTENERS) {
        pthread_mutex_unlock(&e->lock);
        free(l);
        reply_problem(c->x,
                      &(struct problem){.status = 503, .text = "too many listen already", .retry_after = 10});
        return;
    }
    l->x = c->x;
    exchange_stream(c->x, 200, "text/event-stream");
    exchange_watch(c->x, on_gone, l);
    c->api->service.progress(c->api->service.self, &now_at);
    json_t *queue = queue_json(&now_at);
    char *json = json_dumps(queue, JSON_COMPACT), *hello = NULL;
    json_decref(queue);
    int n = json ? asprintf(&hello, "retry: 2000\nid: %llu\nevent: queue\ndata: %s\n\n",
                            (unsigned long long)(e->next_id - 1), json)
                 : -1;
    if (last) {
        catch_up(e, c->x, last_id);
    }
    if (n > 0) {
        exchange_write(c->x, hello, (size_t)n);
        free(hello);
    }
    free(json);
    l->next = e->listeners;
    e->listeners = l;
    e->count++;
    pthread_mutex_unlock(&e->lock);
}
