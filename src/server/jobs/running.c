/* The jobs in work: one, or several that are computed together. They are told, stopped and shown one by
 * one. */
#include "server/jobs/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct running *running_find(struct jobs *j, const char *id) {
    for (int i = 0; i < j->running_count; i++) {
        if (!j->running[i].ended && !strcmp(j->running[i].id, id)) {
            return &j->running[i];
        }
    }
    return NULL;
}

struct running *running_first(struct jobs *j) {
    for (int i = 0; i < j->running_count; i++) {
        if (!j->running[i].ended) {
            return &j->running[i];
        }
    }
    return NULL;
}

struct running *running_of(struct jobs *j, int index) {
    for (int i = 0; i < j->running_count; i++) {
        struct running *r = &j->running[i];
        if (index >= r->first && index < r->first + r->count) {
            return r;
        }
    }
    return NULL;
}

void running_begin(struct running *r, const char *id) {
    *r = (struct running){.count = 0};
    memcpy(r->id, id, JOB_ID);
}

void running_clear(struct jobs *j) {
    for (int i = 0; i < j->running_count; i++) {
        free(j->running[i].preview);
        free(j->running[i].png);
    }
    j->running_count = 0;
    j->apart = false;
    j->now = (struct progress){0};
}

/* Pictures before `image` are done, `part` of those of the batch in work. */
static double fraction_of(const struct running *r, int image, int batch, double part) {
    double done = 0;
    for (int i = r->first; i < r->first + r->count; i++) {
        done += i < image ? 1 : i < image + batch ? part : 0;
    }
    done = r->count ? done / r->count : 0;
    return done > 0.99 ? 0.99 : done;
}

void running_advance(struct jobs *j, const ballast_progress *b, int image, double part) {
    struct progress *now = &j->now;
    snprintf(now->stage, sizeof now->stage, "%s", b->stage);
    now->step = b->step;
    now->steps = b->steps;
    now->image = image;
    now->seconds = clock_now() - now->started;
    for (int i = 0; i < j->running_count; i++) {
        struct running *r = &j->running[i];
        double fraction = fraction_of(r, image, j->now_batch, part);
        r->fraction = fraction > r->fraction ? fraction : r->fraction;
    }
}

void running_progress(const struct jobs *j, const struct running *r, struct progress *out) {
    *out = (struct progress){.queued = j->queue_count};
    if (r) {
        int image = j->now.image - r->first;
        *out = j->now;
        memcpy(out->job, r->id, JOB_ID);
        out->image = image < 0 ? 0 : image < r->count ? image : r->count - (r->count > 0);
        out->images = r->count ? r->count : 1;
        out->fraction = r->fraction;
        out->interrupted = r->want != GO_ON;
        out->skipped = r->skipped > 0;
        out->queued = j->queue_count;
    }
}

void jobs_progress(void *self, struct progress *out) {
    struct jobs *j = self;
    pthread_mutex_lock(&j->lock);
    running_progress(j, running_first(j), out);
    if (out->job[0]) {
        out->seconds = clock_now() - out->started;
    }
    pthread_mutex_unlock(&j->lock);
}

bool jobs_interrupt(void *self, bool skip) {
    struct jobs *j = self;
    pthread_mutex_lock(&j->lock);
    struct running *r = running_first(j);
    if (r && skip) {
        r->skipped = j->now.image + j->now_batch;
    } else if (r && r->want == GO_ON) {
        r->want = INTERRUPTED;
    }
    pthread_mutex_unlock(&j->lock);
    jobs_changed(j, false);
    return r;
}

/* A job in work is not wanted any more: where others are computed with it, it ends at once, and they go on.
 */
void running_cancel(struct jobs *j, const char *id) {
    bool others = false;
    pthread_mutex_lock(&j->lock);
    struct running *r = running_find(j, id);
    if (r && !r->ending) {
        r->want = CANCELLED;
        for (int i = 0; i < j->running_count; i++) {
            others = others || (&j->running[i] != r && !j->running[i].ended);
        }
        r->ended = others;
        j->totals.cancelled += others;
    }
    pthread_mutex_unlock(&j->lock);
    jobs_changed(j, false);
    if (others) {
        struct kept_end end = {.state = "cancelled", .ended = clock_now(), .error = "cancelled"};
        j->keeper.end(j->keeper.self, id, &end, NULL);
        tell(j, EVENT_ENDED, id, "cancelled", NULL);
    }
}

void running_show(struct running *r, const ballast_image *image) {
    size_t bytes = (size_t)image->width * (size_t)image->height * 3;
    uint8_t *rgb = realloc(r->preview, bytes);
    if (rgb) {
        memcpy(rgb, image->rgb, bytes);
        r->preview = rgb;
        r->width = image->width;
        r->height = image->height;
        free(r->png);
        r->png = NULL;
    }
}

void jobs_preview(void *self, const char *id, char **png, size_t *bytes) {
    struct jobs *j = self;
    *png = NULL;
    *bytes = 0;
    pthread_mutex_lock(&j->lock);
    struct running *r = running_find(j, id);
    if (r && r->preview && !r->png) {
        uint8_t *fresh = NULL;
        size_t n = 0;
        ballast_png_options o;
        ballast_png_options_init(&o, sizeof o);
        o.rgb = r->preview;
        o.width = r->width;
        o.height = r->height;
        if (!ballast_image_encode_png(&fresh, &n, &o, NULL) && (r->png = malloc(n))) {
            memcpy(r->png, fresh, n);
            r->png_bytes = n;
        }
        ballast_bytes_free(&fresh);
    }
    if (r && r->png && (*png = malloc(r->png_bytes))) {
        memcpy(*png, r->png, r->png_bytes);
        *bytes = r->png_bytes;
    }
    pthread_mutex_unlock(&j->lock);
}

json_t *running_others(const struct jobs *j, const struct running *r) {
    json_t *list = json_array();
    for (int i = 0; i < j->running_count && !j->apart; i++) {
        if (&j->running[i] != r) {
            json_array_append_new(list, json_string(j->running[i].id));
        }
    }
    return list;
}
