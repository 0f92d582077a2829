#include "api/api.h"

#include "pipeline/eval.h"
#include "pipeline/inspect.h"

#include <string.h>
#include <unistd.h>

int ballast_model_inspect(char **json, ballast_model *model, int width, int height, ballast_error *err) {
    json_t *object = NULL;
    int result = bl_inspect(&object, model->modules, model->ckpt, &model->arch, width, height, err);
    return result ? result : bl_json_text(json, object, err);
}

int ballast_eval(ballast_model *model, const char *module, const char *inputs_path, const char *outputs_path,
                 int overwrite, ballast_error *err) {
    bl_eval e = {.device = model->context->device,
                 .ckpt = model->ckpt,
                 .arch = &model->arch,
                 .module = BL_MODULE_COUNT};
    if (model->context->simulated) {
        return bl_fail(err, BL_E_UNSUPPORTED, "eval: a simulated device computes nothing; take the cpu");
    }
    for (int i = 0; i < BL_MODULE_COUNT; i++) {
        if (!strcmp(module, bl_module_name((bl_module)i))) {
            e.module = (bl_module)i;
        }
    }
    if (e.module == BL_MODULE_COUNT) {
        return bl_fail(err, BL_E_NOT_FOUND,
                       "eval: no module \"%.40s\"; there are text_encoder, text_encoder_2, unet, "
                       "vae_decoder, vae_encoder",
                       module);
    }
    if (!bl_checkpoint_has_module(model->ckpt, e.module)) {
        return bl_fail(err, BL_E_NOT_FOUND, "eval: this checkpoint has no %s", module);
    }
    if (!overwrite && !access(outputs_path, F_OK)) {
        return bl_fail(err, BL_E_ARGUMENT, "%s exists; give another name or --overwrite", outputs_path);
    }
    e.dtype = e.module == BL_VAE_DECODER || e.module == BL_VAE_ENCODER ? model->vae_dtype : model->dtype;
    return bl_eval_file(&e, inputs_path, outputs_path, err);
}
