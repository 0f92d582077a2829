/* What has been done since the start, for those who watch the server: sums over the reports of all jobs. */
#include "server/jobs/internal.h"

#include <string.h>

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

void totals_before(struct jobs *j, ballast_model *model) {
    char *text = NULL;
    if (ballast_model_residency(&text, model, NULL)) {
        return;
    }
    json_t *object = json_loads(text, 0, NULL);
    double bytes = number(object, "resident_bytes");
    ballast_string_free(&text);
    json_decref(object);
    pthread_mutex_lock(&j->lock);
    j->totals.kept_bytes += bytes;
    j->totals.reloads_avoided += bytes > 0;
    pthread_mutex_unlock(&j->lock);
}

/* Locked. */
static void add_batch(struct totals *t, const json_t *batch) {
    size_t i;
    json_t *stage, *line = json_object_get(batch, "line");
    json_array_foreach(json_object_get(line, "stages"), i, stage) {
        const char *name = json_string_value(json_object_get(stage, "name"));
        if (name) {
            json_object_set_new(t->stages, name,
                                json_real(number(t->stages, name) + number(stage, "seconds")));
        }
    }
    t->moved_bytes += number(json_object_get(batch, "ledger"), "moved_bytes");
    t->budget_bytes = number(json_object_get(batch, "plan"), "budget_bytes");
}

/* Locked. */
static void add_texts(struct totals *t, const json_t *texts) {
    if (json_is_object(texts)) {
        t->text_hits += number(texts, "hits");
        t->text_misses += number(texts, "misses");
        t->text_entries = number(texts, "entries");
        t->text_bytes = number(texts, "bytes");
    }
}

void totals_look(struct jobs *j) {
    json_t *now = look_residency(j);
    pthread_mutex_lock(&j->lock);
    j->totals.resident_bytes = number(now, "resident_bytes");
    j->totals.region_bytes = number(now, "region_bytes");
    pthread_mutex_unlock(&j->lock);
    json_decref(now);
}

void totals_after(struct jobs *j, const char *state, int pictures, const json_t *report) {
    json_t *batch;
    size_t i;
    totals_look(j);
    pthread_mutex_lock(&j->lock);
    struct totals *t = &j->totals;
    if (!t->stages) {
        t->stages = json_object();
    }
    json_array_foreach(json_object_get(report, "batches"), i, batch) {
        add_batch(t, batch);
    }
    add_texts(t, json_object_get(report, "text_cache"));
    t->hints += json_is_object(json_object_get(report, "hint"));
    t->pictures += pictures;
    t->done += !strcmp(state, "done");
    t->failed += !strcmp(state, "failed");
    t->cancelled += !strcmp(state, "cancelled");
    pthread_mutex_unlock(&j->lock);
}

json_t *jobs_totals(void *self) {
    struct jobs *j = self;
    pthread_mutex_lock(&j->lock);
    const struct totals *t = &j->totals;
    json_t *stages = t->stages ? json_copy(t->stages) : json_object();
    json_t *object = json_pack(
        "{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}",
        "queued", j->queue_count, "running", running_first(j) != NULL, "done", t->done, "failed", t->failed,
        "cancelled", t->cancelled, "pictures", t->pictures, "hints", t->hints, "reloads_avoided",
        t->reloads_avoided, "kept_bytes", t->kept_bytes, "moved_bytes", t->moved_bytes, "resident_bytes",
        t->resident_bytes, "region_bytes", t->region_bytes, "budget_bytes", t->budget_bytes, "text_hits",
        t->text_hits, "text_misses", t->text_misses, "text_entries", t->text_entries, "text_bytes",
        t->text_bytes, "stages", stages);
    pthread_mutex_unlock(&j->lock);
    return object;
}
