#include "core/module.h"

const char *bl_module_name(bl_module m) {
    static const char *const names[BL_MODULE_COUNT] = {
        [BL_TEXT_ENCODER] = "text_encoder",     [BL_TEXT_ENCODER_2] = "text_encoder_2",
        [BL_TEXT_ENCODER_3] = "text_encoder_3", [BL_UNET] = "unet",
        [BL_TRANSFORMER] = "transformer",       [BL_VAE_ENCODER] = "vae_encoder",
        [BL_VAE_DECODER] = "vae_decoder",       [BL_TAESD] = "taesd",
    };
    return names[m];
}

bool bl_module_is_vae(bl_module m) {
    return m == BL_VAE_ENCODER || m == BL_VAE_DECODER || m == BL_TAESD;
}
