/* What a generation's options leave open: the placement that a context's generations share, and what suits
 * the model.
 */
#include "api/api.h"

#include "pipeline/placement.h"
#include "sample/names.h"

#include <stdlib.h>
#include <string.h>

void bl_place_free(ballast_placement_options *p) {
    free((void *)(uintptr_t)p->offload);
    free((void *)(uintptr_t)p->budget);
    free((void *)(uintptr_t)p->reserve);
    free((void *)(uintptr_t)p->never);
    free((void *)(uintptr_t)p->always);
    free((void *)(uintptr_t)p->host_budget);
    *p = (ballast_placement_options){0};
}

static bool copy_text(const char **text) {
    *text = *text ? strdup(*text) : NULL;
    return *text;
}

/* Replaces the borrowed texts by copies; on failure there is nothing to free. */
static int own_texts(ballast_placement_options *p, bl_error *err) {
    const char **const texts[] = {&p->offload, &p->budget, &p->reserve,
                                  &p->never,   &p->always, &p->host_budget};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (*texts[i] && !copy_text(texts[i])) {
            while (i--) {
                free((void *)(uintptr_t)*texts[i]);
            }
            return bl_fail_memory(err, "the placement", 0);
        }
    }
    return 0;
}

/* Whether generations could be placed so. */
static int check(const ballast_placement_options *p, ballast_context *context, bl_error *err) {
    bl_placement parsed;
    ballast_generate_options o = {.offload = p->offload,
                                  .budget = p->budget,
                                  .reserve = p->reserve,
                                  .low = p->low,
                                  .high = p->high,
                                  .never = p->never,
                                  .always = p->always,
                                  .fit_check = p->fit_check != 0,
                                  .host_budget = p->host_budget};
    return bl_placement_parse(&parsed, &o, bl_memory_caps(context->memory), err);
}

int ballast_context_place(ballast_context *context, const ballast_placement_options *options,
                          ballast_error *err) {
    ballast_placement_options p;
    bl_turn turn;
    BL_NEED(context);
    int result = bl_take_placement_options(&p, options, err);
    if (!result) {
        result = bl_turn_begin(&turn, context, NULL, __func__, err);
    }
    if (result) {
        return result;
    }
    result = check(&p, context, err);
    if (!result) {
        result = own_texts(&p, err);
    }
    if (!result) {
        bl_place_free(&context->placement);
        context->placement = p;
    }
    bl_turn_end(&turn);
    return result;
}

void bl_recommended_fill(ballast_generate_options *o, const ballast_model *model) {
    const bl_recommended *r = &model->recommended;
    o->steps = o->steps ? o->steps : r->steps ? r->steps : 20;
    if (o->cfg == -1) {
        o->cfg = r->cfg >= 0 ? r->cfg : 7;
        bl_compat compat;
        bl_error ignored; /* the request's own look says what is wrong */
        bool from_prompt = model->arch.family->cfg_from_prompt && o->compat &&
                           !bl_compat_find(&compat, o->compat, &ignored) && compat == BL_COMPAT_DIFFUSERS;
        o->cfg -= from_prompt && o->cfg >= 1;
    }
}

void bl_place_fill(ballast_generate_options *o, const ballast_context *context) {
    const ballast_placement_options *p = &context->placement;
    o->offload = o->offload ? o->offload : p->offload;
    if (!o->budget && !o->reserve) { /* one budget: half of it from here would be another one */
        o->budget = p->budget;
        o->reserve = p->reserve;
    }
    if (o->low < 0 && o->high < 0) {
        o->low = p->low;
        o->high = p->high;
    }
    o->host_budget = o->host_budget ? o->host_budget : p->host_budget;
    o->never = o->never ? o->never : p->never;
    o->always = o->always ? o->always : p->always;
    o->fit_check = o->fit_check < 0 ? p->fit_check != 0 : o->fit_check;
}
