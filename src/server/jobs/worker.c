/* The thread that owns the device: it takes one job after the other, and keeps every result before it tells
 * of it. */
#include "server/jobs/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CANCELLED_STATUS 499 /* somebody did not want it any more */

static int on_progress(void *payload, const ballast_progress *b) {
    struct work *w = payload;
    struct jobs *j = w->j;
    bool hires = w->options.hires_scale > 0, second = !strcmp(b->stage, "hires"), wanted = false,
         all_cancelled = true;
    double part = b->steps ? (double)b->step / b->steps : 0;
    pthread_mutex_lock(&j->lock);
    bool step = b->step != j->now.step || strcmp(b->stage, j->now.stage) != 0;
    w->stepped = (w->stepped && w->image == b->image) || b->step;
    w->image = b->image;
    running_advance(j, b, !hires ? part : second ? 0.5 + part / 2 : part / 2);
    for (int i = 0; i < j->running_count; i++) {
        const struct running *r = &j->running[i];
        wanted = wanted || (!r->ended && r->count && r->want == GO_ON);
        all_cancelled = all_cancelled && (r->ended || !r->count || r->want == CANCELLED);
    }
    task_serve(j, true);
    pthread_mutex_unlock(&j->lock);
    if (step) {
        tell(j, EVENT_STEP, "", NULL, NULL);
    }
    /* Who interrupts gets what there is, and before the first step there is nothing. */
    return atomic_load(&j->stopped) || w->problem.status || (!wanted && (all_cancelled || !w->stepped));
}

/* Is this picture enough as it is? */
static int on_enough(void *payload, int index) {
    struct work *w = payload;
    pthread_mutex_lock(&w->j->lock);
    const struct running *r = running_of(w->j, index);
    bool enough = !r || r->ended || r->want != GO_ON || index < r->skipped;
    pthread_mutex_unlock(&w->j->lock);
    return enough;
}

/* Of each job's pictures in the batch the first one stands for all. */
static int on_preview(void *payload, const ballast_image *image) {
    struct work *w = payload;
    struct jobs *j = w->j;
    pthread_mutex_lock(&j->lock);
    struct running *r = running_of(j, image->index);
    bool shown = r && !r->ended && (image->index == r->first || image->index == j->now.image);
    if (shown) {
        running_show(r, image);
    }
    pthread_mutex_unlock(&j->lock);
    if (shown) {
        tell(j, EVENT_PREVIEW, "", NULL, NULL);
    }
    return 0;
}

static int on_image(void *payload, const ballast_image *image) {
    struct work *w = payload;
    uint8_t *png = NULL;
    size_t bytes;
    ballast_error err = {0};
    ballast_png_options o;
    ballast_png_options_init(&o, sizeof o);
    o.rgb = image->rgb;
    o.width = image->width;
    o.height = image->height;
    o.parameters = image->parameters;
    int code = ballast_image_encode_png(&png, &bytes, &o, &err);
    if (code) {
        return problem_set(&w->problem, status_of(code), NULL, "%s", err.message);
    }
    char id[JOB_ID] = "";
    int first = 0;
    pthread_mutex_lock(&w->j->lock);
    const struct running *of = running_of(w->j, image->index);
    if (of && !of->ended) {
        memcpy(id, of->id, JOB_ID);
        first = of->first;
    }
    pthread_mutex_unlock(&w->j->lock);
    struct kept_picture picture = {.index = image->index - first,
                                   .seed = image->seed,
                                   .width = image->width,
                                   .height = image->height,
                                   .parameters = image->parameters,
                                   .png = png,
                                   .bytes = bytes};
    int status = id[0] ? w->j->keeper.add_picture(w->j->keeper.self, id, &picture, &w->problem) : 0;
    ballast_bytes_free(&png);
    if (!status && id[0]) {
        pthread_mutex_lock(&w->j->lock);
        struct running *r = running_of(w->j, image->index);
        r->kept++;
        pthread_mutex_unlock(&w->j->lock);
        tell(w->j, EVENT_PICTURE, id, NULL, json_pack("{s:i}", "index", picture.index));
    }
    return status;
}

static int kept_by_now(struct work *w) {
    int kept = 0;
    for (int i = 0; i < w->j->running_count; i++) {
        kept += w->j->running[i].kept;
    }
    return kept;
}

/* With what the queue says of the next jobs. If one of those cannot be planned, that is its own trouble. */
static int generate(struct work *w, char **report, ballast_error *err) {
    struct upcoming up;
    ballast_generate_options *o = &w->options;
    next_gather(w->j, &up);
    o->next = up.count ? up.expected : NULL;
    o->next_count = (size_t)up.count;
    int code = ballast_generate(report, w->model, o, err);
    if (code && code != BALLAST_E_CANCELLED && up.count && !kept_by_now(w) && !w->problem.status) {
        o->next = NULL;
        o->next_count = 0;
        code = ballast_generate(report, w->model, o, err);
    }
    next_free(&up);
    return code;
}

int worker_init_picture(ballast_generate_options *o, uint8_t **rgb, const void *file, size_t bytes,
                        struct problem *p) {
    ballast_error err = {0};
    int code =
        file ? ballast_image_decode(rgb, &o->init_width, &o->init_height, NULL, NULL, file, bytes, 0, &err)
             : 0;
    o->init_rgb = *rgb;
    return code ? problem_set(p, status_of(code), "init_images", "%s", err.message) : 0;
}

/* What the first job asks for, and its model. 0, or a status and *p. */
static int prepare(struct work *w, struct problem *p) {
    struct jobs *j = w->j;
    json_t *object = NULL;
    int status = j->keeper.request(j->keeper.self, j->running[0].id, &object, &w->request.init,
                                   &w->request.init_bytes, p);
    char *init = w->request.init;
    size_t bytes = w->request.init_bytes;
    status = status ? status : picture_request_read(&w->request, object, p);
    w->request.init = init;
    w->request.init_bytes = bytes;
    json_decref(object);
    if (!status && !w->request.model) {
        status = problem_set(p, 500, "model", "the job names no model");
    }
    status = status ? status : device_model(j, &w->model, w->request.model, w->request.vae, p);
    if (!status) {
        fill_options(&w->options, &w->request);
        w->options.progress = on_progress;
        w->options.image = on_image;
        w->options.preview = on_preview;
        w->options.enough = on_enough;
        w->options.payload = w;
        status = worker_init_picture(&w->options, &w->rgb, init, bytes, p);
    }
    return status;
}

/* 0, or a status and *p. */
static int compute(struct work *w, char **report, struct problem *p) {
    struct jobs *j = w->j;
    ballast_error err = {0};
    int status = 0;
    w->problem = (struct problem){0};
    pthread_mutex_lock(&j->lock);
    j->now_batch = w->options.batch;
    pthread_mutex_unlock(&j->lock);
    totals_before(j, w->model);
    int code = generate(w, report, &err);
    if (w->problem.status) {
        *p = w->problem;
        status = p->status;
    } else if (code) {
        status = problem_set(p, code == BALLAST_E_CANCELLED ? CANCELLED_STATUS : status_of_request(code),
                             NULL, "%s", err.message);
    }
    return status;
}

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
    if (r->kept && (r->want == INTERRUPTED || r->skipped)) {
        snprintf(line, sizeof line, "%s: a picture was finished before its last step",
                 r->want == INTERRUPTED ? "interrupted" : "skipped");
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

/* How a job ended, kept. One that was stopped with the server stays as it is: it is queued at the next
 * start. */
static void finish(struct work *w, struct running *r, int status, json_t *report, const struct problem *p) {
    struct jobs *j = w->j;
    struct kept_end end = {.ended = clock_now(), .state = "done"};
    struct problem trouble = {0};
    pthread_mutex_lock(&j->lock);
    bool ended = r->ended || (status && atomic_load(&j->stopped));
    enum want_end want = r->want;
    pthread_mutex_unlock(&j->lock);
    if (ended) {
        return;
    }
    if (status && want == CANCELLED) {
        end.state = end.error = "cancelled";
    } else if (status && want == INTERRUPTED) {
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
    for (int i = 0; i < 20 && j->keeper.end(j->keeper.self, r->id, &end, &trouble); i++) {
        j->options.log(trouble.text);
        nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
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
    char more[400];
    if (bytes > 0 && text) {
        double seconds = (json_number_value(json_object_get(ledger, "onload_seconds")) +
                          json_number_value(json_object_get(ledger, "load_seconds"))) *
                         bytes / moved;
        snprintf(more, sizeof more, "%.300s | again after idle %.1f MB %.2fs", text, bytes / 1e6, seconds);
        json_object_set_new(line, "text", json_string(more));
        json_object_set_new(report, "after_idle",
                            json_pack("{s:I, s:f}", "bytes", (json_int_t)bytes, "seconds", seconds));
        w->rested = 0;
    }
}

static json_t *read_report(struct work *w, char **report) {
    json_t *object = *report ? json_loads(*report, 0, NULL) : NULL;
    ballast_string_free(report);
    tell_rest(w, object);
    return object;
}

/* All of them with what came of it. */
static void finish_all(struct work *w, int status, char **report, const struct problem *p) {
    json_t *object = read_report(w, report);
    for (int i = 0; i < w->j->running_count; i++) {
        finish(w, &w->j->running[i], status, object, p);
    }
    json_decref(object);
}

/* One of those that could not be computed together: as if it had come alone. */
static void compute_alone(struct work *w, struct running *r) {
    struct jobs *j = w->j;
    struct problem p = {0};
    char *report = NULL;
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
        int status = compute(w, &report, &p);
        json_t *object = read_report(w, &report);
        finish(w, r, status, object, &p);
        json_decref(object);
    }
}

/* The job that stands first in `running`, and those that come to stand behind it. */
static void run(struct jobs *j) {
    struct work w = {.j = j};
    struct problem p = {0};
    char *report = NULL;
    picture_request_init(&w.request);
    j->warnings = json_array();
    int status = j->keeper.start(j->keeper.self, j->running[0].id, clock_now(), &p);
    tell(j, EVENT_STARTED, j->running[0].id, NULL, NULL);
    status = status ? status : prepare(&w, &p);
    if (!status) {
        w.rested = device_rested(j, w.model);
        together_gather(&w);
        status = compute(&w, &report, &p);
    }
    if (status && status != CANCELLED_STATUS && j->running_count > 1) {
        for (int i = 0; i < j->running_count && !atomic_load(&j->stopped); i++) {
            compute_alone(&w, &j->running[i]);
        }
    } else {
        finish_all(&w, status, &report, &p);
    }
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
