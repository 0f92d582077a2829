/* The modules of a pipeline, under the names that users, logs and checkpoints' folders share. */
#ifndef BALLAST_CORE_MODULE_H
#define BALLAST_CORE_MODULE_H

#include <stdbool.h>

typedef enum bl_module {
    BL_TEXT_ENCODER = 0,
    BL_TEXT_ENCODER_2,
    BL_TEXT_ENCODER_3,
    BL_UNET,
    BL_TRANSFORMER, /* the denoiser of families that have no UNet */
    BL_VAE_ENCODER,
    BL_VAE_DECODER,
    BL_TAESD, /* a small decoder in place of the VAE's, out of a file of its own */
    BL_MODULE_COUNT
} bl_module;

/* "text_encoder", "text_encoder_2", "text_encoder_3", "unet", "transformer", "vae_encoder", "vae_decoder",
 * "taesd". Static storage. */
const char *bl_module_name(bl_module m);

/* Either half of the autoencoder, or what stands for one. */
bool bl_module_is_vae(bl_module m);

#endif
