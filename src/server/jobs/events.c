/* Events reach the listener in a thread of their own, so that the worker never waits for who listens. Steps
 * and previews that come faster than they are told are told once. */
#include "server/jobs/internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

double clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void jobs_changed(struct jobs *j, bool kept) {
    atomic_fetch_add(&j->versions[1], 1);
    if (kept) {
        atomic_fetch_add(&j->versions[0], 1);
    }
}

void tell(struct jobs *j, enum event_kind kind, const char *job, const char *state, json_t *data) {
    struct message *m = NULL;
    jobs_changed(j, kind != EVENT_STEP && kind != EVENT_PREVIEW);
    if (kind != EVENT_STEP && kind != EVENT_PREVIEW && (m = calloc(1, sizeof *m))) {
        m->kind = kind;
        m->data = data;
        strncpy(m->job, job, sizeof m->job - 1);
        strncpy(m->state, state ? state : "", sizeof m->state - 1);
    } else {
        json_decref(data);
    }
    pthread_mutex_lock(&j->tell_lock);
    if (m) {
        *j->last = m;
        j->last = &m->next;
    }
    j->step_pending |= kind == EVENT_STEP;
    j->preview_pending |= kind == EVENT_PREVIEW;
    pthread_cond_signal(&j->tell_wake);
    pthread_mutex_unlock(&j->tell_lock);
}

static void deliver(struct jobs *j, struct event *e) {
    pthread_mutex_lock(&j->lock);
    const struct running *r = running_find(j, e->job);
    running_progress(j, r ? r : running_first(j), &e->progress);
    pthread_mutex_unlock(&j->lock);
    if (j->on_event) {
        j->on_event(j->payload, e);
    }
}

/* A step, or a preview, of each job in work. */
static void deliver_all(struct jobs *j, enum event_kind kind) {
    char ids[MOST_TOGETHER][JOB_ID];
    int count = 0;
    pthread_mutex_lock(&j->lock);
    for (int i = 0; i < j->running_count; i++) {
        if (!j->running[i].ended && j->running[i].count) {
            memcpy(ids[count++], j->running[i].id, JOB_ID);
        }
    }
    pthread_mutex_unlock(&j->lock);
    for (int i = 0; i < count; i++) {
        deliver(j, &(struct event){.kind = kind, .job = ids[i]});
    }
}

static void *tell_main(void *jobs) {
    struct jobs *j = jobs;
    for (;;) {
        pthread_mutex_lock(&j->tell_lock);
        while (!j->first && !j->step_pending && !j->preview_pending && !j->tell_stop) {
            pthread_cond_wait(&j->tell_wake, &j->tell_lock);
        }
        struct message *m = j->first;
        bool step = !m && j->step_pending, preview = !m && j->preview_pending;
        bool stop = !m && j->tell_stop;
        if (m) {
            j->first = m->next;
            j->last = j->first ? j->last : &j->first;
        } else {
            j->step_pending = j->preview_pending = false;
        }
        pthread_mutex_unlock(&j->tell_lock);
        if (stop) {
            return NULL;
        }
        if (m) {
            struct event e = {.kind = m->kind, .job = m->job, .state = m->state, .data = m->data};
            deliver(j, &e);
            json_decref(m->data);
            free(m);
        }
        if (step) {
            deliver_all(j, EVENT_STEP);
        }
        if (preview) {
            deliver_all(j, EVENT_PREVIEW);
        }
    }
}

int tell_start(struct jobs *j) {
    j->teller_runs = !pthread_create(&j->teller, NULL, tell_main, j);
    return j->teller_runs ? 0 : 500;
}

void tell_stop(struct jobs *j) {
    if (j->teller_runs) {
        pthread_mutex_lock(&j->tell_lock);
        j->tell_stop = true;
        pthread_cond_signal(&j->tell_wake);
        pthread_mutex_unlock(&j->tell_lock);
        pthread_join(j->teller, NULL);
        j->teller_runs = false;
    }
}
