/* Callers who wait for the end of a job, and the beat that keeps their connections alive. */
#include "server/api/internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct waiter {
    struct waiter *next;
    struct api *api;
    struct exchange *x;
    char job[JOB_ID];
    waiter_done *done;
    waiter_step *step; /* NULL: only the end counts */
    void *payload;
    double since;
    bool streaming, left;
    int blanks; /* seconds between blanks; 0: none */
    double last;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Unlinks one; false: it was not there, somebody else has it. Locked. */
static bool take_out(struct api *api, const struct waiter *w) {
    for (struct waiter **at = &api->waiters; *at; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            return true;
        }
    }
    return false;
}

static void answer(struct waiter *w) {
    struct problem p = {0};
    json_t *job = NULL;
    pthread_mutex_lock(&w->api->step_lock); /* a step that is being told comes first */
    pthread_mutex_unlock(&w->api->step_lock);
    int status = w->api->service.job(w->api->service.self, w->job, &job, &p);
    if (!status) {
        w->done(w->api, w->x, w->streaming, job, w->payload);
    } else if (w->streaming) {
        char *text = api_describe(w->x->path, &p);
        exchange_write(w->x, text ? text : "{}", text ? strlen(text) : 2);
        free(text);
        exchange_end(w->x);
    } else {
        reply_problem(w->x, &p);
    }
    json_decref(job);
    free(w->payload);
    free(w);
}

/* The caller has left. The job goes on if it is in work; its exchange still wants its end, which comes with
 * the job's.
 */
static void on_gone(void *payload) {
    struct waiter *w = payload;
    bool others = false;
    pthread_mutex_lock(&w->api->lock);
    w->left = true;
    for (struct waiter *o = w->api->waiters; o; o = o->next) {
        others |= o != w && !o->left && !strcmp(o->job, w->job);
    }
    pthread_mutex_unlock(&w->api->lock);
    if (!others) {
        w->api->service.abandon(w->api->service.self, w->job);
    }
}

static bool has_ended(struct api *api, const char *job) {
    json_t *view = NULL;
    bool ended = true;
    if (!api->service.job(api->service.self, job, &view, NULL)) {
        const char *state = json_string_value(json_object_get(view, "state"));
        ended = state && strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
    }
    json_decref(view);
    return ended;
}

static void wait_both(struct call *call, const char *job, waiter_step *step, waiter_done *done,
                      void *payload) {
    struct api *api = call->api;
    struct waiter *w = calloc(1, sizeof *w);
    if (!w) {
        free(payload);
        if (step) {
            exchange_end(call->x);
        } else {
            reply_problem(call->x, &(struct problem){.status = 503, .text = "out of memory"});
        }
        return;
    }
    *w = (struct waiter){
        .api = api, .x = call->x, .done = done, .step = step, .payload = payload, .since = now()};
    w->streaming = step != NULL;
    w->last = w->since;
    w->blanks = step ? 15 : api->options.keepalive_seconds;
    if (!w->blanks && exchange_header(call->x, "CF-Connecting-IP")) {
        w->blanks = 20; /* behind a proxy that gives up after 100 s */
    }
    memcpy(w->job, job, JOB_ID);
    /* Before it stands on the list: whoever takes it from there ends it, and the exchange. */
    exchange_watch(call->x, on_gone, w);
    pthread_mutex_lock(&api->lock);
    w->next = api->waiters;
    api->waiters = w;
    pthread_mutex_unlock(&api->lock);
    /* The job may have ended before that. */
    if (has_ended(api, job)) {
        pthread_mutex_lock(&api->lock);
        bool ours = take_out(api, w);
        pthread_mutex_unlock(&api->lock);
        if (ours) {
            answer(w);
        }
    }
}

void wait_for(struct call *call, const char *job, waiter_done *done, void *payload) {
    wait_both(call, job, NULL, done, payload);
}

void wait_streaming(struct call *call, const char *job, waiter_step *step, waiter_done *done, void *payload) {
    wait_both(call, job, step, done, payload);
}

/* Who has been taken off the list meanwhile is ended when this is through. */
static void tell_steps(struct api *api, const struct event *event) {
    struct waiter *found[16];
    int count = 0;
    pthread_mutex_lock(&api->step_lock);
    pthread_mutex_lock(&api->lock);
    for (struct waiter *w = api->waiters; w && count < 16; w = w->next) {
        if (w->step && !w->left && !strcmp(w->job, event->job)) {
            found[count++] = w;
        }
    }
    pthread_mutex_unlock(&api->lock);
    for (int i = 0; i < count; i++) {
        found[i]->step(api, found[i]->x, &event->progress, found[i]->payload);
    }
    pthread_mutex_unlock(&api->step_lock);
}

void waits_event(struct api *api, const struct event *event) {
    if (event->kind == EVENT_PREVIEW) {
        tell_steps(api, event);
    }
    if (event->kind != EVENT_ENDED) {
        return;
    }
    for (;;) {
        pthread_mutex_lock(&api->lock);
        struct waiter *w = api->waiters;
        while (w && strcmp(w->job, event->job) != 0) {
            w = w->next;
        }
        if (w) {
            take_out(api, w);
        }
        pthread_mutex_unlock(&api->lock);
        if (!w) {
            return;
        }
        answer(w);
    }
}

static void *tick_main(void *payload) {
    struct api *api = payload;
    pthread_mutex_lock(&api->lock);
    while (!api->stopped) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&api->tick, &api->lock, &until);
        double t = now();
        for (struct waiter *w = api->waiters; w; w = w->next) {
            if (w->blanks && t - w->last >= w->blanks) {
                if (!w->streaming) {
                    exchange_stream(w->x, 200, "application/json");
                    w->streaming = true;
                }
                exchange_write(w->x, w->step ? ": working\n\n" : " ", w->step ? 11 : 1);
                w->last = t;
            }
        }
        pthread_mutex_unlock(&api->lock);
        events_tick(api);
        pthread_mutex_lock(&api->lock);
    }
    pthread_mutex_unlock(&api->lock);
    return NULL;
}

int waits_start(struct api *api) {
    api->ticks = !pthread_create(&api->ticker, NULL, tick_main, api);
    return api->ticks ? 0 : 500;
}

void waits_stop(struct api *api) {
    pthread_mutex_lock(&api->lock);
    api->stopped = true;
    pthread_cond_broadcast(&api->tick);
    pthread_mutex_unlock(&api->lock);
    if (api->ticks) {
        pthread_join(api->ticker, NULL);
        api->ticks = false;
    }
    for (;;) {
        pthread_mutex_lock(&api->lock);
        struct waiter *w = api->waiters;
        api->waiters = w ? w->next : NULL;
        pthread_mutex_unlock(&api->lock);
        if (!w) {
            return;
        }
        struct problem p = {
            .status = 503, .text = "the server is going down; the job is kept and goes on at its next start"};
        if (w->streaming) {
            char *text = api_describe(w->x->path, &p);
            exchange_write(w->x, text ? text : "{}", text ? strlen(text) : 2);
            free(text);
            exchange_end(w->x);
        } else {
            reply_problem(w->x, &p);
        }
        free(w->payload);
        free(w);
    }
}
