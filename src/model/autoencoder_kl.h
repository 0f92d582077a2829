/* Graphs of AutoencoderKL, the autoencoder of SD1.x, SD2.x and SDXL (diffusers' module and tensor names). */
#ifndef BALLAST_MODEL_AUTOENCODER_KL_H
#define BALLAST_MODEL_AUTOENCODER_KL_H

#include "checkpoint/architecture.h"
#include "graph/graph.h"

typedef struct bl_vae_shape {
    int batch;
    int height, width; /* of the latent: 1/8 of the picture's */
} bl_vae_shape;

/* Latent to picture.
 * Input  "z"     F32 NCHW [batch, latent channels, height, width], already divided by the scaling factor.
 * Output "image" F32 NCHW [batch, 3, 8 height, 8 width], about -1 .. 1, not clamped.
 * Taps: "post_quant_conv", "decoder.conv_in", "decoder.mid_block", "decoder.up_blocks.i",
 * "decoder.conv_norm_out", and the resnets. `taps` may be NULL. Errors: BL_E_ARGUMENT for a shape or
 * configuration that cannot be. Owner of *out: caller, bl_graph_free. */
int bl_vae_decoder_graph(bl_graph **out, const bl_vae_architecture *arch, bl_vae_shape shape, bl_dtype dtype,
                         const char *const *taps, bl_error *err);

/* Picture to the moments of the latent.
 * Input  "image"   F32 NCHW [batch, 3, 8 height, 8 width], -1 .. 1.
 * Output "moments" F32 NCHW [batch, 2 * latent channels, height, width]: mean, then log variance (not
 * clamped); not yet multiplied by the scaling factor. Taps: "encoder.conv_in", "encoder.down_blocks.i",
 * "encoder.mid_block", "encoder.conv_norm_out", "encoder.conv_out", and the resnets. Otherwise like
 * bl_vae_decoder_graph. */
int bl_vae_encoder_graph(bl_graph **out, const bl_vae_architecture *arch, bl_vae_shape shape, bl_dtype dtype,
                         const char *const *taps, bl_error *err);

#endif
