#include "device/card_file.h"

#include "core/clock.h"
#include "device/cuda/internal.h"
#include "kernels/made_up.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_PLANS 4096
#define PROPOSALS 8
#define RUNS 3
#define GAIN 0.97 /* of the first's time: less than noise is no reason for another */

typedef struct row {
    uint64_t key, workspace_bytes;
    int choice;
    char what[24];
    double first, best; /* seconds; 0: not timed */
} row;

typedef struct table {
    row rows[MOST_PLANS];
    int count;
} table;

static row *find(table *t, uint64_t key) {
    for (int i = 0; i < t->count; i++) {
        if (t->rows[i].key == key) {
            return &t->rows[i];
        }
    }
    return NULL;
}

static void add(void *payload, const char *what, uint64_t key, int choice, uint64_t workspace_bytes) {
    table *t = payload;
    if (!find(t, key) && t->count < MOST_PLANS) {
        row r = {.key = key, .workspace_bytes = workspace_bytes, .choice = choice};
        snprintf(r.what, sizeof r.what, "%s", what);
        t->rows[t->count++] = r;
    }
}

/* The plan that most of an op's time is spent in: its key, proposal and scratch. */
static bool plan_of(row *out, const bl_cuda_step *s) {
    *out = (row){.choice = -1};
    if (s->conv) {
        *out = (row){.key = bl_cuda_plan_key("a convolution", &s->conv->shape, sizeof s->conv->shape),
                     .choice = s->conv->choice,
                     .workspace_bytes = s->conv->workspace_bytes};
    } else if (s->attention && s->attention->has_plan) {
        *out = (row){.key = bl_cuda_plan_key("attention", &s->attention->shape, sizeof s->attention->shape),
                     .choice = s->attention->choice,
                     .workspace_bytes = s->attention->workspace_bytes};
    } else if (s->product) {
        *out = (row){.key = bl_cuda_plan_key("a product", &s->product->shape, sizeof s->product->shape),
                     .choice = s->product->choice,
                     .workspace_bytes = s->product->workspace_bytes};
    }
    return out->choice >= 0;
}

/* The shortest of some runs. */
static int time_op(double *seconds, bl_executable *x, int op, bl_cu_pointer at, bl_event *const *events,
                   bl_error *err) {
    bl_device *d = &x->module->c->head;
    int rc = 0;
    *seconds = 1e9;
    for (int i = 0; i < RUNS && !rc; i++) {
        rc = bl_device_event_record(d, events[0], BL_STREAM_COMPUTE, err);
        rc = rc ? rc : bl_cuda_run_at(x, op, at, err);
        rc = rc ? rc : bl_device_event_record(d, events[1], BL_STREAM_COMPUTE, err);
        rc = rc ? rc : bl_device_event_wait(d, events[1], err);
        if (!rc) {
            double t = bl_device_event_seconds(d, events[1]) - bl_device_event_seconds(d, events[0]);
            *seconds = t < *seconds ? t : *seconds;
        }
    }
    return rc;
}

/* Times each shape of the graph once, with the proposals that it was prepared with. */
static int time_all(table *t, bl_executable *x, int proposal, bl_cu_pointer at, double until, bl_error *err) {
    bl_event *events[2] = {NULL, NULL};
    bl_device *d = &x->module->c->head;
    int rc = bl_device_event_open(&events[0], d, err);
    rc = rc ? rc : bl_device_event_open(&events[1], d, err);
    for (int i = 0; i < x->graph->op_count && !rc && bl_now() < until; i++) {
        row now;
        row *known = plan_of(&now, &x->steps[i]) ? find(t, now.key) : NULL;
        double seconds;
        if (!known || now.choice != proposal || (proposal ? known->first <= 0 : known->first > 0)) {
            continue;
        }
        rc = time_op(&seconds, x, i, at, events, err);
        if (!rc && !proposal) {
            known->first = known->best = seconds;
        } else if (!rc && seconds < known->best && seconds < known->first * GAIN) {
            known->best = seconds;
            known->choice = now.choice;
            known->workspace_bytes = now.workspace_bytes;
        }
    }
    bl_device_event_close(d, events[0]);
    bl_device_event_close(d, events[1]);
    return rc;
}

/* Prepares a graph with a proposal, from 0 on, and times it, if there is time. */
static int try_graph(table *t, bl_device *d, const bl_graph *g, int proposal, double until, bl_error *err) {
    bl_cuda *c = (bl_cuda *)d;
    const bl_source source = {.dtype = made_up_dtype, .read = made_up_read};
    bl_device_module *m = NULL;
    bl_executable *x = NULL;
    bl_cu_pointer at = 0;
    uint64_t most = 0;
    c->plans.forced = proposal + 1;
    int rc = bl_device_module_open(&m, d, g, &source, err);
    rc = rc ? rc : bl_device_prepare(&x, d, m, g, &(bl_prepare_options){0}, err);
    c->plans.forced = 0;
    if (!rc && !proposal) {
        bl_cuda_visit_convs(c, add, t);
        bl_cuda_visit_attentions(c, add, t);
        bl_cuda_visit_products(c, add, t);
    }
    if (!rc && until > 0) {
        for (int i = 0; i < g->op_count; i++) {
            uint64_t bytes = bl_cuda_footprint(x, i);
            most = bytes > most ? bytes : most;
        }
        rc = bl_cuda_check(c, c->libs->cu.cuMemAlloc(&at, most), "timing plans", err);
        rc = rc ? rc : time_all(t, x, proposal, at, until, err);
        bool lost;
        int late = bl_device_sync(d, &lost, rc ? NULL : err);
        rc = rc ? rc : late;
        if (at) {
            c->libs->cu.cuMemFree(at);
        }
    }
    bl_device_executable_close(d, x);
    bl_device_module_close(d, m);
    bl_cuda_attentions_close(c); /* the next proposals are plans of their own */
    bl_cuda_convs_close(c);
    bl_cuda_products_close(c);
    return rc;
}

/* cuDNN's own description; null where it gives none. */
static json_t *properties_of(const bl_cuda *c) {
    const bl_cudnn *dnn = &c->libs->dnn;
    bl_dnn_descriptor d = NULL;
    int32_t card = c->number;
    int64_t bytes = 0;
    char *text = NULL;
    bool good =
        !dnn->cudnnBackendCreateDescriptor(BL_DNN_KIND_PROPERTIES, &d) &&
        !dnn->cudnnBackendSetAttribute(d, BL_DNN_PROPERTIES_ID, BL_DNN_OF_INT32, 1, &card) &&
        !dnn->cudnnBackendFinalize(d) &&
        !dnn->cudnnBackendGetAttribute(d, BL_DNN_PROPERTIES_JSON, BL_DNN_OF_CHAR, 0, &bytes, NULL) &&
        bytes > 0 && (text = calloc((size_t)bytes + 1, 1)) != NULL &&
        !dnn->cudnnBackendGetAttribute(d, BL_DNN_PROPERTIES_JSON, BL_DNN_OF_CHAR, bytes, &bytes, text);
    json_t *json = good ? json_loads(text, 0, NULL) : NULL;
    if (good && !json) {
        json = json_string(text);
    }
    if (d) {
        dnn->cudnnBackendDestroyDescriptor(d);
    }
    free(text);
    return json;
}

static json_t *plans_of(const table *t) {
    json_t *list = json_array();
    for (int i = 0; i < t->count; i++) {
        const row *r = &t->rows[i];
        char key[24];
        snprintf(key, sizeof key, "%016llx", (unsigned long long)r->key);
        json_array_append_new(list,
                              json_pack("[s, i, I, s, f, f]", key, r->choice, (json_int_t)r->workspace_bytes,
                                        r->what, r->first * 1e6, r->best * 1e6));
    }
    return list;
}

static json_t *describe(bl_device *d, const table *t) {
    const bl_cuda *c = (const bl_cuda *)d;
    const bl_cuda_card *card = &c->card;
    bl_device_caps caps = bl_device_caps_of(d);
    json_t *o =
        json_pack("{s:s, s:i, s:i, s:I, s:I, s:I, s:f, s:{s:f, s:f}, s:I, s:I, s:b, s:o}", "name", card->name,
                  "sm", card->major * 10 + card->minor, "processors", card->processors, "memory_bytes",
                  (json_int_t)card->memory_bytes, "own_bytes", (json_int_t)caps.own_bytes, "host_bytes",
                  (json_int_t)caps.host_bytes, "memory_rate", card->memory_rate, "flops", "f32",
                  card->flops_f32, "bf16", card->flops_bf16, "cudnn", (json_int_t)c->libs->cudnn, "cublaslt",
                  (json_int_t)c->libs->cublaslt, "graphs", 0, "plans", plans_of(t));
    json_t *properties = properties_of(c);
    if (properties) {
        json_object_set_new(o, "properties", properties);
    }
    return o;
}

int card_file_make(json_t **out, bl_device *d, const bl_graph *const *graphs, int count, double seconds,
                   bl_error *err) {
    double until = seconds > 0 ? bl_now() + seconds : 0;
    table *t = calloc(1, sizeof *t);
    int rc = t ? 0 : bl_fail_memory(err, "a card's plans", sizeof *t);
    *out = NULL;
    for (int proposal = 0; proposal < PROPOSALS && !rc && (!proposal || bl_now() < until); proposal++) {
        for (int i = 0; i < count && !rc && (!proposal || bl_now() < until); i++) {
            rc = try_graph(t, d, graphs[i], proposal, until, err);
        }
    }
    if (!rc) {
        *out = describe(d, t);
        rc = *out ? 0 : bl_fail_memory(err, "a card's description", 0);
    }
    free(t);
    return rc;
}
