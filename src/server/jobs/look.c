/* What lies where, and what could compute. */
#include "server/jobs/internal.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_SECONDS 10 /* the longest block, and more */

static json_t *model_json(const struct open_model *open) {
    char *text = NULL;
    json_t *object = NULL;
    if (!ballast_model_residency(&text, open->model, NULL)) {
        object = json_loads(text, 0, NULL);
    }
    ballast_string_free(&text);
    if (object) {
        json_object_set_new(object, "title", json_string(open->title));
    }
    return object;
}

json_t *look_residency(struct jobs *j) {
    json_t *models = json_array(), *region = json_integer(0);
    double resident = 0, stored = 0;
    for (int i = 0; i < j->open_count; i++) {
        json_t *model = model_json(&j->open[i]), *bytes = json_object_get(model, "region_bytes");
        if (bytes) { /* the same for all: it is theirs together */
            json_decref(region);
            region = json_incref(bytes);
            json_object_del(model, "region_bytes");
            resident += json_number_value(json_object_get(model, "resident_bytes"));
            stored += json_number_value(json_object_get(model, "stored_bytes"));
            json_array_append_new(models, model);
        }
    }
    return json_pack("{s:o, s:I, s:I, s:o}", "region_bytes", region, "resident_bytes", (json_int_t)resident,
                     "stored_bytes", (json_int_t)stored, "models", models);
}

static void look(struct jobs *j, void *payload) {
    *(json_t **)payload = look_residency(j);
}

int jobs_residency(void *self, json_t **out, struct problem *p) {
    struct jobs *j = self;
    struct task task = {.run = look, .payload = out, .beside = true};
    *out = NULL;
    pthread_mutex_lock(&j->task_lock);
    bool done = task_run(j, &task, LOOK_SECONDS);
    pthread_mutex_unlock(&j->task_lock);
    if (!done) {
        int status = problem_set(p, 503, NULL, "the device did not come to answer; ask again");
        p->retry_after = 1;
        return status;
    }
    return *out ? 0 : problem_set(p, 503, NULL, "out of memory");
}

json_t *jobs_devices(void *self) {
    char *text = NULL;
    (void)self;
    if (ballast_devices(&text, NULL)) {
        return NULL;
    }
    json_t *list = json_loads(text, 0, NULL);
    ballast_string_free(&text);
    return list;
}
