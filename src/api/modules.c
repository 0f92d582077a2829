#include "api/api.h"

#include "pipeline/adapters.h"
#include "pipeline/eval.h"
#include "pipeline/inspect.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ballast_model_inspect(char **json, ballast_model *model, int width, int height, ballast_error *err) {
    json_t *object = NULL;
    bl_turn turn;
    BL_NEED(json);
    *json = NULL;
    BL_NEED(model);
    int result = bl_turn_begin(&turn, model->context, model, __func__, err);
    if (!result) {
        result = bl_inspect(&object, model->modules, model->ckpt, &model->arch, width, height, err);
        bl_turn_end(&turn);
    }
    return result ? result : bl_json_text(json, object, err);
}

static int find_module(bl_module *out, const ballast_model *model, const char *name, bl_error *err) {
    for (int i = 0; i < BL_MODULE_COUNT; i++) {
        if (!strcmp(name, bl_module_name((bl_module)i))) {
            *out = (bl_module)i;
            return bl_checkpoint_has_module(model->ckpt, *out)
                       ? 0
                       : bl_fail(err, BL_E_NOT_FOUND, "eval: this checkpoint has no %s", name);
        }
    }
    return bl_fail(err, BL_E_NOT_FOUND,
                   "eval: no module \"%.40s\"; there are text_encoder, text_encoder_2, unet, "
                   "transformer, vae_decoder, vae_encoder, taesd",
                   name);
}

static int check_eval(bl_eval *e, const ballast_model *model, const char *module, const char *outputs_path,
                      int overwrite, bl_error *err) {
    if (model->context->simulated) {
        return bl_fail(err, BL_E_UNSUPPORTED, "eval: a simulated device computes nothing; take the cpu");
    }
    int result = find_module(&e->module, model, module, err);
    if (!result && !overwrite && !access(outputs_path, F_OK)) {
        result = bl_fail(err, BL_E_ARGUMENT, "%s exists; give another name or --overwrite", outputs_path);
    }
    return result;
}

int ballast_eval_adapted(ballast_model *model, const char *module, const char *inputs_path,
                         const char *outputs_path, int overwrite, const ballast_adapter *adapters,
                         size_t adapter_count, ballast_error *err) {
    bl_turn turn;
    ballast_adapter *own = NULL;
    BL_NEED(model);
    BL_NEED(module);
    BL_NEED(inputs_path);
    BL_NEED(outputs_path);
    if (adapter_count) {
        BL_NEED(adapters);
    }
    bl_adapters with = {.count = 0};
    ballast_generate_options o = {.prompt = "", .adapters = adapters, .adapter_count = adapter_count};
    bl_eval e = {
        .device = model->context->device, .ckpt = model->ckpt, .arch = &model->arch, .stop = &model->stop};
    int result = check_eval(&e, model, module, outputs_path, overwrite, err);
    result = result ? result : bl_take_adapters(&own, &o, err);
    if (!result) {
        result = bl_turn_begin(&turn, model->context, model, __func__, err);
    }
    if (!result) {
        e.dtype = bl_module_is_vae(e.module) ? model->vae_dtype : model->dtype;
        result = bl_adapters_open(&with, model->shelf, model->ckpt, &o, &model->context->log, err);
        e.adapters = with.list;
        e.adapter_count = with.count;
        result = result ? result : bl_eval_file(&e, inputs_path, outputs_path, err);
        bl_adapters_clear(&with);
        bl_turn_end(&turn);
    }
    free(own);
    return result;
}

int ballast_eval(ballast_model *model, const char *module, const char *inputs_path, const char *outputs_path,
                 int overwrite, ballast_error *err) {
    return ballast_eval_adapted(model, module, inputs_path, outputs_path, overwrite, NULL, 0, err);
}
