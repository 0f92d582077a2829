/* What a request would cost. The device's own context knows what lies on it, and plans while it has nothing
 * to do; else, and for many budgets, another context does, whose device is empty. */
#include "server/jobs/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_SECONDS 60

struct plan_work {
    const struct picture_request *request;
    ballast_generate_options *options;
    const ballast_plan_options *plan;
    char *json;
    json_t *warnings; /* an array: what the plan does without */
    bool on_device;   /* it was made there */
    int status;
    struct problem problem;
};

static void make(struct jobs *j, struct plan_work *w, ballast_model *model, bool taesd) {
    ballast_error err = {0};
    fill_previews(w->options, j, taesd);
    json_array_clear(w->warnings);
    int code = ballast_plan(&w->json, NULL, model, w->options, w->plan, &err);
    if (code) {
        w->status = refuse_request(&w->problem, status_of_request(code), &err);
    }
}

static void on_device(struct jobs *j, void *payload) {
    struct plan_work *w = payload;
    ballast_model *model = NULL;
    if (!device_has_room(j, w->request->model, w->request->vae)) {
        return; /* a question drives no weights out */
    }
    w->on_device = true;
    if (!j->placed) {
        j->placed = true;
        placement_apply(j, j->context, NULL);
    }
    w->status = device_model(j, &model, w->request->model, w->request->vae, &w->problem);
    if (!w->status) {
        j->warnings = w->warnings;
        j->plans = true;
        make(j, w, model, device_has_taesd(j, model));
        j->plans = false;
        j->warnings = NULL;
    }
}

static void forget_model(struct jobs *j) {
    ballast_model_close(&j->plan_model.model);
    free(j->plan_model.title);
    free(j->plan_model.vae);
    j->plan_model = (struct open_model){0};
}

void plan_close(struct jobs *j) {
    forget_model(j);
    ballast_context_close(&j->plan_context);
}

static bool same(const char *a, const char *b) {
    return a && b ? !strcmp(a, b) : a == b;
}

/* The model in the other context; the one before it is closed. task_lock. */
static int other_model(struct jobs *j, const char *title, const char *vae, struct problem *p) {
    struct open_model *m = &j->plan_model;
    if (m->model && same(m->title, title) && same(m->vae, vae)) {
        return 0;
    }
    forget_model(j);
    m->title = strdup(title);
    m->vae = vae ? strdup(vae) : NULL;
    if (!m->title || (vae && !m->vae)) {
        return problem_set(p, 503, NULL, "out of memory");
    }
    return device_open_model(j, j->plan_context, m, p);
}

/* In the other context. Where nobody said a budget it takes the device's last one: what is free now leaves
 * out what the device holds. */
static void elsewhere(struct jobs *j, struct plan_work *w, ballast_generate_options *o) {
    char budget[32];
    json_t *placement = jobs_placement(j);
    bool open = json_is_null(json_object_get(placement, "budget"));
    json_decref(placement);
    pthread_mutex_lock(&j->lock);
    double bytes = open && !o->budget ? j->totals.budget_bytes : 0;
    pthread_mutex_unlock(&j->lock);
    if (bytes > 0) {
        snprintf(budget, sizeof budget, "%.0f", bytes);
        o->budget = budget;
    }
    w->status = j->plan_context ? 0 : device_context(j, &j->plan_context, &w->problem);
    w->status = w->status ? w->status : placement_apply(j, j->plan_context, &w->problem);
    w->status = w->status ? w->status : other_model(j, w->request->model, w->request->vae, &w->problem);
    if (!w->status) {
        j->plan_warnings = w->warnings;
        make(j, w, j->plan_model.model, j->plan_model.taesd);
        j->plan_warnings = NULL;
    }
    o->budget = bytes > 0 ? NULL : o->budget;
}

static bool is_idle(struct jobs *j) {
    pthread_mutex_lock(&j->lock);
    bool idle = j->started && !j->stopping && !running_first(j) && !j->queue_count;
    pthread_mutex_unlock(&j->lock);
    return idle;
}

static double bytes_of(const json_t *plan, const char *key) {
    return json_number_value(json_object_get(plan, key));
}

/* The plan of `w` as an object. `idle`: on the device. */
static int once(struct jobs *j, struct plan_work *w, ballast_generate_options *o, bool idle, json_t **out) {
    struct task task = {.run = on_device, .payload = w};
    if (!idle || !task_run(j, &task, PLAN_SECONDS) || !w->on_device) {
        elsewhere(j, w, o);
    }
    if (!w->status && !(*out = json_loads(w->json, 0, NULL))) {
        w->status = problem_set(&w->problem, 503, NULL, "out of memory");
    }
    ballast_string_free(&w->json);
    return w->status;
}

static bool is_range(const char *text) {
    return !text || (*text && strlen(text) <= 30 && !strchr(text, ':'));
}

/* From what works at all to a quarter more than what is never short, unless somebody said. */
static int sweep(struct jobs *j, struct plan_work *w, ballast_generate_options *o,
                 const struct plan_wish *wish, json_t **out) {
    char range[96], low[32], high[32];
    json_t *plan = NULL;
    ballast_plan_options curve = *w->plan;
    if (!is_range(wish->low) || !is_range(wish->high)) {
        return w->status = problem_set(&w->problem, 422, is_range(wish->low) ? "high" : "low",
                                       "low, high: sizes, as 2G, 800M or 80%%");
    }
    if (once(j, w, o, false, &plan)) {
        return w->status;
    }
    double least = bytes_of(plan, "min_budget_bytes"), most = 1.25 * bytes_of(plan, "working_set_bytes");
    json_decref(plan);
    snprintf(low, sizeof low, "%.0f", least);
    snprintf(high, sizeof high, "%.0f", most > least ? most : 2 * least);
    snprintf(range, sizeof range, "%s:%s:%d", wish->low ? wish->low : low, wish->high ? wish->high : high,
             wish->points);
    curve.sweep = range;
    w->plan = &curve;
    return once(j, w, o, false, out);
}

int jobs_plan(void *self, const struct picture_request *r, const struct plan_wish *wish, json_t **out,
              struct problem *p) {
    struct jobs *j = self;
    ballast_generate_options o;
    ballast_plan_options plan;
    uint8_t *rgb = NULL;
    *out = NULL;
    fill_options(&o, j, r);
    ballast_plan_options_init(&plan, sizeof plan);
    plan.compare = wish->compare;
    o.budget = wish->budget;
    if (picture_init_count(r) > 1) { /* they take turns */
        o.count = r->batch * r->count;
        o.batch = 1;
    }
    struct plan_work w = {.request = r, .options = &o, .plan = &plan, .warnings = json_array()};
    w.status = make_start(&o, &rgb, r, 0, &w.problem);
    if (!w.status) {
        pthread_mutex_lock(&j->task_lock);
        bool idle = !wish->points && !wish->budget && is_idle(j);
        if (wish->points) {
            sweep(j, &w, &o, wish, out);
        } else {
            once(j, &w, &o, idle, out);
        }
        pthread_mutex_unlock(&j->task_lock);
        json_object_set(*out, "warnings", w.warnings);
        json_object_set_new(*out, "from",
                            json_string(w.on_device        ? "device"
                                        : j->described > 0 ? "described"
                                                           : "empty"));
    }
    json_decref(w.warnings);
    ballast_bytes_free(&rgb);
    if (w.status && p) {
        *p = w.problem;
    }
    return w.status;
}
