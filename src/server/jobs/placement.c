/* How weights are placed: as the server was started, until somebody asks for something else while it
 * serves. */
#include "server/jobs/internal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t at;
} texts[] = {
#define PLACEMENT_TEXT(name) {#name, offsetof(struct placement, name)},
    PLACEMENT_TEXTS
#undef PLACEMENT_TEXT
};
#define TEXTS (sizeof texts / sizeof *texts)

static const char **text_of(struct placement *placement, size_t i) {
    return (const char **)(void *)((char *)placement + texts[i].at);
}

static const char *read_text(const struct placement *placement, size_t i) {
    return *text_of((struct placement *)placement, i);
}

void placement_free(struct placement *placement) {
    for (size_t i = 0; i < TEXTS; i++) {
        free((void *)*text_of(placement, i));
    }
    *placement = (struct placement){0};
}

/* `top` where it says something, else `below`; "" says that it is as below. False: no memory, and *out is
 * empty. */
static bool lay_over(struct placement *out, const struct placement *top, const struct placement *below) {
    *out = (struct placement){0};
    for (size_t i = 0; i < TEXTS; i++) {
        const char *text = read_text(top, i);
        text = text && *text ? text : read_text(below, i);
        if (text && !(*text_of(out, i) = strdup(text))) {
            placement_free(out);
            return false;
        }
    }
    return true;
}

bool placement_copy(struct placement *out, const struct placement *from) {
    return lay_over(out, from, &(struct placement){0});
}

/* What was asked for while serving: a copy. */
static bool asked_for(struct jobs *j, struct placement *out) {
    pthread_mutex_lock(&j->lock);
    bool good = placement_copy(out, &j->placement);
    pthread_mutex_unlock(&j->lock);
    return good;
}

static bool current(struct jobs *j, struct placement *out) {
    struct placement asked;
    bool good = asked_for(j, &asked) && lay_over(out, &asked, &j->options.placement);
    placement_free(&asked);
    return good;
}

/* A fraction as a number, whatever the locale; false: it is none. */
static bool fraction(double *out, const char *text) {
    json_t *number = text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_real(-1);
    bool good = json_is_number(number);
    *out = json_number_value(number);
    json_decref(number);
    return good;
}

static int apply(const struct placement *placement, ballast_context *context, struct problem *p) {
    ballast_placement_options o;
    ballast_error err = {0};
    const char *check = placement->fit_check;
    ballast_placement_options_init(&o, sizeof o);
    o.offload = placement->offload;
    o.budget = placement->budget;
    o.reserve = placement->reserve;
    o.never = placement->never;
    o.always = placement->always;
    o.host_budget = placement->host_budget;
    if (!fraction(&o.low, placement->low) || !fraction(&o.high, placement->high)) {
        return problem_set(p, 422, "low", "low, high: fractions of the memory, as 0.3");
    }
    if (check && strcmp(check, "on") != 0 && strcmp(check, "off") != 0) {
        return problem_set(p, 422, "fit_check", "fit_check: on or off");
    }
    o.fit_check = !check || !strcmp(check, "on");
    return ballast_context_place(context, &o, &err) ? problem_set(p, 422, NULL, "%s", err.message) : 0;
}

int placement_apply(struct jobs *j, ballast_context *context, struct problem *p) {
    struct placement now;
    if (!current(j, &now)) {
        return problem_set(p, 503, NULL, "out of memory");
    }
    int status = apply(&now, context, p);
    placement_free(&now);
    return status;
}

static json_t *as_json(const struct placement *placement) {
    json_t *object = json_object();
    for (size_t i = 0; i < TEXTS; i++) {
        const char *text = read_text(placement, i);
        json_object_set_new(object, texts[i].name, text ? json_string(text) : json_null());
    }
    return object;
}

json_t *jobs_placement(void *self) {
    struct jobs *j = self;
    struct placement now;
    if (!current(j, &now)) {
        return NULL;
    }
    json_t *object = as_json(&now);
    placement_free(&now);
    json_object_set_new(object, "started", as_json(&j->options.placement));
    json_object_set_new(object, "from", as_json(&j->options.placement_from));
    return object;
}

int jobs_place(void *self, const struct placement *wish, struct problem *p) {
    struct jobs *j = self;
    struct placement asked, wanted = {0}, now = {0};
    pthread_mutex_lock(&j->task_lock);
    int status = j->plan_context ? 0 : device_context(j, &j->plan_context, p);
    bool good = asked_for(j, &asked) && placement_copy(&wanted, &asked);
    for (size_t i = 0; i < TEXTS && good; i++) {
        const char *text = read_text(wish, i), **at = text_of(&wanted, i);
        if (text) {
            free((void *)*at);
            *at = *text ? strdup(text) : NULL;
            good = *at || !*text;
        }
    }
    good = good && lay_over(&now, &wanted, &j->options.placement);
    status = status ? status
             : good ? apply(&now, j->plan_context, p)
                    : problem_set(p, 503, NULL, "out of memory");
    if (!status) {
        pthread_mutex_lock(&j->lock);
        struct placement old = j->placement;
        j->placement = wanted;
        j->placed = false;
        pthread_mutex_unlock(&j->lock);
        wanted = old;
    }
    pthread_mutex_unlock(&j->task_lock);
    placement_free(&asked);
    placement_free(&wanted);
    placement_free(&now);
    return status;
}
