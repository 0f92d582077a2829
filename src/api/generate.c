#include "api/api.h"

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
    return (bl_pipeline){.engine = m->engine,
                         .arch = &m->arch,
                         .tokenizer = m->context->tokenizer,
                         .model_name = m->name,
                         .model_hash = m->hash[0] ? m->hash : NULL,
                         .vae_name = m->vae_name,
                         .native_size = native_size(m)};
}

int ballast_generate(char **report, ballast_model *model, const ballast_generate_options *options,
                     ballast_error *err) {
    json_t *object = NULL;
    bl_error own = {0};
    err = err ? err : &own;
    int result = check_version(options, err);
    if (!result) {
        bl_pipeline p = pipeline_of(model);
        result = bl_generate(report ? &object : NULL, &p, options, err);
    }
    return result || !report ? result : bl_json_text(report, object, err);
}

int ballast_plan(char **json, ballast_model *model, const ballast_generate_options *options,
                 ballast_error *err) {
    json_t *object = NULL;
    bl_error own = {0};
    err = err ? err : &own;
    int result = check_version(options, err);
    if (!result) {
        bl_pipeline p = pipeline_of(model);
        result = bl_generate_plan(&object, &p, options, err);
    }
    return result ? result : bl_json_text(json, object, err);
}
