/* /ballast/v1: what a request would cost, what lies on the device, and how weights are placed. */
#include "server/api/handlers.h"
#include "server/api/sdapi.h"

#include <stdlib.h>
#include <string.h>

#define MOST_POINTS 200

const struct field own_curve_fields[] = {
    {"low", FIELD_TEXT, "null", 0, 30, 0, "the smallest budget: 2G, 80%; null: what works at all"},
    {"high", FIELD_TEXT, "null", 0, 30, 0, "the largest; null: a quarter more than is ever needed"},
    {"points", FIELD_INT, "23", 2, MOST_POINTS, 0, "how many budgets"},
    {"budget", FIELD_TEXT, "null", 0, 30, 0, "another than holds, to begin with"},
    {0}};

struct own_settings {
    const char *model;
    struct placement placement;
};
#define AT(member) offsetof(struct own_settings, member)

const struct field own_setting_fields[] = {
    {"model", FIELD_TEXT, "null", 1, 1000, AT(model), "the current model, by any of its names"},
    {"offload", FIELD_TEXT, "null", 0, 32, AT(placement.offload),
     "auto, none, model, sequential or balanced"},
    {"budget", FIELD_TEXT, "null", 0, 32, AT(placement.budget),
     "memory for weights and activations: 6G, 80%"},
    {"reserve", FIELD_TEXT, "null", 0, 32, AT(placement.reserve), "memory that is left free"},
    {"host_budget", FIELD_TEXT, "null", 0, 32, AT(placement.host_budget),
     "of a card: host memory for weights that wait there"},
    {"low", FIELD_TEXT, "null", 0, 32, AT(placement.low), "balanced: the low watermark, a fraction"},
    {"high", FIELD_TEXT, "null", 0, 32, AT(placement.high), "balanced: the high watermark"},
    {"never", FIELD_TEXT, "null", 0, 1000, AT(placement.never), "balanced: modules that are never evicted"},
    {"always", FIELD_TEXT, "null", 0, 1000, AT(placement.always), "balanced: modules that always are"},
    {"fit_check", FIELD_TEXT, "null", 0, 32, AT(placement.fit_check),
     "balanced: on, or off to evict though all fits"},
    {0}};

static void answer_plan(struct call *c, json_t *body, const struct field *fields,
                        const struct plan_wish *wish) {
    struct picture_request r;
    struct sd_body b;
    struct problem p = {0};
    json_t *warnings = json_array(), *plan = NULL;
    /* A question does not change the current model. */
    json_object_del(body, "override_settings_restore_afterwards");
    int status = sd_read(c->api, &r, &b, fields, body, warnings, &p);
    status = status ? status : c->api->service.plan(c->api->service.self, &r, wish, &plan, &p);
    picture_request_free(&r);
    if (status) {
        json_decref(warnings);
        reply_problem(c->x, &p);
    } else {
        json_array_extend(warnings, json_object_get(plan, "warnings"));
        json_object_set_new(plan, "warnings", warnings);
        reply_json(c->x, 200, plan);
    }
}

static const struct field *fields_of(const json_t *body) {
    return json_object_get(body, "init_images") ? own_img2img_fields : own_txt2img_fields;
}

void own_plan(struct call *c) {
    const json_t *budget = json_object_get(c->body, "budget");
    struct plan_wish wish = {.compare = true, .budget = json_string_value(budget)};
    if (budget && !json_is_null(budget) && !wish.budget) {
        reply_problem(
            c->x, &(struct problem){.status = 422, .field = "budget", .text = "budget: a text as 6G or 80%"});
        return;
    }
    answer_plan(c, c->body, fields_of(c->body), &wish);
}

/* The fields of a text's request that stand behind the '?'. NULL: one cannot be read, *p says which. */
static json_t *from_query(struct call *c, struct problem *p) {
    json_t *body = json_object();
    for (const struct field *f = own_txt2img_fields; f->name; f++) {
        const char *value = exchange_query(c->x, f->name);
        if (value && f->kind < FIELD_LIST) {
            json_t *text = json_string(value);
            if (!text) {
                problem_set(p, 422, f->name, "%s: it is no UTF-8", f->name);
            }
            json_object_set_new(body, f->name, text);
        }
    }
    if (p->status) {
        json_decref(body);
        return NULL;
    }
    return body;
}

/* What is asked of the curve stands behind the '?'; the request, too, or in the body of a POST: a picture to
 * start from has no place elsewhere. */
void own_curve(struct call *c) {
    struct problem p = {0};
    struct plan_wish wish = {.low = exchange_query(c->x, "low"),
                             .high = exchange_query(c->x, "high"),
                             .budget = exchange_query(c->x, "budget")};
    const char *points = exchange_query(c->x, "points");
    char *end = NULL;
    long count = points ? strtol(points, &end, 10) : 23;
    json_t *body = c->body ? json_incref(c->body) : from_query(c, &p);
    for (const struct field *f = own_curve_fields; c->body && f->name; f++) {
        const json_t *value = json_object_get(c->body, f->name);
        if (value && !json_is_null(value)) {
            problem_set(&p, 422, f->name, "%s: goes behind the '?' of the address here, not into the body",
                        f->name);
        }
    }
    if ((end && *end) || count < 2 || count > MOST_POINTS) {
        problem_set(&p, 422, "points", "points: 2 to %d", MOST_POINTS);
    }
    if (p.status) {
        reply_problem(c->x, &p);
    } else {
        wish.points = (int)count;
        answer_plan(c, body, fields_of(body), &wish);
    }
    json_decref(body);
}

void own_residency(struct call *c) {
    struct problem p = {0};
    json_t *residency = NULL;
    if (c->api->service.residency(c->api->service.self, &residency, &p)) {
        reply_problem(c->x, &p);
        return;
    }
    json_t *totals = c->api->service.totals(c->api->service.self);
    json_object_set(residency, "budget_bytes", json_object_get(totals, "budget_bytes"));
    json_decref(totals);
    reply_json(c->x, 200, residency);
}

void own_devices(struct call *c) {
    json_t *devices = c->api->service.devices(c->api->service.self);
    reply_json(c->x, 200, json_pack("{s:o}", "items", devices ? devices : json_array()));
}

void own_get_settings(struct call *c) {
    json_t *settings = c->api->service.placement(c->api->service.self);
    char *model = sd_current_model(c->api);
    json_object_set_new(settings, "model", json_string(model ? model : ""));
    free(model);
    reply_json(c->x, 200, settings);
}

/* null leaves a setting as it is; "" gives it the value back that the server was started with. */
void own_set_settings(struct call *c) {
    struct own_settings s = {0};
    struct problem p = {0};
    struct api *api = c->api;
    char *title = NULL;
    int status = fields_read(&s, own_setting_fields, c->body, NULL, &p);
    if (!status && s.model) {
        status = api->service.find_model(api->service.self, s.model, &title, &p);
    }
    status = status ? status : api->service.place(api->service.self, &s.placement, &p);
    if (!status && title) {
        status = api->service.set_setting(api->service.self, "sd_model_checkpoint", title, &p);
    }
    free(title);
    if (status) {
        reply_problem(c->x, &p);
    } else {
        own_get_settings(c);
    }
}
