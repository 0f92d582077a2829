/* Pictures of the jobs in work: what the library tells on the way, and what is kept. */
#include "server/jobs/internal.h"

#include <stdlib.h>
#include <string.h>

static int on_progress(void *payload, const ballast_progress *b) {
    struct work *w = payload;
    struct jobs *j = w->j;
    bool hires = w->options.hires_scale > 0, second = !strcmp(b->stage, "hires"), wanted = false,
         all_cancelled = true;
    double part = b->steps ? (double)b->step / b->steps : 0;
    pthread_mutex_lock(&j->lock);
    bool step = b->step != j->now.step || strcmp(b->stage, j->now.stage) != 0;
    int image = w->offset + b->image;
    w->stepped = (w->stepped && w->image == image) || b->step;
    w->image = image;
    running_advance(j, b, image, !hires ? part : second ? 0.5 + part / 2 : part / 2);
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
    const struct running *r = running_of(w->j, w->offset + index);
    bool enough = !r || r->ended || r->want != GO_ON || w->offset + index < r->skipped;
    pthread_mutex_unlock(&w->j->lock);
    return enough;
}

/* Of each job's pictures in the batch the first one stands for all. */
static int on_preview(void *payload, const ballast_image *image) {
    struct work *w = payload;
    struct jobs *j = w->j;
    pthread_mutex_lock(&j->lock);
    int index = w->offset + image->index;
    struct running *r = running_of(j, index);
    bool shown = r && !r->ended && (index == r->first || index == j->now.image);
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
    int first = 0, index = w->offset + image->index;
    pthread_mutex_lock(&w->j->lock);
    const struct running *of = running_of(w->j, index);
    if (of && !of->ended) {
        memcpy(id, of->id, JOB_ID);
        first = of->first;
    }
    pthread_mutex_unlock(&w->j->lock);
    struct kept_picture picture = {.index = index - first,
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
        struct running *r = running_of(w->j, index);
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

int make_start(ballast_generate_options *o, uint8_t **rgb, const struct picture_request *r, int n,
               struct problem *p) {
    ballast_error err = {0};
    size_t bytes;
    const char *file = picture_init_at(r, n, &bytes);
    if (r->init && !file) {
        return problem_set(p, 500, "init_images", "a kept request's pictures to start from cannot be read");
    }
    ballast_bytes_free(rgb);
    int code =
        file ? ballast_image_decode(rgb, &o->init_width, &o->init_height, NULL, NULL, file, bytes, 0, &err)
             : 0;
    o->init_rgb = *rgb;
    return code ? problem_set(p, status_of(code), "init_images", "%s", err.message) : 0;
}

/* What the first job asks for, and its model. 0, or a status and *p. */
int make_prepare(struct work *w, struct problem *p) {
    struct jobs *j = w->j;
    json_t *object = NULL;
    int status = j->keeper.request(j->keeper.self, j->running[0].id, &object, &w->request.init,
                                   &w->request.init_bytes, p);
    char *init = w->request.init;
    size_t bytes = w->request.init_bytes; /* reading the rest empties it first */
    status = status ? status : picture_request_read(&w->request, object, p);
    w->request.init = init;
    w->request.init_bytes = bytes;
    json_decref(object);
    if (!status && !w->request.model) {
        status = problem_set(p, 500, "model", "the job names no model");
    }
    status = status ? status : device_model(j, &w->model, w->request.model, w->request.vae, p);
    if (!status) {
        fill_options(&w->options, w->j, &w->request);
        w->options.progress = on_progress;
        w->options.image = on_image;
        w->options.preview = on_preview;
        fill_previews(&w->options, j, device_has_taesd(j, w->model));
        w->options.enough = on_enough;
        w->options.payload = w;
        status = make_start(&w->options, &w->rgb, &w->request, 0, p);
    }
    return status;
}

/* 0, or a status and *p. */
static int compute_once(struct work *w, char **report, struct problem *p) {
    struct jobs *j = w->j;
    ballast_error err = {0};
    w->problem = (struct problem){0};
    pthread_mutex_lock(&j->lock);
    j->now_batch = w->options.batch;
    pthread_mutex_unlock(&j->lock);
    totals_before(j, w->model);
    int code = generate(w, report, &err);
    j->device_failed = j->device_failed || code == BALLAST_E_DEVICE;
    if (w->problem.status) {
        *p = w->problem;
        return p->status;
    }
    int status = code == BALLAST_E_CANCELLED ? CANCELLED_STATUS : status_of_request(code);
    return code ? refuse_request(p, status, &err) : 0;
}

/* Puts the batches of a report behind those of another one, and takes it over. */
static void append(json_t **all, char **text) {
    json_t *one = *text ? json_loads(*text, 0, NULL) : NULL;
    ballast_string_free(text);
    if (*all) {
        json_array_extend(json_object_get(*all, "batches"), json_object_get(one, "batches"));
        json_object_set(*all, "hint", json_object_get(one, "hint"));
        json_decref(one);
    } else {
        *all = one;
    }
}

/* Several pictures to start from take turns, each picture as if it came alone. */
static int compute_turns(struct work *w, json_t **report, int starts, struct problem *p) {
    int status = 0, all = starts * w->request.count;
    char *text = NULL;
    w->options.batch = w->options.count = 1;
    for (w->offset = 0; w->offset < all && !status; w->offset++) {
        w->options.seed =
            w->request.variation_strength > 0 ? w->request.seed : w->request.seed + (uint64_t)w->offset;
        w->options.variation_seed = w->request.variation_seed + (uint64_t)w->offset;
        status = make_start(&w->options, &w->rgb, &w->request, w->offset % starts, p);
        if (!status && !on_enough(w, 0)) {
            status = compute_once(w, &text, p);
            append(report, &text);
        }
    }
    return status;
}

int make_compute(struct work *w, json_t **report, struct problem *p) {
    int starts = picture_init_count(&w->request), status;
    char *text = NULL;
    if (starts > 1) {
        return compute_turns(w, report, starts, p);
    }
    status = compute_once(w, &text, p);
    append(report, &text);
    return status;
}
