/* The graph of UNet2DConditionModel, the denoiser of SD1.x, SD2.x and SDXL (diffusers' module and tensor
 * names). */
#ifndef BALLAST_MODEL_UNET_H
#define BALLAST_MODEL_UNET_H

#include "checkpoint/architecture.h"
#include "graph/graph.h"

#include <stdbool.h>

/* Some of the UNet depends on nothing that changes from step to step: the keys and values that its
 * transformers make of the text. It comes whole, or in two graphs that give the same bits. */
typedef enum bl_unet_form {
    BL_UNET_WHOLE,
    BL_UNET_PROLOGUE, /* makes and keeps (bl_keep) what all steps have in common: inputs: "context" alone. No
                         outputs. Blocks: each transformer block's, "<its name>.attn2" */
    BL_UNET_STEP      /* the rest: inputs as of the whole, without "context". Blocks as of the whole */
} bl_unet_form;

typedef struct bl_unet_shape {
    int batch;         /* conditional and unconditional count as two */
    int height, width; /* of the latent; any size */
    int tokens;        /* rows of the context: 77 for each chunk of the prompt */
    bool own_lengths;  /* contexts of a batch differ in length: "context_rows" says how long each is */
    bool late_crop;    /* where a side is odd, on the way up: convolve twice the side, then leave out the last
                          row or    column, as A1111 does; else the side is right before the convolution */
    bl_unet_form form; /* the prologue's shape is batch and tokens alone */
} bl_unet_shape;

/* Inputs  "sample"   F32 NCHW [batch, 4, height, width], scaled as the model wants it.
 *         "timestep" F32 [batch, 1, 1, 1]; may be fractional.
 *         "context"  F32 channels-last [batch, tokens, 1, cross-attention width].
 *         only with own_lengths: "context_rows" I32 [batch, 1, 1, 1], the rows of each context that there
 * are, 1 .. tokens; what lies behind them changes nothing. only SDXL: "text_embeds" F32 [batch, 1, 1, C] and
 * "time_ids" F32 [batch, 1, 1, 6]: original height and width, top and left of the crop, target height and
 * width. Output  "output"   F32 NCHW [batch, 4, height, width]: epsilon or v. Taps: modules of diffusers:
 * "conv_in", "time_embedding", "add_embedding", "conv_norm_out" (before SiLU), "down_blocks.i" (after its
 * downsampler), "mid_block", "up_blocks.i" (after its upsampler), and below these
 * "...resnets.j", "...attentions.j", "...attentions.j.transformer_blocks.k". `taps` may be NULL.
 * Blocks: conv_in with the embeddings; each resnet, transformer block, down- and upsampler; conv_out.
 * Errors: BL_E_ARGUMENT for a shape that cannot be. Owner of *out: caller, bl_graph_free. */
int bl_unet_graph(bl_graph **out, const bl_unet_architecture *arch, bl_unet_shape shape, bl_dtype dtype,
                  const char *const *taps, bl_error *err);

#endif
