/* The thread that owns the device: it takes one job after the other, and keeps every result before it tells
 * of it. */
#include "server/jobs/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct work {
    struct jobs *j;
    char id[JOB_ID];
    struct picture_request request;
    struct problem problem; /* of a callback */
    int kept;               /* pictures */
    bool hires;
};

static int on_progress(void *payload, const ballast_progress *b) {
    struct work *w = payload;
    struct jobs *j = w->j;
    pthread_mutex_lock(&j->lock);
    struct progress *now = &j->now;
    bool step = b->step != now->step || strcmp(b->stage, now->stage) != 0;
    snprintf(now->stage, sizeof now->stage, "%s", b->stage);
    now->step = b->step;
    now->steps = b->steps;
    now->image = b->image;
    now->images = b->images;
    now->seconds = clock_now() - now->started;
    double part = b->steps ? (double)b->step / b->steps : 0;
    if (w->hires) {
        part = strcmp(b->stage, "hires") ? part / 2 : 0.5 + part / 2;
    }
    double fraction = b->images ? (b->image + part * w->request.batch) / b->images : 0;
    fraction = fraction > 0.99 ? 0.99 : fraction;
    if (fraction > now->fraction) {
        now->fraction = fraction;
    }
    task_serve(j, true);
    pthread_mutex_unlock(&j->lock);
    if (step) {
        tell(j, EVENT_STEP, w->id, NULL, NULL);
    }
    return atomic_load(&j->want_end) != GO_ON || w->problem.status;
}

static int on_preview(void *payload, const ballast_image *image) {
    struct work *w = payload;
    struct jobs *j = w->j;
    size_t bytes = (size_t)image->width * (size_t)image->height * 3;
    if (image->index != j->now.image) {
        return 0; /* the batch's first one stands for all */
    }
    pthread_mutex_lock(&j->lock);
    uint8_t *rgb = realloc(j->preview, bytes);
    if (rgb) {
        memcpy(rgb, image->rgb, bytes);
        j->preview = rgb;
        j->preview_width = image->width;
        j->preview_height = image->height;
        j->preview_version++;
    }
    pthread_mutex_unlock(&j->lock);
    tell(j, EVENT_PREVIEW, w->id, NULL, NULL);
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
    struct kept_picture picture = {.index = image->index,
                                   .seed = image->seed,
                                   .width = image->width,
                                   .height = image->height,
                                   .parameters = image->parameters,
                                   .png = png,
                                   .bytes = bytes};
    int status = w->j->keeper.add_picture(w->j->keeper.self, w->id, &picture, &w->problem);
    ballast_bytes_free(&png);
    if (!status) {
        w->kept++;
        tell(w->j, EVENT_PICTURE, w->id, NULL, json_pack("{s:i}", "index", image->index));
    }
    return status;
}

/* With what the queue says of the next jobs. If one of those cannot be planned, that is its own trouble. */
static int generate(struct work *w, char **report, ballast_model *model, ballast_generate_options *o,
                    ballast_error *err) {
    struct upcoming up;
    next_gather(w->j, &up);
    o->next = up.count ? up.expected : NULL;
    o->next_count = (size_t)up.count;
    int code = ballast_generate(report, model, o, err);
    if (code && code != BALLAST_E_CANCELLED && up.count && !w->kept && !w->problem.status) {
        o->next = NULL;
        o->next_count = 0;
        code = ballast_generate(report, model, o, err);
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

/* 0, or a status and *p. */
static int compute(struct work *w, char **report, struct problem *p) {
    struct jobs *j = w->j;
    json_t *object = NULL;
    ballast_model *model = NULL;
    ballast_generate_options o;
    ballast_error err = {0};
    uint8_t *rgb = NULL;
    char *init = NULL;
    size_t init_bytes = 0;
    int status = j->keeper.request(j->keeper.self, w->id, &object, &init, &init_bytes, p);
    status = status ? status : picture_request_read(&w->request, object, p);
    json_decref(object);
    if (!status && !w->request.model) {
        status = problem_set(p, 500, "model", "the job names no model");
    }
    status = status ? status : device_model(j, &model, w->request.model, w->request.vae, p);
    if (!status) {
        fill_options(&o, &w->request);
        o.progress = on_progress;
        o.image = on_image;
        o.preview = on_preview;
        o.payload = w;
        w->hires = o.hires_scale > 0;
    }
    status = status ? status : worker_init_picture(&o, &rgb, init, init_bytes, p);
    free(init);
    if (!status) {
        totals_before(j, model);
        int code = generate(w, report, model, &o, &err);
        if (w->problem.status) {
            *p = w->problem;
            status = p->status;
        } else if (code) {
            status = problem_set(p, code == BALLAST_E_CANCELLED ? 499 : status_of_request(code), NULL, "%s",
                                 err.message);
        }
    }
    ballast_bytes_free(&rgb);
    return status;
}

static void tell_hint(struct jobs *j, const char *id, const char *report) {
    json_t *object = report ? json_loads(report, 0, NULL) : NULL, *hint = json_object_get(object, "hint");
    if (json_is_object(hint)) {
        tell(j, EVENT_HINT, id, NULL, json_incref(hint));
    }
    json_decref(object);
}

/* How the job ended, kept. A job that was stopped with the server stays as it is: it is queued at the next
 * start. */
static void finish(struct work *w, int status, const char *report, const struct problem *p) {
    struct jobs *j = w->j;
    int want = atomic_load(&j->want_end);
    struct kept_end end = {.ended = clock_now(), .report = report};
    if (status && want == STOPPED) {
        return;
    }
    if (!status) {
        end.state = "done";
    } else if (want == INTERRUPTED || want == CANCELLED) {
        end.state = want == CANCELLED || !w->kept ? "cancelled" : "done";
        end.error = want == CANCELLED ? "cancelled" : "interrupted";
    } else {
        end.state = "failed";
        end.error = p->text;
        end.status = status;
    }
    totals_after(j, end.state, w->kept, report);
    char *warnings =
        j->warnings && json_array_size(j->warnings) ? json_dumps(j->warnings, JSON_COMPACT) : NULL;
    struct problem trouble = {0};
    end.warnings = warnings;
    /* Where the disk is full the end cannot be kept either: it is tried again while there is hope. */
    for (int i = 0; i < 20 && j->keeper.end(j->keeper.self, w->id, &end, &trouble); i++) {
        j->options.log(trouble.text);
        nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
    }
    free(warnings);
    pthread_mutex_lock(&j->lock);
    j->now = (struct progress){0}; /* who hears of the end, and asks, finds nothing in work */
    pthread_mutex_unlock(&j->lock);
    tell(j, EVENT_ENDED, w->id, end.state, NULL);
    tell_hint(j, w->id, report);
    if (j->options.retain_bytes) {
        j->keeper.retain(j->keeper.self, j->options.retain_bytes, &trouble);
        jobs_changed(j, true);
    }
}

static void run(struct jobs *j, const char *id) {
    struct work w = {.j = j};
    struct problem p = {0};
    char *report = NULL;
    json_t *view = NULL;
    snprintf(w.id, sizeof w.id, "%s", id);
    picture_request_init(&w.request);
    if (!j->keeper.job(j->keeper.self, id, &view, &p)) {
        json_t *before = json_object_get(view, "warnings");
        j->warnings = json_is_array(before) ? json_copy(before) : json_array();
        if (j->note[0]) {
            json_array_append_new(j->warnings, json_string(j->note));
        }
    }
    json_decref(view);
    int status = j->keeper.start(j->keeper.self, id, clock_now(), &p);
    tell(j, EVENT_STARTED, id, NULL, NULL);
    status = status ? status : compute(&w, &report, &p);
    finish(&w, status, report, &p);
    ballast_string_free(&report);
    json_decref(j->warnings);
    j->warnings = NULL;
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
static void take(struct jobs *j, char id[JOB_ID]) {
    int at = choose(j);
    memcpy(id, j->queue[at].id, JOB_ID);
    j->last_model = j->queue[at].model;
    memmove(j->queue + at, j->queue + at + 1, (size_t)(--j->queue_count - at) * sizeof *j->queue);
    j->now = (struct progress){.started = clock_now(), .images = 1};
    memcpy(j->now.job, id, JOB_ID);
    atomic_store(&j->want_end, GO_ON);
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
        device_unload(j);
        j->options.log("nothing to do: the weights' memory was given back");
        pthread_mutex_lock(&j->lock);
        j->released = true;
    }
}

void *worker_main(void *jobs) {
    struct jobs *j = jobs;
    char id[JOB_ID];
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
            take(j, id);
            bool placed = j->placed;
            j->placed = true;
            pthread_mutex_unlock(&j->lock);
            if (!placed) {
                placement_apply(j, j->context, NULL); /* it was checked when it was asked for */
            }
            run(j, id);
            pthread_mutex_lock(&j->lock);
            j->released = false;
            j->now = (struct progress){0};
            free(j->preview);
            j->preview = NULL;
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
