#include "api/api.h"

#include "pipeline/eval.h"
#include "pipeline/inspect.h"

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
                   "vae_decoder, vae_encoder",
                   name);
}

int ballast_eval(ballast_model *model, const char *module, const char *inputs_path, const char *outputs_path,
                 int overwrite, ballast_error *err) {
    bl_turn turn;
    BL_NEED(model);
    BL_NEED(module);
    BL_NEED(inputs_path);
    BL_NEED(outputs_path);
    bl_eval e = {
        .device = model->context->device, .ckpt = model->ckpt, .arch = &model->arch, .stop = &model->stop};
    if (model->context->simulated) {
        return bl_fail(err, BL_E_UNSUPPORTED, "eval: a simulated device computes nothing; take the cpu");
    }
    int result = find_module(&e.module, model, module, err);
    if (!result && !overwrite && !access(outputs_path, F_OK)) {
        result = bl_fail(err, BL_E_ARGUMENT, "%s exists; give another name or --overwrite", outputs_path);
    }
    if (!result) {
        result = bl_turn_begin(&turn, model->context, model, __func__, err);
    }
    if (!result) {
        e.dtype = bl_module_is_vae(e.module) ? model->vae_dtype : model->dtype;
        result = bl_eval_file(&e, inputs_path, outputs_path, err);
        bl_turn_end(&turn);
    }
    return result;
}
