/* The thread that owns the device: it takes one job after the other, and keeps every result before it tells
 * of it. */
#include "server/jobs/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void tell_hint(struct jobs *j, const char *id, const json_t *report) {
    json_t *hint = json_object_get(report, "hint");
    if (json_is_object(hint)) {
        tell(j, EVENT_HINT, id, NULL, json_incref(hint));
    }
}

/* What the job was told when it was queued, what the library warned of, and what became of it here. */
static char *all_warnings(struct jobs *j, const struct running *r) {
    json_t *view = NULL, *list = json_array();
    char line[96];
    if (!j->keeper.job(j->keeper.self, r->id, &view, NULL)) {
        json_array_extend(list, json_object_get(view, "warnings"));
    }
    if (r == &j->running[0] && j->note[0]) {
        json_array_append_new(list, json_string(j->note));
    }
    json_array_extend(list, j->warnings);
    pthread_mutex_lock(&j->lock);
    bool interrupted = r->want == INTERRUPTED, skipped = r->skipped > 0;
    pthread_mutex_unlock(&j->lock);
    if (r->kept && (interrupted || skipped)) {
        snprintf(line, sizeof line, "%s: a picture was finished before its last step",
                 interrupted ? "interrupted" : "skipped");
        json_array_append_new(list, json_string(line));
    }
    char *text = json_array_size(list) ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(view);
    json_decref(list);
    return text;
}

/* The report as the job's own: its seed and pictures, and with whom it was computed. */
static char *own_report(struct jobs *j, const struct running *r, json_t *report) {
    if (!report) {
        return NULL;
    }
    json_object_set_new(report, "seed", seed_json(r->seed));
    json_object_set_new(report, "images", json_integer(r->kept));
    json_object_set_new(report, "batched_with", running_others(j, r));
    return json_dumps(report, JSON_COMPACT);
}

/* An end that could not be kept is kept before the next job, or, after a restart, that job is made anew. */
static void owe(struct jobs *j, const char *id, const struct kept_end *end) {
    struct owed_end *grown = realloc(j->owed, (size_t)(j->owed_count + 1) * sizeof *grown);
    if (grown) {
        j->owed = grown;
        grown[j->owed_count] = (struct owed_end){.end = *end};
        grown[j->owed_count].end.report = grown[j->owed_count].end.warnings = NULL;
        grown[j->owed_count].end.error = end->error ? strdup(end->error) : NULL;
        memcpy(grown[j->owed_count++].id, id, JOB_ID);
    }
}

static void keep_owed(struct jobs *j) {
    while (j->owed_count) {
        struct owed_end *last = &j->owed[j->owed_count - 1];
        if (j->keeper.end(j->keeper.self, last->id, &last->end, NULL)) {
            return;
        }
        free((void *)last->end.error);
        j->owed_count--;
        jobs_changed(j, true);
    }
}

/* How a job ended, kept. One that was stopped with the server stays as it is: it is queued at the next
 * start. */
static void finish(struct work *w, struct running *r, int status, json_t *report, const struct problem *p) {
    struct jobs *j = w->j;
    struct kept_end end = {.ended = clock_now(), .state = "done"};
    struct problem trouble = {0};
    pthread_mutex_lock(&j->lock);
    bool ended = r->ended || (status && atomic_load(&j->stopped));
    enum want_end want = r->want;
    r->ending = true;
    pthread_mutex_unlock(&j->lock);
    if (ended) {
        return;
    }
    bool nothing = status || !r->kept; /* who stops it before it begins has no picture */
    if (nothing && want == CANCELLED) {
        end.state = end.error = "cancelled";
    } else if (nothing && want == INTERRUPTED) {
        end.state = r->kept ? "done" : "cancelled";
        end.error = "interrupted";
    } else if (status) {
        end.state = "failed";
        end.error = p->text;
        end.status = status;
    }
    char *text = own_report(j, r, report), *warnings = all_warnings(j, r);
    end.report = text;
    end.warnings = warnings;
    totals_after(j, end.state, r->kept, r == &j->running[0] ? report : NULL);
    /* Where the disk is full the end cannot be kept either: it is tried again while there is hope. */
    int unkept = 1;
    for (int i = 0; i < 20 && (unkept = j->keeper.end(j->keeper.self, r->id, &end, &trouble)); i++) {
        j->options.log(trouble.text);
        nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
    }
    if (unkept) {
        owe(j, r->id, &end);
    }
    pthread_mutex_lock(&j->lock);
    r->ended = true; /* who hears of the end, and asks, finds it in work no more */
    pthread_mutex_unlock(&j->lock);
    tell(j, EVENT_ENDED, r->id, end.state, NULL);
    tell_hint(j, r->id, report);
    free(text);
    free(warnings);
    if (j->options.retain_bytes) {
        j->keeper.retain(j->keeper.self, j->options.retain_bytes, &trouble);
        jobs_changed(j, true);
    }
}

/* What it cost that the memory was given back: in the line of the first batch, and as numbers. */
static void tell_rest(struct work *w, json_t *report) {
    json_t *batch = json_array_get(json_object_get(report, "batches"), 0);
    json_t *line = json_object_get(batch, "line"), *ledger = json_object_get(batch, "ledger");
    double moved = json_number_value(json_object_get(ledger, "moved_bytes"));
    double bytes = w->rested < moved ? w->rested : moved;
    const char *text = json_string_value(json_object_get(line, "text"));
    char more[700];
    if (bytes > 0 && text) {
        double seconds = (json_number_value(json_object_get(ledger, "onload_seconds")) +
                          json_number_value(json_object_get(ledger, "load_seconds"))) *
                         bytes / moved;
        snprintf(more, sizeof more, "%.600s | again after idle %.1f MB %.2fs", text, bytes / 1e6, seconds);
        json_object_set_new(line, "text", json_string(more));
        json_object_set_new(report, "after_idle",
                            json_pack("{s:I, s:f}", "bytes", (json_int_t)bytes, "seconds", seconds));
        w->rested = 0;
    }
}

/* All of them with what came of it. */
static void finish_all(struct work *w, int status, json_t *report, const struct problem *p) {
    tell_rest(w, report);
    for (int i = 0; i < w->j->running_count; i++) {
        finish(w, &w->j->running[i], status, report, p);
    }
}

/* One of those that could not be computed together: as if it had come alone. */
static void compute_alone(struct work *w, struct running *r) {
    struct jobs *j = w->j;
    struct problem p = {0};
    json_t *report = NULL;
    pthread_mutex_lock(&j->lock);
    for (int i = 0; i < j->running_count; i++) {
        j->running[i].count = j->running[i].first = 0;
    }
    j->apart = true;
    bool ended = r->ended;
    r->count = w->request.batch * w->request.count;
    r->kept = 0;
    pthread_mutex_unlock(&j->lock);
    if (!ended) {
        w->options.batch = w->request.batch;
        w->options.count = w->request.count;
        w->options.seed = r->seed;
        w->options.seeds = NULL;
        w->options.seed_count = 0;
        int status = make_compute(w, &report, &p);
        tell_rest(w, report);
        finish(w, r, status, report, &p);
        json_decref(report);
    }
}

/* The job that stands first in `running`, and those that come to stand behind it. */
static void run(struct jobs *j) {
    struct work w = {.j = j};
    struct problem p = {0};
    json_t *report = NULL;
    picture_request_init(&w.request);
    j->warnings = json_array();
    int status = j->keeper.start(j->keeper.self, j->running[0].id, clock_now(), &p);
    tell(j, EVENT_STARTED, j->running[0].id, NULL, NULL);
    status = status ? status : make_prepare(&w, &p);
    if (!status) {
        w.rested = device_rested(j, w.model);
        together_gather(&w);
        status = make_compute(&w, &report, &p);
    }
    if (status && status != CANCELLED_STATUS && j->running_count > 1) {
        for (int i = 0; i < j->running_count && !atomic_load(&j->stopped); i++) {
            compute_alone(&w, &j->running[i]);
        }
    } else {
        finish_all(&w, status, report, &p);
    }
    json_decref(report);
    json_decref(j->warnings);
    j->warnings = NULL;
    ballast_bytes_free(&w.rgb);
    picture_request_free(&w.request);
    j->jobs_done++;
}

/* Which of those that wait comes next: the first, or one of the next few that needs what is loaded, as long
 * as nobody is passed over too often or waits too long. Locked. */
static int choose(struct jobs *j) {
    struct waiting *first = &j->queue[0];
    j->note[0] = 0;
    if (!j->options.fair || !j->last_model || first->model == j->last_model || first->passed >= MOST_PASSED ||
        clock_now() - first->created > MOST_PATIENCE) {
        return 0;
    }
    for (int i = 1; i < j->queue_count && i <= MOST_PASSED; i++) {
        if (j->queue[i].priority != first->priority || j->queue[i].passed >= MOST_PASSED) {
            return 0;
        }
        if (j->queue[i].model == j->last_model) {
            for (int k = 0; k < i; k++) {
                j->queue[k].passed++;
            }
            snprintf(j->note, sizeof j->note, "order: taken %d before its turn, because its model was loaded",
                     i);
            return i;
        }
    }
    return 0;
}

/* Takes the next job. Locked. */
static void take(struct jobs *j) {
    int at = choose(j);
    j->taken = j->queue[at];
    j->taken_at = at;
    j->last_model = j->queue[at].model;
    memmove(j->queue + at, j->queue + at + 1, (size_t)(--j->queue_count - at) * sizeof *j->queue);
    j->now = (struct progress){.started = clock_now(), .images = 1};
    j->now_batch = 1;
    running_begin(&j->running[0], j->taken.id);
    j->running_count = 1;
}

/* Waits for work; after a while without any, gives the device's memory back. Locked. */
static void wait_for_work(struct jobs *j) {
    struct timespec until;
    if (!j->options.idle_seconds || !j->open_count || j->released) {
        pthread_cond_wait(&j->wake, &j->lock);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += j->options.idle_seconds;
    if (pthread_cond_timedwait(&j->wake, &j->lock, &until) == ETIMEDOUT && !j->queue_count && !j->stopping) {
        pthread_mutex_unlock(&j->lock);
        device_rest(j);
        j->options.log("nothing to do: the weights' memory was given back");
        pthread_mutex_lock(&j->lock);
        j->released = true;
    }
}

void *worker_main(void *jobs) {
    struct jobs *j = jobs;
    pthread_mutex_lock(&j->lock);
    while (!j->stopping) {
        if (j->unload) {
            pthread_mutex_unlock(&j->lock);
            int result = device_unload(j);
            totals_look(j);
            pthread_mutex_lock(&j->lock);
            j->unload = false;
            j->unload_result = result;
            pthread_cond_broadcast(&j->idle);
        } else if (j->task && j->task->state == TASK_WAITS) {
            task_serve(j, false);
        } else if (j->queue_count) {
            take(j);
            bool placed = j->placed;
            j->placed = true;
            pthread_mutex_unlock(&j->lock);
            if (!placed) {
                placement_apply(j, j->context, NULL); /* it was checked when it was asked for */
            }
            keep_owed(j);
            run(j);
            pthread_mutex_lock(&j->lock);
            j->released = false;
            running_clear(j);
            pthread_cond_broadcast(&j->idle);
        } else {
            wait_for_work(j);
        }
    }
    j->started = false;
    pthread_cond_broadcast(&j->idle);
    pthread_mutex_unlock(&j->lock);
    return NULL;
}
