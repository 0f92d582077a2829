#include "api/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ballast_generate_options_init(ballast_generate_options *o) {
    memset(o, 0, sizeof *o);
    o->struct_size = sizeof *o;
    o->steps = 20;
    o->sampler = "DPM++ 2M";
    o->cfg = 7;
    o->eta = -1;
    o->batch = 1;
    o->count = 1;
    o->rng = "cpu";
    o->compat = "a1111";
    o->strength = 0.75;
    o->hires_strength = 0.5;
    o->hires_upscaler = "latent";
    o->offload = "auto";
    o->low = -1;
    o->high = -1;
    o->fit_check = 1;
    o->tiled_decode = "off";
    o->hints = 1;
}

static int check_version(const ballast_generate_options *o, bl_error *err) {
    if (o->struct_size != sizeof *o) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "generate options of another version of the library (%zu bytes, not %zu)",
                       o->struct_size, sizeof *o);
    }
    return 0;
}

/* Side of the pictures that the model was trained on: what its maker wrote into the file, or the family's. */
static int native_size(const ballast_model *m) {
    const char *text = bl_safetensors_metadata(bl_checkpoint_file(m->ckpt, 0), "modelspec.resolution");
    int width = 0;
    for (const char *p = text ? text : ""; *p >= '0' && *p <= '9' && width < 10000; p++) {
        width = width * 10 + (*p - '0');
    }
    if (width >= 8 && width <= 4096 && width % 8 == 0) {
        return width;
    }
    if (m->arch.family == BL_SD2 && m->arch.prediction == BL_PREDICT_V) {
        return 768;
    }
    return m->arch.family == BL_SDXL ? 1024 : 512;
}

static bl_pipeline pipeline_of(const ballast_model *m) {
    return (bl_pipeline){.modules = m->modules,
                         .arch = &m->arch,
                         .tokenizer = m->context->tokenizer,
                         .model_name = m->name,
                         .hash = m->hash,
                         .vae_name = m->vae_name,
                         .native_size = native_size(m)};
}

/* Not before there are pictures to be made: who only plans or inspects does not want the file to be read. */
static void start_hash(ballast_model *m) {
    if (!m->hash && !bl_checkpoint_is_folder(m->ckpt)) {
        m->hash = bl_model_hash_start(bl_checkpoint_path(m->ckpt), m->context->cache_dir);
    }
}

int ballast_generate(char **report, ballast_model *model, const ballast_generate_options *options,
                     ballast_error *err) {
    json_t *object = NULL;
    bl_error own = {0};
    err = err ? err : &own;
    int result = check_version(options, err);
    if (!result) {
        result = model->context->simulated
                     ? bl_fail(err, BL_E_UNSUPPORTED,
                               "a simulated device makes no pictures; ask for a plan, or take the cpu")
                     : 0;
    }
    if (!result) {
        start_hash(model);
        bl_pipeline p = pipeline_of(model);
        result = bl_generate(report ? &object : NULL, &p, options, err);
    }
    return result || !report ? result : bl_json_text(report, object, err);
}

/* "2G:24G" or "2G:24G:45". */
static int read_sweep(bl_plan_wish *wish, const char *text, uint64_t memory_bytes, bl_error *err) {
    char low[32], high[32];
    int points = 23, used = 0;
    int parts = sscanf(text, "%31[^:]:%31[^:]%n:%5d%n", low, high, &used, &points, &used);
    if (parts < 2 || text[used] || points < 2 || points > 1000) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "sweep: \"%.60s\" is no range; write 2G:24G, or 2G:24G:45 for 45 budgets", text);
    }
    int result = bl_size_parse(&wish->sweep_low, low, memory_bytes, "sweep", err);
    if (!result) {
        result = bl_size_parse(&wish->sweep_high, high, memory_bytes, "sweep", err);
    }
    if (!result && wish->sweep_low >= wish->sweep_high) {
        result = bl_fail(err, BL_E_ARGUMENT, "sweep: %s is not below %s", low, high);
    }
    wish->sweep_points = points;
    return result;
}

int ballast_plan(char **json, char **text, ballast_model *model, const ballast_generate_options *options,
                 const ballast_plan_options *plan, ballast_error *err) {
    json_t *object = NULL;
    char *words = NULL;
    bl_plan_wish wish = {0};
    bl_error own = {0};
    err = err ? err : &own;
    int result = check_version(options, err);
    if (!result && plan && plan->struct_size != sizeof *plan) {
        result =
            bl_fail(err, BL_E_ARGUMENT, "plan options of another version of the library (%zu bytes, not %zu)",
                    plan->struct_size, sizeof *plan);
    }
    if (!result && plan) {
        wish.compare = plan->compare != 0;
        wish.svg_path = plan->svg_path;
        if (plan->sweep) {
            result =
                read_sweep(&wish, plan->sweep, bl_memory_caps(model->context->memory)->memory_bytes, err);
        } else if (plan->svg_path) {
            result = bl_fail(err, BL_E_ARGUMENT, "svg: there is nothing to plot without a sweep");
        }
    }
    if (!result) {
        bl_pipeline p = pipeline_of(model);
        result = bl_generate_plan(&object, &words, &p, options, &wish, err);
    }
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

int ballast_calibrate(ballast_model *model, const ballast_generate_options *options, ballast_error *err) {
    bl_error own = {0};
    err = err ? err : &own;
    int result = check_version(options, err); /* before the copy, which may be larger than theirs */
    bl_request theirs;
    if (!result) { /* what is replaced below must be right, too */
        result = bl_request_check(&theirs, options, &model->arch, native_size(model), err);
    }
    if (result) {
        return result;
    }
    bl_request_clear(&theirs);
    ballast_generate_options o = *options;
    o.steps = o.hires_steps = 2;
    o.count = 2; /* the first meets memory that nothing has touched yet */
    o.strength = o.hires_strength = 1;
    o.latents = NULL; /* those of `count` batches would not fit two */
    o.image = NULL;
    o.preview = NULL;
    o.save_latents = NULL;
    o.hints = 0;
    return ballast_generate(NULL, model, &o, err);
}
