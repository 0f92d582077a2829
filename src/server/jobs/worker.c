/* The thread that owns the device: it takes one job after the other, and keeps every result before it tells
 * of it. */
#include "server/jobs/internal.h"

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

static void fill_options(ballast_generate_options *o, const struct work *w) {
    const struct picture_request *r = &w->request;
    ballast_generate_options_init(o, sizeof *o);
    o->prompt = r->prompt ? r->prompt : "";
    o->negative_prompt = r->negative_prompt ? r->negative_prompt : "";
    o->width = r->width;
    o->height = r->height;
    o->steps = r->steps;
    o->sampler = r->sampler ? r->sampler : o->sampler;
    o->schedule = r->schedule;
    o->cfg = r->cfg;
    o->cfg_rescale = r->cfg_rescale;
    o->eta = r->eta;
    o->seed = r->seed;
    o->batch = r->batch;
    o->count = r->count;
    o->clip_skip = r->clip_skip;
    o->rng = r->rng ? r->rng : o->rng;
    o->variation_seed = r->variation_seed;
    o->variation_strength = r->variation_strength;
    o->strength = r->strength;
    o->hires_scale = r->hires_scale;
    o->hires_steps = r->hires_steps;
    o->hires_strength = r->hires_strength;
    o->hires_upscaler = r->hires_upscaler ? r->hires_upscaler : o->hires_upscaler;
    o->tiled_decode = r->tiled_decode ? r->tiled_decode : o->tiled_decode;
    o->progress = on_progress;
    o->image = on_image;
    o->preview = on_preview;
    o->payload = (void *)w;
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
        fill_options(&o, w);
        w->hires = o.hires_scale > 0;
    }
    if (!status && init) {
        int code = ballast_image_decode(&rgb, &o.init_width, &o.init_height, NULL, init, init_bytes, 0, &err);
        status = code ? problem_set(p, status_of(code), "init_images", "%s", err.message) : 0;
        o.init_rgb = rgb;
    }
    free(init);
    if (!status) {
        int code = ballast_generate(report, model, &o, &err);
        if (w->problem.status) {
            *p = w->problem;
            status = p->status;
        } else if (code) {
            status =
                problem_set(p, code == BALLAST_E_CANCELLED ? 499 : status_of(code), NULL, "%s", err.message);
        }
    }
    ballast_bytes_free(&rgb);
    return status;
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
    tell(j, EVENT_ENDED, w->id, end.state, NULL);
    if (j->options.retain_bytes) {
        j->keeper.retain(j->keeper.self, j->options.retain_bytes, &trouble);
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

/* Takes the first job. Locked. */
static void take(struct jobs *j, char id[JOB_ID]) {
    memcpy(id, j->queue[0].id, JOB_ID);
    memmove(j->queue, j->queue + 1, (size_t)--j->queue_count * sizeof *j->queue);
    j->now = (struct progress){.started = clock_now(), .images = 1};
    memcpy(j->now.job, id, JOB_ID);
    atomic_store(&j->want_end, GO_ON);
}

void *worker_main(void *jobs) {
    struct jobs *j = jobs;
    char id[JOB_ID];
    pthread_mutex_lock(&j->lock);
    while (!j->stopping) {
        if (j->unload) {
            pthread_mutex_unlock(&j->lock);
            int result = device_unload(j);
            pthread_mutex_lock(&j->lock);
            j->unload = false;
            j->unload_result = result;
            pthread_cond_broadcast(&j->idle);
        } else if (j->queue_count) {
            take(j, id);
            pthread_mutex_unlock(&j->lock);
            run(j, id);
            pthread_mutex_lock(&j->lock);
            j->now = (struct progress){0};
            free(j->preview);
            j->preview = NULL;
            pthread_cond_broadcast(&j->idle);
        } else {
            pthread_cond_wait(&j->wake, &j->lock);
        }
    }
    j->started = false;
    pthread_cond_broadcast(&j->idle);
    pthread_mutex_unlock(&j->lock);
    return NULL;
}
