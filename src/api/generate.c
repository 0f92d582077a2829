#include "api/api.h"

#include <stdio.h>
#include <stdlib.h>

/* Side of the pictures that the model was trained on: what its maker wrote into the file, or the family's. */
static int native_size(const ballast_model *m) {
    const char *text = bl_safetensors_metadata(bl_checkpoint_file(m->ckpt, 0), "modelspec.resolution");
    int width = 0;
    for (const char *p = text ? text : ""; *p >= '0' && *p <= '9' && width < 10000; p++) {
        width = width * 10 + (*p - '0');
    }
    const bl_family *family = m->arch.family;
    if (width > 0 && width <= 4096 && width % bl_family_side(family) == 0) {
        return width;
    }
    if (m->arch.sample_size) {
        return m->arch.sample_size * family->downscale;
    }
    return m->arch.prediction == BL_PREDICT_V ? family->native_size_v : family->native_size;
}

bl_pipeline bl_pipeline_of(const ballast_model *m) {
    return (bl_pipeline){.modules = m->modules,
                         .arch = &m->arch,
                         .tokenizer = {m->tokenizer[0] ? m->tokenizer[0] : m->context->tokenizer,
                                       m->tokenizer[1] ? m->tokenizer[1] : m->context->tokenizer},
                         .words = {.qwen = m->words, .t5 = m->pieces},
                         .model_name = m->name,
                         .ckpt = m->ckpt,
                         .shelf = m->shelf,
                         .encodings = m->context->encodings,
                         .hash = m->hash,
                         .vae_name = m->vae_name,
                         .recommended = m->recommended_line,
                         .native_size = native_size(m),
                         .again = m->generated,
                         .stop = &m->stop};
}

/* Not before there are pictures to be made: who only plans or inspects does not want the file to be read. */
static void start_hash(ballast_model *m) {
    if (!m->hash && !bl_checkpoint_is_folder(m->ckpt)) {
        m->hash = bl_model_hash_start(bl_checkpoint_path(m->ckpt), m->context->cache_dir);
    }
}

/* The pipeline with what is expected after the request. */
static int open_pipeline(bl_pipeline *p, bl_expected **next, const ballast_model *model,
                         const ballast_generate_options *o, bl_error *err) {
    int count, result = bl_expect(next, &count, model, o, err);
    *p = bl_pipeline_of(model);
    p->next = *next;
    p->next_count = count;
    return result;
}

/* What nobody gave, and a line of what the file had a word in: who gives no numbers should know whose they
 * are. */
static void fill_recommended(ballast_generate_options *o, ballast_model *model) {
    const bl_recommended *r = &model->recommended;
    bool steps = !o->steps && r->steps, cfg = o->cfg == -1 && r->cfg >= 0;
    char *line = model->recommended_line;
    const size_t room = sizeof model->recommended_line;
    bl_recommended_fill(o, model);
    if (steps && cfg) {
        snprintf(line, room, "%d steps, cfg %g: %s recommends them; --steps and --cfg have the last word",
                 o->steps, o->cfg, r->whose);
    } else if (steps) {
        snprintf(line, room, "%d steps: %s recommends them; --steps has the last word", o->steps, r->whose);
    } else if (cfg) {
        snprintf(line, room, "cfg %g: %s recommends it; --cfg has the last word", o->cfg, r->whose);
    } else {
        line[0] = 0;
    }
}

int bl_begin(bl_turn *turn, ballast_generate_options *own, ballast_adapter **adapters, ballast_model *model,
             const ballast_generate_options *given, const char *what, bl_error *err) {
    int result = bl_take_generate_options(own, given, err);
    *adapters = NULL;
    result = result ? result : bl_take_adapters(adapters, own, err);
    if (!result) {
        result = bl_turn_begin(turn, model->context, model, what, err);
    }
    if (!result) {
        bl_place_fill(own, model->context);
        fill_recommended(own, model);
    }
    return result;
}

static int generate(json_t **report, ballast_model *model, const ballast_generate_options *o, bl_error *err) {
    if (model->context->simulated) {
        return bl_fail(err, BL_E_UNSUPPORTED,
                       "a simulated device makes no pictures; ask for a plan, or take the cpu");
    }
    start_hash(model);
    bl_pipeline p;
    bl_expected *next;
    bool encoded = false;
    int result = open_pipeline(&p, &next, model, o, err);
    p.encoded = &encoded;
    result = result ? result : bl_generate(report, &p, o, err);
    model->encoded = encoded;
    model->generated = model->generated || !result;
    free(next);
    return result;
}

int ballast_generate(char **report, ballast_model *model, const ballast_generate_options *options,
                     ballast_error *err) {
    ballast_generate_options o;
    ballast_adapter *adapters = NULL;
    json_t *object = NULL;
    bl_turn turn;
    bl_error own = {0};
    err = err ? err : &own;
    if (report) {
        *report = NULL;
    }
    BL_NEED(model);
    BL_NEED(options);
    int result = bl_begin(&turn, &o, &adapters, model, options, __func__, err);
    if (!result) {
        result = generate(report ? &object : NULL, model, &o, err);
        if (!result) {
            bl_habit_note(model, &o);
        }
        bl_turn_end(&turn);
    }
    free(adapters);
    return result || !report ? result : bl_json_text(report, object, err);
}

static int read_wish(bl_plan_wish *wish, const ballast_model *model, const ballast_plan_options *o,
                     bl_error *err) {
    *wish = (bl_plan_wish){.compare = o->compare != 0,
                           .advise = o->advise,
                           .svg_path = o->svg_path,
                           .stop = &model->stop,
                           .described = model->context->simulated};
    if (o->svg_path && !o->sweep) {
        return bl_fail(err, BL_E_ARGUMENT, "svg: there is nothing to plot without a sweep");
    }
    uint64_t memory = bl_memory_caps(model->context->memory)->memory_bytes;
    return o->sweep ? bl_budget_range_parse(&wish->sweep, o->sweep, memory, err) : 0;
}

static int make_plan(json_t **json, char **text, const ballast_model *model,
                     const ballast_generate_options *o, const ballast_plan_options *plan, bl_error *err) {
    bl_plan_wish wish;
    bl_pipeline p;
    bl_expected *next = NULL;
    int result = read_wish(&wish, model, plan, err);
    result = result ? result : open_pipeline(&p, &next, model, o, err);
    result = result ? result : bl_generate_plan(json, text, &p, o, &wish, err);
    free(next);
    return result;
}

int ballast_plan(char **json, char **text, ballast_model *model, const ballast_generate_options *options,
                 const ballast_plan_options *plan, ballast_error *err) {
    ballast_generate_options o;
    ballast_plan_options po;
    ballast_adapter *adapters = NULL;
    json_t *object = NULL;
    char *words = NULL;
    bl_turn turn;
    bl_error own = {0};
    err = err ? err : &own;
    if (json) {
        *json = NULL;
    }
    if (text) {
        *text = NULL;
    }
    BL_NEED(model);
    BL_NEED(options);
    int result = bl_take_plan_options(&po, plan, err);
    result = result ? result : bl_begin(&turn, &o, &adapters, model, options, __func__, err);
    if (!result) {
        result = make_plan(&object, &words, model, &o, &po, err);
        bl_turn_end(&turn);
    }
    free(adapters);
    if (!result && json) {
        result = bl_json_text(json, object, err);
    } else {
        json_decref(object);
    }
    if (!result && text) {
        *text = words;
    } else {
        free(words);
    }
    return result;
}

void bl_leave_out_results(ballast_generate_options *o) {
    static const ballast_expected nothing;
    o->image = NULL;
    o->preview = NULL;
    o->save_latents = NULL;
    o->enough = NULL;
    o->next = &nothing; /* NULL: what came lately is expected again */
    o->next_count = 0;
}

/* A small generation like the one asked for, which is checked first: what is replaced here must be right,
 * too. */
static int calibrate(ballast_model *model, ballast_generate_options *o, bl_error *err) {
    bl_request theirs;
    int result = bl_request_check(&theirs, o, &model->arch, native_size(model), err);
    if (result) {
        return result;
    }
    bl_request_clear(&theirs);
    o->steps = o->hires_steps = 2;
    o->sampler = bl_sampler_adapts(theirs.sampler) ? "Euler"
                                                   : o->sampler; /* which makes as many steps as it is told */
    o->count = 2; /* the first meets memory that nothing has touched yet */
    o->strength = o->hires_strength = 1;
    o->latents = NULL; /* those of `count` batches would not fit two */
    o->seeds = NULL;
    o->seed_count = 0;
    o->hints = 0;
    bl_leave_out_results(o);
    return generate(NULL, model, o, err);
}

int ballast_calibrate(ballast_model *model, const ballast_generate_options *options, ballast_error *err) {
    ballast_generate_options o;
    ballast_adapter *adapters = NULL;
    bl_turn turn;
    bl_error own = {0};
    err = err ? err : &own;
    BL_NEED(model);
    BL_NEED(options);
    int result = bl_begin(&turn, &o, &adapters, model, options, __func__, err);
    if (!result) {
        result = calibrate(model, &o, err);
        bl_turn_end(&turn);
    }
    free(adapters);
    return result;
}
