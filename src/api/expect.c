/* What is likely to come after a request: what its caller says, or else what came after its model before. */
#include "api/api.h"

#include <stdlib.h>
#include <string.h>

#define MOST_EXPECTED 6 /* beside the request itself, in one plan */

/* ---- what the caller says */

/* One entry of the caller's list, which may be of another version of the header. */
static int take_one(bl_expected *out, const ballast_model *model, const ballast_expected *list, size_t i,
                    bl_error *err) {
    ballast_expected x;
    const ballast_expected *given = (const void *)((const char *)list + i * list->struct_size);
    int result = bl_take_expected(&x, given, err);
    if (result) {
        return result;
    }
    if (given->struct_size != list->struct_size) {
        return bl_fail(err, BL_E_ARGUMENT, "next[%zu]: another struct_size than next[0] has", i);
    }
    if (!x.model || !x.options || x.model->context != model->context) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "next[%zu]: a model of the same context and its options are needed", i);
    }
    result = bl_take_generate_options(&out->options, x.options, err);
    bl_place_fill(&out->options, model->context);
    bl_recommended_fill(&out->options, x.model);
    out->pipeline = bl_pipeline_of(x.model);
    out->likelihood = x.likelihood;
    return result;
}

static int check_likelihood(const bl_expected *list, size_t i, double *sum, bl_error *err) {
    double likelihood = list[i].likelihood;
    *sum += likelihood < 1 ? likelihood : 0;
    if (likelihood > 0 && likelihood <= 1 && *sum <= 1 + 1e-9 &&
        !(i && likelihood == 1 && list[i - 1].likelihood < 1)) {
        return 0;
    }
    return bl_fail(err, BL_E_ARGUMENT,
                   "next[%zu]: a likelihood of %g; certain ones (1) stand first, those of the others add "
                   "up to 1 at most",
                   i, likelihood);
}

static int take_list(bl_expected *list, const ballast_model *model, const ballast_generate_options *o,
                     bl_error *err) {
    int result = 0;
    double sum = 0;
    for (size_t i = 0; i < o->next_count && !result; i++) {
        result = take_one(&list[i], model, o->next, i, err);
        result = result ? result : check_likelihood(list, i, &sum, err);
    }
    return result;
}

/* ---- what came before */

/* Of options to be kept: texts that say which phases a request has. */
#define KEPT_TEXTS(o)                                                                                \
    {                                                                                                \
        &(o)->prompt, &(o)->negative_prompt, &(o)->sampler, &(o)->schedule, &(o)->rng, &(o)->compat, \
            &(o)->hires_upscaler, &(o)->tiled_decode, &(o)->embedding_folders                        \
    }

static void free_last(ballast_model *m) {
    if (m->last) {
        const char **const texts[] = KEPT_TEXTS(m->last);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            free((void *)(uintptr_t)*texts[i]);
        }
        free(m->last);
        m->last = NULL;
    }
}

/* Keeps a copy as the model's last request, of which nothing is run. Without memory for it there is none. */
static void keep_last(ballast_model *m, const ballast_generate_options *o) {
    static const uint8_t a_picture[3]; /* that there is one to start from counts, and its size */
    free_last(m);
    m->last = malloc(sizeof *m->last);
    if (!m->last) {
        return;
    }
    *m->last = *o;
    m->last->init_rgb = o->init_rgb ? a_picture : NULL;
    m->last->latents = NULL;
    m->last->seeds = NULL;
    m->last->seed_count = 0;
    m->last->next = NULL;
    m->last->next_count = 0;
    m->last->adapters = NULL; /* they change no phase */
    m->last->adapter_count = 0;
    m->last->adapter_folders = m->last->missing_adapters = NULL;
    m->last->offload = m->last->budget = m->last->reserve = NULL; /* those of the present request hold */
    m->last->host_budget = NULL;
    m->last->never = m->last->always = m->last->trace_path = m->last->fit = NULL;
    const char **const texts[] = KEPT_TEXTS(m->last);
    bool fine = true;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bool there = *texts[i] != NULL;
        *texts[i] = there ? strdup(*texts[i]) : NULL;
        fine = fine && (*texts[i] || !there);
    }
    if (!fine) {
        free_last(m);
    }
}

void bl_habit_note(ballast_model *model, const ballast_generate_options *o) {
    ballast_context *c = model->context;
    keep_last(model, o);
    if (c->lately_count == BL_LATELY) {
        memmove(c->lately, c->lately + 1, (BL_LATELY - 1) * sizeof *c->lately);
        c->lately_count--;
    }
    c->lately[c->lately_count++] = model;
}

void bl_habit_forget(ballast_model *model) {
    ballast_context *c = model->context;
    int count = 0;
    for (int i = 0; i < c->lately_count; i++) {
        if (c->lately[i] != model) {
            c->lately[count++] = c->lately[i];
        }
    }
    c->lately_count = count;
    free_last(model);
}

/* Adds one to what is counted of the model: *count entries in `list`, in the order in which they are met. */
static void count_one(bl_expected *list, const ballast_model **models, int *count, const ballast_model *m) {
    int k = 0;
    while (k < *count && models[k] != m) {
        k++;
    }
    if (k < *count) {
        list[k].likelihood += 1;
    } else if (k < MOST_EXPECTED) {
        models[k] = m;
        list[k] = (bl_expected){.likelihood = 1, .habit = true};
        *count += 1;
    }
}

/* Whatever came after this model's generations, the latest first, with its share of one more than all. */
static int expect_habits(bl_expected *list, const ballast_model *model) {
    const ballast_context *c = model->context;
    const ballast_model *models[MOST_EXPECTED], *next = model;
    int count = 0, all = 0;
    for (int i = c->lately_count - 1; i >= 0; i--) {
        if (c->lately[i] == model && (next == model || next->last)) {
            count_one(list, models, &count, next);
            all++;
        }
        next = c->lately[i];
    }
    for (int k = 0; k < count; k++) {
        list[k].likelihood /= all + 1;
        list[k].again = models[k] == model;
        if (!list[k].again) {
            list[k].pipeline = bl_pipeline_of(models[k]);
            list[k].options = *models[k]->last;
            list[k].anew = models[k]->encoded;
        }
    }
    return count;
}

int bl_expect(bl_expected **out, int *count, const ballast_model *model, const ballast_generate_options *o,
              bl_error *err) {
    *out = NULL;
    *count = 0;
    if (o->next_count > MOST_EXPECTED || (o->next_count && !o->next)) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "next: %zu generations; at most %d, and where there are some, `next` is "
                       "their list",
                       o->next_count, MOST_EXPECTED);
    }
    if (o->next ? !o->next_count : !model->context->lately_count) {
        return 0; /* nothing is known */
    }
    bl_expected *list = calloc(MOST_EXPECTED, sizeof *list);
    if (!list) {
        return bl_fail_memory(err, "what is expected next", MOST_EXPECTED * sizeof *list);
    }
    int result = o->next ? take_list(list, model, o, err) : 0;
    if (result) {
        free(list);
        return result;
    }
    *count = o->next ? (int)o->next_count : expect_habits(list, model);
    *out = list;
    return 0;
}
